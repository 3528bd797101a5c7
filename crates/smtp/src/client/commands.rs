//! RSET, MAIL, RCPT and DATA up to its 354.

use std::time::Instant;

use sluice_mail::{Cause, Failure, Stage};

use super::reply::RawReply;
use super::session::{Expect, Session};
use super::transaction::Step;

impl Session {
    /// Sends the commands of the transaction at `index`: all of them where pipelining is on, else the first.
    /// A transaction that the peer cannot take ends here.
    pub(super) fn send_commands(&mut self, now: Instant, index: usize) {
        let pipelines = self.pipelines();
        let idle = self.expected.is_empty();
        let Some(active) = self.transactions.get_mut(index) else { return };
        let recipients = active.transaction.recipients.len();
        if let Some(failure) = active.transaction.unsupported(&self.peer, &self.config) {
            active.refuse_all(&failure);
            return self.finish(index, None);
        }
        if recipients == 0 {
            return self.finish(index, None);
        }
        active.step = Step::Commands;
        // Room for addresses of common length, so that the buffer seldom grows.
        self.out.reserve(128 + 48 * recipients);
        if std::mem::take(&mut self.needs_rset) {
            self.out.extend_from_slice(b"RSET\r\n");
            self.expected.push_back(Expect::Rset);
            if !pipelines {
                return self.arm(now);
            }
        }
        active.transaction.write_mail(&self.peer, &mut self.out);
        self.expected.push_back(Expect::Mail);
        if pipelines {
            for i in 0..recipients {
                active.transaction.write_rcpt(i, &mut self.out);
                self.expected.push_back(Expect::Rcpt(i));
            }
            self.out.extend_from_slice(b"DATA\r\n");
            self.expected.push_back(Expect::Data);
        }
        if idle {
            self.arm(now);
        }
    }

    /// A reply while the session is ready.
    pub(super) fn on_transaction_reply(&mut self, reply: RawReply<'_>) {
        self.note_answer();
        let step = self.transactions.front().map(|front| front.step);
        if matches!(step, Some(Step::Content | Step::Sending { .. })) {
            return self.on_early_reply(reply);
        }
        match self.expected.front().copied() {
            Some(Expect::Rset) => self.on_rset(reply),
            Some(Expect::Mail) => self.on_mail(reply),
            Some(Expect::Rcpt(i)) => self.on_rcpt(i, reply),
            Some(Expect::Data) => self.on_data(reply),
            Some(Expect::Dot) => self.on_dot(reply),
            Some(Expect::EmptyDot) => self.finish(0, None),
            None => self.break_off(Cause::Protocol(format!("unasked, the peer says {}", reply.to_reply()))),
        }
        // Only now, as it names the stage of a failure.
        self.expected.pop_front();
    }

    /// Notes that the peer answered a command of the first transaction.
    fn note_answer(&mut self) {
        if self.expected.front() == Some(&Expect::Rset) {
            return;
        }
        if let Some(front) = self.transactions.front_mut() {
            front.answered = true;
        }
    }

    /// A reply that neither accepts nor refuses.
    pub(super) fn out_of_order(&mut self, verb: &str, reply: RawReply<'_>) {
        self.break_off(Cause::Protocol(format!("the peer answers {verb} with {}", reply.to_reply())));
    }

    fn on_rset(&mut self, reply: RawReply<'_>) {
        match reply.class() {
            2 if self.pipelines() => {}
            2 => self.send_mail(),
            // Never the reply itself: it says nothing about the message.
            _ => self.out_of_order("RSET", reply),
        }
    }

    fn on_mail(&mut self, reply: RawReply<'_>) {
        let pipelines = self.pipelines();
        let Some(front) = self.transactions.front_mut() else { return };
        match reply.class() {
            2 => {
                front.mail_taken = true;
                if !pipelines {
                    self.send_rcpt(0);
                }
            }
            4 | 5 => {
                front.refuse_all(&Failure::new(Stage::Mail, Cause::Reply(reply.to_reply())));
                if !pipelines {
                    self.finish(0, None);
                }
            }
            _ => self.out_of_order("MAIL", reply),
        }
    }

    fn on_rcpt(&mut self, i: usize, reply: RawReply<'_>) {
        let Some(front) = self.transactions.front_mut() else { return };
        match reply.class() {
            2 => front.take(i),
            4 | 5 => front.refuse(i, Failure::new(Stage::Rcpt, Cause::Reply(reply.to_reply()))),
            _ => return self.out_of_order("RCPT", reply),
        }
        if !self.pipelines() {
            self.after_rcpt(i);
        }
    }

    /// Without pipelining: the next RCPT, or DATA, or the end when no recipient was taken.
    fn after_rcpt(&mut self, i: usize) {
        let Some(front) = self.transactions.front() else { return };
        if i + 1 < front.transaction.recipients.len() {
            self.send_rcpt(i + 1);
        } else if front.has_taken() {
            self.out.extend_from_slice(b"DATA\r\n");
            self.expected.push_back(Expect::Data);
        } else {
            self.needs_rset = true;
            self.finish(0, None);
        }
    }

    fn on_data(&mut self, reply: RawReply<'_>) {
        let Some(front) = self.transactions.front_mut() else { return };
        match reply.class() {
            3 if front.has_taken() => front.step = Step::Content,
            // RFC 2920 3.1: the peer waits for content that nobody would get.
            3 => {
                self.out.extend_from_slice(b".\r\n");
                self.expected.push_back(Expect::EmptyDot);
            }
            4 | 5 => {
                front.refuse_all(&Failure::new(Stage::Data, Cause::Reply(reply.to_reply())));
                self.needs_rset = front.mail_taken;
                self.finish(0, None);
            }
            _ => self.out_of_order("DATA", reply),
        }
    }

    fn send_mail(&mut self) {
        let Some(front) = self.transactions.front() else { return };
        front.transaction.write_mail(&self.peer, &mut self.out);
        self.expected.push_back(Expect::Mail);
    }

    fn send_rcpt(&mut self, i: usize) {
        let Some(front) = self.transactions.front() else { return };
        front.transaction.write_rcpt(i, &mut self.out);
        self.expected.push_back(Expect::Rcpt(i));
    }
}
