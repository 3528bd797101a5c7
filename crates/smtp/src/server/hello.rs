//! EHLO, HELO and STARTTLS.

use std::sync::Arc;

use bytes::BytesMut;
use sluice_mail::Host;

use super::{AuthPolicy, Event, Phase, Question, Session, TlsState};

/// What the client called itself.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pub(super) name: Arc<str>,
    /// By EHLO.
    pub(super) extended: bool,
}

impl Session {
    pub(super) fn ehlo(&mut self, args: &str) {
        if self.greet("501 5.5.4 Say EHLO with your name, as in: EHLO mail.example.org", args, true) {
            let config = Arc::clone(&self.config);
            self.out.line_fmt(format_args!("250-{}", config.hostname));
            self.out.line("250-PIPELINING");
            self.out.line_fmt(format_args!("250-SIZE {}", config.limits.max_message_size));
            self.out.line("250-8BITMIME");
            self.out.line("250-SMTPUTF8");
            if self.offers_starttls() {
                self.out.line("250-STARTTLS");
            }
            if self.offers_auth() {
                self.out.line("250-AUTH PLAIN LOGIN");
            }
            if config.dsn {
                self.out.line("250-DSN");
            }
            if config.require_tls && self.tls {
                self.out.line("250-REQUIRETLS");
            }
            self.out.line("250 ENHANCEDSTATUSCODES");
        }
    }

    pub(super) fn helo(&mut self, args: &str) {
        if self.greet("501 5.5.4 Say HELO with your name, as in: HELO mail.example.org", args, false) {
            let config = Arc::clone(&self.config);
            self.out.line_fmt(format_args!("250 {}", config.hostname));
        }
    }

    fn greet(&mut self, usage: &'static str, name: &str, extended: bool) -> bool {
        if !is_hello_name(name) {
            self.bad(usage);
            return false;
        }
        self.reset_transaction();
        self.hello = Some(Hello { name: name.into(), extended });
        true
    }

    pub(super) fn starttls(&mut self, args: &str) {
        if !args.is_empty() {
            return self.bad("501 5.5.4 STARTTLS takes no argument");
        }
        if self.tls {
            return self.bad("503 5.5.1 The connection is already encrypted");
        }
        if !self.offers_starttls() {
            return self.bad("502 5.5.1 STARTTLS is not offered here");
        }
        if self.logged_in {
            return self.bad("503 5.5.1 STARTTLS comes before AUTH");
        }
        self.reset_transaction();
        self.out.line("220 2.0.0 Ready to start TLS");
        self.event = Some(Event::StartTls);
        self.phase = Phase::Asked(Question::Tls);
    }

    /// What came in the clear behind STARTTLS may have been put there by somebody else (RFC 3207 6).
    pub(super) fn discard_plaintext(input: &mut BytesMut) {
        input.clear();
    }

    pub(super) fn offers_starttls(&self) -> bool {
        self.config.tls == TlsState::Offered && !self.tls
    }

    pub(super) fn offers_auth(&self) -> bool {
        match self.config.auth {
            AuthPolicy::UnderTls => self.tls,
            AuthPolicy::Always => true,
            AuthPolicy::Never => false,
        }
    }
}

/// A domain or an address literal, where names of real machines that are no domains pass too: nothing depends on the
/// name, it only must not disturb the Received line that shows it.
fn is_hello_name(name: &str) -> bool {
    if name.is_empty() || name.len() > 255 {
        return false;
    }
    if name.starts_with('[') {
        return Host::parse(name).is_ok() || is_general_literal(name);
    }
    name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c) || (!c.is_ascii() && c.is_alphanumeric()))
}

/// RFC 5321 4.1.3 General-address-literal, an IPv6 address with a zone among them.
fn is_general_literal(name: &str) -> bool {
    let inner = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let Some((tag, content)) = inner.and_then(|inner| inner.split_once(':')) else {
        return false;
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_:%".contains(&b);
    !tag.is_empty() && !content.is_empty() && tag.bytes().chain(content.bytes()).all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_real_clients_pass_and_harmful_ones_do_not() {
        for name in [
            "mail.example.org",
            "localhost",
            "my_host",
            "DESKTOP-1X",
            "[192.0.2.1]",
            "[IPv6:2001:db8::1]",
            "bücher.example",
            "192.0.2.1",
            "::1",
            "[IPv6:fe80::1%eth0]",
        ] {
            assert!(is_hello_name(name), "{name}");
        }
        for name in ["", "a b", "a(b)", "<a>", "a;b", "a@b", "[1.2.3]", "[1.2.3.4", "[x]", "a\u{a0}b", &"a".repeat(256)]
        {
            assert!(!is_hello_name(name), "{name}");
        }
    }
}
