//! What a peer offers in its answer to EHLO.

/// The extensions of a peer that matter to us. All off after HELO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// EHLO was answered, not just HELO.
    pub esmtp: bool,
    /// The session is encrypted; not of the peer's saying.
    pub tls: bool,
    /// RFC 2920 PIPELINING.
    pub pipelining: bool,
    /// RFC 1870 SIZE: the largest message in octets, 0 for no fixed limit.
    pub size: Option<u64>,
    /// RFC 6152 8BITMIME.
    pub eight_bit_mime: bool,
    /// RFC 6531 SMTPUTF8.
    pub smtputf8: bool,
    /// RFC 3207 STARTTLS.
    pub start_tls: bool,
    /// RFC 2034 ENHANCEDSTATUSCODES.
    pub enhanced_status_codes: bool,
    /// RFC 3030 CHUNKING.
    pub chunking: bool,
    /// RFC 3461 DSN.
    pub dsn: bool,
    /// RFC 8689 REQUIRETLS.
    pub require_tls: bool,
    /// RFC 4954 AUTH with the mechanism PLAIN (RFC 4616).
    pub auth_plain: bool,
    /// AUTH with the mechanism LOGIN, which never became a standard and is all that some hosts offer.
    pub auth_login: bool,
}

impl Capabilities {
    /// Reads the lines of an EHLO reply; the first is the peer's name.
    pub(super) fn read<'a>(lines: impl Iterator<Item = &'a [u8]>, tls: bool) -> Self {
        let mut offered = Self { esmtp: true, tls, ..Self::default() };
        for line in lines.skip(1) {
            offered.line(&String::from_utf8_lossy(line));
        }
        offered
    }

    fn line(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let Some(keyword) = words.next() else { return };
        match keyword.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            // A limit that cannot be read is no limit: the peer says so at MAIL.
            "SIZE" => self.size = Some(words.next().and_then(|limit| limit.parse().ok()).unwrap_or(0)),
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "STARTTLS" => self.start_tls = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "CHUNKING" => self.chunking = true,
            "DSN" => self.dsn = true,
            "REQUIRETLS" => self.require_tls = true,
            "AUTH" => words.for_each(|mechanism| self.auth(mechanism)),
            // A form from before RFC 2554 that hosts still give beside the right one.
            other => {
                if let Some(first) = other.strip_prefix("AUTH=") {
                    [first].into_iter().chain(words).for_each(|mechanism| self.auth(mechanism));
                }
            }
        }
    }

    fn auth(&mut self, mechanism: &str) {
        self.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
        self.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_keywords_in_any_case() {
        let lines: [&[u8]; 12] = [
            b"PIPELINING is my name",
            b"size 1000",
            b"8BitMime",
            b"SMTPUTF8",
            b"STARTTLS",
            b"ENHANCEDSTATUSCODES",
            b"CHUNKING",
            b"DSN",
            b"REQUIRETLS",
            b"",
            b"AUTH=PLAIN",
            b"X-\xff",
        ];
        let expect = Capabilities {
            esmtp: true,
            tls: true,
            pipelining: false,
            size: Some(1000),
            eight_bit_mime: true,
            smtputf8: true,
            start_tls: true,
            enhanced_status_codes: true,
            chunking: true,
            dsn: true,
            require_tls: true,
            auth_plain: true,
            auth_login: false,
        };
        assert_eq!(Capabilities::read(lines.into_iter(), true), expect);
    }

    #[test]
    fn reads_the_mechanisms_of_auth() {
        for (line, plain, login) in [
            ("AUTH PLAIN LOGIN", true, true),
            ("auth cram-md5 login", false, true),
            ("AUTH=LOGIN PLAIN", true, true),
            ("AUTH CRAM-MD5 XPLAIN PLAIN-CLIENTTOKEN", false, false),
            ("AUTH", false, false),
            ("AUTHPLAIN", false, false),
        ] {
            let offered = Capabilities::read([&b""[..], line.as_bytes()].into_iter(), false);
            assert_eq!((offered.auth_plain, offered.auth_login), (plain, login), "{line}");
        }
    }

    #[test]
    fn an_odd_size_is_no_limit() {
        for line in [&b"SIZE"[..], b"SIZE lots", b"SIZE -1", b"SIZE 99999999999999999999999"] {
            assert_eq!(Capabilities::read([b"".as_slice(), line].into_iter(), false).size, Some(0));
        }
    }
}
