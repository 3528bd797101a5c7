//! EHLO, HELO where EHLO is refused, and what follows from the answer.

use sluice_mail::Cause;

use super::reply::RawReply;
use super::session::{Event, Phase, Session};
use super::{Capabilities, TlsMode};

impl Session {
    pub(super) fn on_ehlo(&mut self, reply: RawReply<'_>) {
        match reply.class() {
            2 => {
                let offered = Capabilities::read(reply.lines(), self.peer.tls);
                if !self.meets_itself(reply) {
                    self.greeted(offered);
                }
            }
            4 => self.refused(reply),
            // RFC 5321 3.2: a server that knows no EHLO may know HELO.
            5 => {
                self.send_hello("HELO ");
                self.phase = Phase::Helo;
            }
            _ => self.break_off(Cause::Protocol(format!("the peer answers EHLO with {}", reply.to_reply()))),
        }
    }

    pub(super) fn on_helo(&mut self, reply: RawReply<'_>) {
        match reply.class() {
            2 => {
                let offered = Capabilities { tls: self.peer.tls, ..Capabilities::default() };
                if !self.meets_itself(reply) {
                    self.greeted(offered);
                }
            }
            4 | 5 => self.refused(reply),
            _ => self.break_off(Cause::Protocol(format!("the peer answers HELO with {}", reply.to_reply()))),
        }
    }

    /// The peer is known: TLS first where it is to be, else the log-in.
    fn greeted(&mut self, peer: Capabilities) {
        self.peer = peer;
        match self.config.tls {
            TlsMode::Opportunistic | TlsMode::Required if self.peer.start_tls && !self.peer.tls => {
                self.send_start_tls()
            }
            TlsMode::Required if !self.peer.tls => self.without_tls("the peer does not offer STARTTLS"),
            TlsMode::Off | TlsMode::Opportunistic | TlsMode::Required | TlsMode::Implicit => self.log_in(),
        }
    }

    pub(super) fn ready(&mut self) {
        self.phase = Phase::Ready;
        self.events.push_back(Event::Ready(self.peer.clone()));
    }
}
