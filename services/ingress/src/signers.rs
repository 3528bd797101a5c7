//! Threads that sign messages, so that no async thread ever waits for the arithmetic.
//!
//! A session waits until its message is signed, so no more wait here than there are sessions. Accounts take turns:
//! one that signs at full rate does not make the others wait for more than one message of its own per thread, and
//! mail that is not signed never comes here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use sluice_sign::SignError;
use tokio::sync::oneshot;

use crate::prepare::Prepared;

/// How far signing stands back behind everything else (`nice`), per thread.
const NICE: i32 = 5;

/// Why a message was not signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SigningError {
    /// Its content does not allow it.
    #[error(transparent)]
    Message(#[from] SignError),
    /// The threads have ended.
    #[error("the process is ending")]
    Closed,
}

/// Dropping it ends the threads when each is done with its message; those who wait are told.
pub(crate) struct Signers {
    line: Arc<Line>,
    threads: Vec<JoinHandle<()>>,
}

/// Who waits. Locked for moments only, never while signing.
#[derive(Default)]
struct Line {
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Default)]
struct State {
    /// By account; none is empty.
    waiting: HashMap<Arc<str>, VecDeque<Job>>,
    /// The accounts that wait, in turn.
    turns: VecDeque<Arc<str>>,
    closed: bool,
}

type Job = Box<dyn FnOnce() + Send>;

impl Signers {
    /// So many threads, one at least.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let line = Arc::new(Line::default());
        let work = |n: usize| {
            let line = Arc::clone(&line);
            std::thread::Builder::new().name(format!("signer-{n}")).spawn(move || line.work())
        };
        let threads = (0..threads.max(1)).map(work).collect::<Result<_, _>>()?;
        Ok(Self { line, threads })
    }

    /// The message with the signatures of its keys.
    pub(crate) async fn sign(&self, account: &Arc<str>, message: Prepared) -> Result<Box<Prepared>, SigningError> {
        let (answer, signed) = oneshot::channel();
        let mut message = Box::new(message);
        let job = move || {
            // Otherwise nobody waits any more: the client has gone.
            if !answer.is_closed() {
                let signed = message.sign();
                let _ = answer.send(signed.map(|()| message).map_err(SigningError::from));
            }
        };
        self.line.push(account, Box::new(job));
        signed.await.unwrap_or(Err(SigningError::Closed))
    }
}

impl Drop for Signers {
    fn drop(&mut self) {
        self.line.close();
        for thread in self.threads.drain(..) {
            // It has told of its panic itself.
            let _ = thread.join();
        }
    }
}

impl Line {
    fn push(&self, account: &Arc<str>, job: Job) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        let jobs = state.waiting.entry(Arc::clone(account)).or_default();
        jobs.push_back(job);
        if jobs.len() == 1 {
            state.turns.push_back(Arc::clone(account));
        }
        drop(state);
        self.came.notify_one();
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
        state.turns.clear();
        drop(state);
        self.came.notify_all();
    }

    fn work(&self) {
        // Behind the threads that serve sessions: mail that is not signed does not wait for a processor. Where the
        // system forbids it, all are equal.
        let _ = rustix::process::setpriority_process(None, NICE);
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(account) = state.turns.pop_front() {
                let Some(jobs) = state.waiting.get_mut(&account) else { continue };
                let job = jobs.pop_front();
                if jobs.is_empty() {
                    state.waiting.remove(&account);
                } else {
                    state.turns.push_back(account);
                }
                return job;
            }
            state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn accounts_take_turns() {
        let signers = Signers::new(1).unwrap();
        let (done, order) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let push = |account: &str, job: Job| signers.line.push(&Arc::from(account), job);
        let (begun, has_begun) = mpsc::channel();
        push(
            "flood",
            Box::new(move || {
                begun.send(()).unwrap();
                released.recv().unwrap();
            }),
        );
        has_begun.recv().unwrap();
        for (account, n) in (0..5).map(|n| ("flood", n)).chain([("small", 5), ("small", 6)]) {
            let done = done.clone();
            push(account, Box::new(move || done.send(n).unwrap()));
        }
        release.send(()).unwrap();
        let order: Vec<_> = order.iter().take(7).collect();
        assert_eq!(order, [0, 5, 1, 6, 2, 3, 4]);
    }

    #[test]
    fn what_waits_at_the_end_is_let_go() {
        let signers = Signers::new(1).unwrap();
        let line = Arc::clone(&signers.line);
        drop(signers);
        let (done, order) = mpsc::channel::<()>();
        line.push(&Arc::from("a"), Box::new(move || done.send(()).unwrap()));
        assert!(order.recv().is_err(), "it is dropped, and who waits for it is told");
    }
}
