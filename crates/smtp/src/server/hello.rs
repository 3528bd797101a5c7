//! EHLO, HELO and STARTTLS.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;

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
/// name, it only must not disturb the Received line that shows it. So blanks, quotes, brackets within a name and what
/// else has a meaning there is refused.
fn is_hello_name(name: &str) -> bool {
    let is_name = |c: char| {
        c.is_ascii_alphanumeric() || ".-_:!#$%&'*+/^`{|}~".contains(c) || c == '\u{2019}' || is_letter_beyond_ascii(c)
    };
    let fits = !name.is_empty() && name.len() <= 255;
    fits && if name.starts_with('[') { is_literal(name) } else { name.chars().all(is_name) }
}

fn is_letter_beyond_ascii(c: char) -> bool {
    !c.is_ascii() && c.is_alphanumeric()
}

/// RFC 5321 4.1.3 address literals and, as clients send them, IPv6 addresses without their tag or with a zone.
fn is_literal(name: &str) -> bool {
    let Some(inner) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) else {
        return false;
    };
    let (address, zone) = inner.split_once('%').unwrap_or((inner, ""));
    let fine = |text: &str, more: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b));
    let general = |(tag, content): (&str, &str)| {
        !tag.is_empty() && fine(tag, b"-_") && !content.is_empty() && fine(content, b".-_:")
    };
    let is_address = address.parse::<IpAddr>().is_ok() || address.split_once(':').is_some_and(general);
    is_address && fine(zone, b".-_")
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
            "[::1]",
            "[2001:db8::1]",
            "[fe80:0:0:0:1:2:3:4%12]",
            "[::ffff:192.0.2.1]",
            "[x-tag:content]",
            "John's-PC",
            "John’s-iPhone",
            "PC~1",
            "app/worker+1",
            "localhost:8080",
            "host.example.",
        ] {
            assert!(is_hello_name(name), "{name}");
        }
        for name in ["", "a b", "a\u{a0}b", "a\u{2028}b", "[1.2.3.4", "[::1](x)", "[1.2.3.4]:25", &"a".repeat(256)] {
            assert!(!is_hello_name(name), "{name}");
        }
        for name in r#"a(b) <a> a;b a@b a,b a"b a\b a=?b [1.2.3] [x] [] [:1] [a:] [::1 [a:b]c]"#.split(' ') {
            assert!(!is_hello_name(name), "{name}");
        }
    }
}
