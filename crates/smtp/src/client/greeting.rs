//! The peer's greeting.

use sluice_mail::Cause;

use super::reply::RawReply;
use super::session::{Phase, Session};

impl Session {
    pub(super) fn on_greeting(&mut self, reply: RawReply<'_>) {
        match reply.class() {
            2 => self.send_ehlo(),
            4 | 5 => self.refused(reply),
            _ => self.break_off(Cause::Protocol(format!("the peer greets with {}", reply.to_reply()))),
        }
    }

    pub(super) fn send_ehlo(&mut self) {
        self.send_hello("EHLO ");
        self.phase = Phase::Ehlo;
    }

    pub(super) fn send_hello(&mut self, verb: &str) {
        self.out.extend_from_slice(verb.as_bytes());
        self.out.extend_from_slice(self.config.helo_name.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// The peer does not want the session: a word of farewell, whose answer is not waited for.
    pub(super) fn refused(&mut self, reply: RawReply<'_>) {
        self.break_off(Cause::Reply(reply.to_reply()));
        self.out.extend_from_slice(b"QUIT\r\n");
    }
}
