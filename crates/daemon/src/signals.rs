//! Signals become values: drain, stop at once, reload.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What the machine or its operator asks of the process.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Turns true at the first SIGTERM or SIGINT: finish what runs, take nothing new, end.
    pub drain: watch::Receiver<bool>,
    /// Turns true at the second: end at once. Everything accepted is on disk.
    pub abort: watch::Receiver<bool>,
    /// Grows by one at each SIGHUP: read again what can be read again.
    pub reload: watch::Receiver<u64>,
}

impl Signals {
    /// Takes the signals over from the system's default. Needs a Tokio runtime; the task that listens ends with it.
    pub fn listen() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (drain_tx, drain) = watch::channel(false);
        let (abort_tx, abort) = watch::channel(false);
        let (reload_tx, reload) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = terminate.recv() => stop(&drain_tx, &abort_tx),
                    Some(()) = interrupt.recv() => stop(&drain_tx, &abort_tx),
                    Some(()) = hangup.recv() => reload_tx.send_modify(|n| *n += 1),
                    else => return,
                }
            }
        });
        Ok(Self { drain, abort, reload })
    }
}

fn stop(drain: &watch::Sender<bool>, abort: &watch::Sender<bool>) {
    if drain.send_replace(true) {
        abort.send_replace(true);
    }
}
