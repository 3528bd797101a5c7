//! Structured logs on standard error, as text for people or JSON for machines.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

use crate::config::{Documented, Key, KeyError};

/// Octets of lines that may wait for standard error, per process. When it does not take them in time, lines are
/// dropped and counted: a stalled terminal or pipe must not stop mail.
const WAITING_MAX: usize = 4 << 20;

/// How long a line may wait for others to be written with it.
const GATHER: Duration = Duration::from_millis(5);

/// The `[log]` section.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines are written.
    pub level: String,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

impl Documented for LogConfig {
    const KEYS: &'static [Key] = &[
        Key::new(
            "format",
            "`\"text\"` or `\"json\"`",
            "How a line on standard error looks: for people or for machines.",
        ),
        Key::new(
            "level",
            "text",
            "`error`, `warn`, `info`, `debug` or `trace`; also per part, as in `info,sluice_delivery=debug`.",
        ),
    ];
}

/// Ends the writing thread after it has written what waits. Hold it until the process ends.
pub struct LogGuard {
    lines: Lines,
    writer: Option<JoinHandle<()>>,
    change_filter: ChangeFilter,
}

type ChangeFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// Starts logging for this process, to standard error. Call it once.
pub fn start_logs(config: &LogConfig) -> Result<LogGuard, KeyError> {
    let filter = EnvFilter::try_new(&config.level).map_err(|e| KeyError::new("log.level", bad_level(&e)))?;
    let (lines, writer) = Lines::to(io::stderr()).map_err(|e| KeyError::new("log", e))?;
    let (filter, handle) = reload::Layer::new(filter);
    let ansi = config.format == LogFormat::Text && io::IsTerminal::is_terminal(&io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone()).with_ansi(ansi);
    let subscriber = tracing_subscriber::registry().with(filter);
    let started = match config.format {
        LogFormat::Text => subscriber.with(layer).try_init(),
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
            subscriber.with(layer).try_init()
        }
    };
    let change_filter = Box::new(move |filter| handle.reload(filter));
    let guard = LogGuard { lines, writer: Some(writer), change_filter };
    started.map(|()| guard).map_err(|e| KeyError::new("log", format!("logging was started before: {e}")))
}

impl LogGuard {
    /// Writes lines of another level from now on.
    pub fn set_level(&self, level: &str) -> Result<(), KeyError> {
        let filter = EnvFilter::try_new(level).map_err(|e| KeyError::new("log.level", bad_level(&e)))?;
        (self.change_filter)(filter).map_err(|e| KeyError::new("log.level", e))
    }
}

impl std::fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogGuard").finish_non_exhaustive()
    }
}

/// Whether `level` is one that [`start_logs`] takes.
pub fn check_level(level: &str) -> Result<(), KeyError> {
    // The filter takes any word for the name of a part of the program, and would then be silent.
    for directive in level.split(',') {
        let word = directive.rsplit('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !LEVELS.contains(&word.as_str()) {
            return Err(KeyError::new("log.level", bad_level(&format!("{word:?} is no level"))));
        }
    }
    EnvFilter::try_new(level).map(drop).map_err(|e| KeyError::new("log.level", bad_level(&e)))
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn bad_level(error: &dyn std::fmt::Display) -> String {
    format!("expected error, warn, info, debug or trace, or a list such as \"info,sluice_delivery=debug\" ({error})")
}

/// Lines on their way to the thread that writes them, so that no task waits for standard error and many lines share
/// one write. Clones feed the same thread.
#[derive(Clone, Debug)]
struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    octets: Vec<u8>,
    dropped: u64,
    closed: bool,
}

impl Lines {
    fn to(out: impl Write + Send + 'static) -> io::Result<(Self, JoinHandle<()>)> {
        let lines = Self(Arc::default());
        let shared = Arc::clone(&lines.0);
        let writer = std::thread::Builder::new().name("log".into()).spawn(move || shared.write_all_to(out))?;
        Ok((lines, writer))
    }

    fn close(&self) {
        self.0.lock().closed = true;
        self.0.wake.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all_to(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            let (dropped, closed) = {
                let mut waiting = self.lock();
                while waiting.octets.is_empty() && !waiting.closed {
                    waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                }
                // Lines of the same moment share a write and a wake-up.
                let gathered = self.wake.wait_timeout_while(waiting, GATHER, |waiting| !waiting.closed);
                let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut batch, &mut waiting.octets);
                (std::mem::take(&mut waiting.dropped), waiting.closed)
            };
            // There is nowhere to report that the log itself cannot be written.
            let _ = out.write_all(&batch);
            if dropped > 0 {
                let _ = writeln!(out, "{dropped} log lines were dropped: standard error did not take them in time");
            }
            let _ = out.flush();
            let last = batch.is_empty() || closed;
            batch.clear();
            if last && closed && self.lock().octets.is_empty() {
                return;
            }
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.octets.len() + line.len() > WAITING_MAX {
            waiting.dropped += 1;
            return Ok(line.len());
        }
        let was_empty = waiting.octets.is_empty();
        waiting.octets.extend_from_slice(line);
        drop(waiting);
        if was_empty {
            self.0.wake.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.lines.close();
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has already been printed.
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes nothing until it is let go.
    struct Stalled(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stalled {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_output_drops_lines_but_never_blocks_and_what_waits_is_written_at_the_end() {
        let (go, stall) = mpsc::channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut lines, writer) = Lines::to(Stalled(stall, Arc::clone(&seen))).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..12 {
            lines.write_all(&line).unwrap();
        }
        drop(go);
        lines.write_all(b"last line\n").unwrap();
        drop(LogGuard { lines, writer: Some(writer), change_filter: Box::new(|_| Ok(())) });
        let seen = seen.lock().unwrap();
        let text = String::from_utf8_lossy(&seen);
        assert!(seen.len() <= 2 * WAITING_MAX + 200, "{}", seen.len());
        assert!(text.contains("log lines were dropped"), "a count of what was dropped");
    }

    #[test]
    fn a_bad_level_says_what_would_be_right() {
        assert!(check_level("info,sluice_delivery=debug").is_ok());
        for bad in ["loud=5=6", "loud", "", "info,", "info,sluice_delivery", "sluice_delivery=loud"] {
            let error = check_level(bad).unwrap_err();
            assert!(error.to_string().contains("expected error, warn, info, debug or trace"), "{bad}: {error}");
        }
    }
}
