//! A mailbox by RFC 5321 4.1.2 and RFC 6531 3.3.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::{Domain, DomainError};

/// Longest local part in octets (RFC 5321 4.5.3.1.1).
const LOCAL_MAX: usize = 64;

/// `local@domain` or `local@[literal]`, exactly as it was written, with its host parsed. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    text: Arc<str>,
    at: u8,
    host: Host,
}

/// What stands right of the `@`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A domain name.
    Domain(Domain),
    /// An address literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    Literal(IpAddr),
}

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@` outside a quoted string.
    #[error("the address has no domain")]
    NoDomain,
    /// The part left of `@` is empty, or neither a dot-atom nor a quoted string.
    #[error("the local part is not a dot-atom or a quoted string")]
    BadLocal,
    /// The local part is longer than 64 octets.
    #[error("the local part is longer than 64 octets")]
    LocalTooLong,
    /// The address literal does not hold an IPv4 or IPv6 address.
    #[error("the address literal is not an IPv4 or IPv6 address")]
    BadLiteral,
    /// The domain is wrong.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl Address {
    /// Reads the whole of `text` as one mailbox, without angle brackets.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let at = local_part_len(text)?;
        if at > LOCAL_MAX {
            return Err(AddressError::LocalTooLong);
        }
        let host = match text.as_bytes().get(at) {
            Some(b'@') => Host::parse(&text[at + 1..])?,
            Some(_) => return Err(AddressError::BadLocal),
            None => return Err(AddressError::NoDomain),
        };
        let at = u8::try_from(at).map_err(|_| AddressError::LocalTooLong)?;
        Ok(Self { text: text.into(), at, host })
    }

    /// The part left of the `@`, quotes included when it was quoted.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// The local part with its quoting resolved, for comparing: `"a\.b"` and `a.b` are the same mailbox.
    #[must_use]
    pub fn local_unquoted(&self) -> String {
        let local = self.local();
        let Some(inner) = local.strip_prefix('"').and_then(|l| l.strip_suffix('"')) else {
            return local.to_owned();
        };
        let mut out = String::with_capacity(inner.len());
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            out.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        out
    }

    /// What stands right of the `@`.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The address as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the address needs SMTPUTF8 on its way.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl Host {
    /// Reads a domain or an address literal.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let Some(literal) = text.strip_prefix('[') else {
            return Ok(Self::Domain(Domain::parse(text)?));
        };
        let inner = literal.strip_suffix(']').ok_or(AddressError::BadLiteral)?;
        let is_v6 = inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("ipv6:"));
        let ip = if is_v6 {
            inner[5..].parse::<Ipv6Addr>().map(IpAddr::V6)
        } else {
            inner.parse::<Ipv4Addr>().map(IpAddr::V4)
        };
        ip.map(Self::Literal).map_err(|_| AddressError::BadLiteral)
    }

    /// The domain, unless this is a literal.
    #[must_use]
    pub fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Domain(domain) => Some(domain),
            Self::Literal(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Literal(IpAddr::V4(ip)) => write!(f, "[{ip}]"),
            Self::Literal(IpAddr::V6(ip)) => write!(f, "[IPv6:{ip}]"),
        }
    }
}

/// Length in octets of the dot-atom or quoted string at the start of `text`.
fn local_part_len(text: &str) -> Result<usize, AddressError> {
    if text.starts_with('"') {
        return quoted_len(text);
    }
    let len = text.find('@').ok_or(AddressError::NoDomain)?;
    let atoms_fine = text[..len].split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext));
    if atoms_fine { Ok(len) } else { Err(AddressError::BadLocal) }
}

fn quoted_len(text: &str) -> Result<usize, AddressError> {
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Ok(i + 1),
            '\\' => match chars.next() {
                Some((_, ' '..='~')) => {}
                Some(_) | None => return Err(AddressError::BadLocal),
            },
            ' '..='~' => {}
            '\u{80}'.. if !c.is_control() => {}
            _ => return Err(AddressError::BadLocal),
        }
    }
    Err(AddressError::BadLocal)
}

/// RFC 5322 3.2.3 atext, with RFC 6531's UTF-8 beyond ASCII.
pub(crate) fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_control())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_mailbox() {
        for (text, local, host) in [
            ("a@example.org", "a", "example.org"),
            ("a.b+c!#$%&'*/=?^_`{|}~-@Example.ORG", "a.b+c!#$%&'*/=?^_`{|}~-", "example.org"),
            (r#""a b"@example.org"#, r#""a b""#, "example.org"),
            (r#""a\"@b"@example.org"#, r#""a\"@b""#, "example.org"),
            (r#"""@example.org"#, r#""""#, "example.org"),
            ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
            ("a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]"),
            ("üser@bücher.example", "üser", "xn--bcher-kva.example"),
        ] {
            let address = Address::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((address.local(), address.host().to_string().as_str()), (local, host), "{text}");
            assert_eq!(address.as_str(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_mailbox() {
        let long = format!("{}@example.org", "a".repeat(65));
        for text in [
            "",
            "a",
            "@",
            "@b.org",
            "a@",
            ".a@b.org",
            "a.@b.org",
            "a..b@b.org",
            "a b@c.org",
            "a@b@c.org",
            "a@b_c d",
            r#""a@b.org"#,
            r#""a"b@c.org"#,
            "a\u{7}@b.org",
            "\"a\u{85}\"@b.org",
            "\"a\u{7f}\"@b.org",
            "a@[1.2.3]",
            "a@[IPv6:1.2.3.4]",
            "a@[2001:db8::1]",
            "a@[1.2.3.4",
            "a@b..org",
            "a<b@c.org",
            "a,b@c.org",
            &long,
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn quoting_resolves_to_the_same_mailbox() {
        let quoted = Address::parse(r#""a\.b"@example.org"#).unwrap();
        assert_eq!(quoted.local_unquoted(), "a.b");
        assert_eq!(Address::parse("a.b@example.org").unwrap().local_unquoted(), "a.b");
    }
}
