//! Reading on threads of our own: what async callers ask for must not block their runtime.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Job>,
    /// No thread takes jobs: the caller runs them itself.
    inline: bool,
    stopping: bool,
}

/// Jobs in order; as many as callers wait for one.
#[derive(Default)]
pub(super) struct Jobs {
    inner: Mutex<Inner>,
    filled: Condvar,
}

impl Jobs {
    /// Runs `job` on a reader thread; `None` when the engine is closed.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send + 'static {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.inline {
            drop(inner);
            let _ = sender.send(job());
        } else if !inner.stopping {
            inner.waiting.push_back(Box::new(move || drop(sender.send(job()))));
            drop(inner);
            self.filled.notify_one();
        }
        async move { receiver.await.ok() }
    }

    /// From now on callers run their jobs themselves.
    #[cfg(test)]
    pub(super) fn run_inline(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).inline = true;
    }

    /// A thread's work until [`Self::stop`].
    pub(super) fn serve(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = inner.waiting.pop_front() {
                drop(inner);
                job();
                inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            } else if inner.stopping {
                return;
            } else {
                inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Ends the threads; what waits is dropped.
    pub(super) fn stop(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.stopping = true;
        inner.waiting.clear();
        drop(inner);
        self.filled.notify_all();
    }
}
