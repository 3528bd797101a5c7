//! One timer for the life of a connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// A timer that is moved only when it must be. A session's deadline moves with nearly every reply, mostly to
/// later: an early alarm, once in minutes, costs less than moving the timer each time.
#[derive(Debug)]
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
}

impl Timer {
    pub(super) fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(at.into())), at }
    }

    /// Ready when `deadline` is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if deadline < self.at {
            self.move_to(deadline);
        }
        loop {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if deadline <= self.at {
                return Poll::Ready(());
            }
            self.move_to(deadline);
        }
    }

    fn move_to(&mut self, at: Instant) {
        self.sleep.as_mut().reset(at.into());
        self.at = at;
    }
}
