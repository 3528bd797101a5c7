//! STARTTLS (RFC 3207).

use std::time::Instant;

use sluice_mail::Cause;

use super::reply::RawReply;
use super::session::{Event, Phase, Session};
use super::{Capabilities, TlsMode};

impl Session {
    /// The outcome of the handshake that [`Event::StartTls`] asked for.
    pub fn handle_tls(&mut self, now: Instant, outcome: Result<(), String>) {
        if self.phase != Phase::Handshake {
            return;
        }
        match outcome {
            Ok(()) => {
                // What was said in the clear is void (RFC 3207 4.2).
                self.peer = Capabilities { tls: true, ..Capabilities::default() };
                self.send_ehlo();
                self.arm(now);
            }
            Err(words) => self.break_off(Cause::Tls(words)),
        }
    }

    pub(super) fn send_start_tls(&mut self) {
        self.out.extend_from_slice(b"STARTTLS\r\n");
        self.phase = Phase::StartTls;
    }

    pub(super) fn on_start_tls(&mut self, reply: RawReply<'_>) {
        match (reply.class(), self.config.tls) {
            (2, _) => {
                self.phase = Phase::Handshake;
                self.events.push_back(Event::StartTls);
            }
            (4 | 5, TlsMode::Off | TlsMode::Opportunistic | TlsMode::Implicit) => self.log_in(),
            (4 | 5, TlsMode::Required) => {
                let words = format!("the peer refuses STARTTLS: {}", reply.to_reply());
                self.without_tls(&words);
            }
            _ => self.break_off(Cause::Protocol(format!("the peer answers STARTTLS with {}", reply.to_reply()))),
        }
    }

    /// There must be TLS and cannot be.
    pub(super) fn without_tls(&mut self, words: &str) {
        self.phase = Phase::StartTls;
        self.break_off(Cause::Tls(words.into()));
        self.out.extend_from_slice(b"QUIT\r\n");
    }
}
