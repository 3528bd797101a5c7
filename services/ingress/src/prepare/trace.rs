//! The fields that we put before a message: Received, and Date and Message-ID where they are missing.

use std::io::Write;
use std::net::IpAddr;

use sluice_mail::header::{Headers, date};

use super::{Facts, signing};

/// Octets that the added fields take as a rule. More only cost a second allocation.
pub(super) const ROOM: usize = 512;

/// What the Received field tells.
#[derive(Debug)]
pub(super) struct Stamp<'a> {
    /// What the client called itself.
    pub(super) hello: &'a str,
    /// The word for `with`.
    pub(super) protocol: &'static str,
    /// The client uses SMTPUTF8, so the header may hold UTF-8.
    pub(super) smtputf8: bool,
    /// Everything else.
    pub(super) facts: &'a Facts<'a>,
}

impl Stamp<'_> {
    /// Appends the fields to `out`.
    pub(super) fn write(&self, headers: &Headers<'_>, out: &mut Vec<u8>) {
        let Facts { hostname, queue_id, at, .. } = self.facts;
        let date = date::format_rfc5322(*at);
        let protocol = self.protocol;
        // Writing to a Vec does not fail.
        let _ = write!(out, "Received: from {}", self.hello());
        if let Some(client) = self.client() {
            let _ = match client {
                IpAddr::V4(ip) => write!(out, " ([{ip}])"),
                IpAddr::V6(ip) => write!(out, " ([IPv6:{ip}])"),
            };
        }
        let _ = write!(out, "\r\n\tby {hostname} with {protocol} id {queue_id};\r\n\t{date}\r\n");
        // A signature that the message came with may cover that these are missing.
        if signing::is_signed(headers) {
            return;
        }
        if headers.named("Message-ID").next().is_none() {
            let _ = write!(out, "Message-ID: <{queue_id}@{hostname}>\r\n");
        }
        if headers.named("Date").next().is_none() {
            let _ = write!(out, "Date: {date}\r\n");
        }
    }

    /// The name from EHLO, unless it would tell the client's address though that is to be hidden, or needs UTF-8
    /// where there is none.
    fn hello(&self) -> &str {
        let hidden = is_address(self.hello) && !self.facts.sender.account.rules.show_client_address;
        let foreign = !self.hello.is_ascii() && !self.smtputf8;
        if hidden || foreign || self.hello.is_empty() { "unknown" } else { self.hello }
    }

    fn client(&self) -> Option<IpAddr> {
        self.facts.client.filter(|_| self.facts.sender.account.rules.show_client_address)
    }
}

/// Whether the name from EHLO is, or could be meant as, an address: anything with a colon, and whatever ends in a label
/// that begins with a digit, as no domain does: IPv4 addresses however they are written, with a final dot or more
/// behind them. A host name without dots is none.
fn is_address(hello: &str) -> bool {
    let dotted = || hello.trim_end_matches('.').rsplit_once('.');
    hello.contains(':')
        || hello.starts_with('[')
        || dotted().is_some_and(|(_, last)| last.starts_with(|c: char| c.is_ascii_digit()))
}
