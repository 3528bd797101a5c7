//! The content and its final dot.

use std::time::Instant;

use sluice_mail::{Cause, Failure, Stage};

use super::reply::RawReply;
use super::session::{Expect, Session};
use super::transaction::Step;

impl Session {
    /// What may follow the final dot in the same write: the commands of the next transaction, when it was begun
    /// and the peer pipelines. To be asked for once, just before the write that holds the final dot.
    pub fn poll_trailer(&mut self, now: Instant) -> Option<Vec<u8>> {
        let next_waits = self.transactions.get(1).is_some_and(|next| next.step == Step::Waiting);
        let pipelines = self.pipelines();
        let front = self.transactions.front_mut()?;
        if front.step != (Step::Sending { with_trailer: false }) || !next_waits || !pipelines {
            return None;
        }
        front.step = Step::Sending { with_trailer: true };
        self.expected.push_back(Expect::Dot);
        self.send_commands(now, 1);
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out))
    }

    /// A part of the content was written: the time-out for the next begins.
    pub fn handle_progress(&mut self, now: Instant) {
        if self.transactions.front().is_some_and(|front| matches!(front.step, Step::Sending { .. })) {
            self.arm(now);
        }
    }

    /// The content was written, its final dot and the trailer included.
    pub fn handle_content_sent(&mut self, now: Instant) {
        let Some(front) = self.transactions.front_mut() else { return };
        let Step::Sending { with_trailer } = front.step else { return };
        front.step = Step::Dot;
        if !with_trailer {
            self.expected.push_back(Expect::Dot);
        }
        self.arm(now);
        self.advance(now);
    }

    pub(super) fn on_dot(&mut self, reply: RawReply<'_>) {
        let Some(front) = self.transactions.front_mut() else { return };
        match reply.class() {
            2 => self.finish(0, Some(&reply.to_reply())),
            4 | 5 => {
                front.refuse_all(&Failure::new(Stage::Dot, Cause::Reply(reply.to_reply())));
                self.finish(0, None);
            }
            _ => self.out_of_order("the final dot", reply),
        }
    }

    /// A reply before the final dot was sent. A refusal counts; but what follows cannot be kept in step, so the
    /// connection ends. Consent to what was not yet said is none.
    pub(super) fn on_early_reply(&mut self, reply: RawReply<'_>) {
        match reply.class() {
            4 | 5 => self.break_off(Cause::Reply(reply.to_reply())),
            _ => self.out_of_order("content that is not ended", reply),
        }
    }
}
