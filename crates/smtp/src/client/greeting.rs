//! The peer's greeting.

use sluice_mail::{Cause, EnhancedCode};

use super::reply::RawReply;
use super::session::{Phase, Session};

impl Session {
    pub(super) fn on_greeting(&mut self, reply: RawReply<'_>) {
        match reply.class() {
            2 => {
                if !self.meets_itself(reply) {
                    self.send_ehlo();
                }
            }
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

    /// Ends the session when the reply gives one of our own names as the peer's, as mail would loop; whether it did.
    pub(super) fn meets_itself(&mut self, reply: RawReply<'_>) -> bool {
        let name = reply.first_word();
        let name = name.strip_suffix(b".").unwrap_or(name);
        if !self.config.own_names.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name)) {
            return false;
        }
        let words = format!("mail loops back to this host: the peer calls itself {}", String::from_utf8_lossy(name));
        self.break_off(Cause::Prohibited(EnhancedCode(5, 4, 6), words));
        self.out.extend_from_slice(b"QUIT\r\n");
        true
    }

    /// The peer does not want the session: a word of farewell, whose answer is not waited for.
    pub(super) fn refused(&mut self, reply: RawReply<'_>) {
        self.break_off(Cause::Reply(reply.to_reply()));
        self.out.extend_from_slice(b"QUIT\r\n");
    }
}
