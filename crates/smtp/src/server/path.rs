//! Paths of RFC 5321 4.1.2: `<>`, `<mailbox>`, `<Postmaster>`, `<@a,@b:mailbox>`.

use sluice_mail::{Address, AddressError, Domain};

/// What stands between the angle brackets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// Nothing.
    Null,
    /// The word `Postmaster`, without a domain.
    Postmaster,
    /// A mailbox; its source route, if it had one, was well-formed and is forgotten.
    Mailbox(Address),
}

/// Why a path was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("put the address in angle brackets, as in <user@example.org>")]
    NoBrackets,
    #[error("the closing angle bracket is missing")]
    Unclosed,
    #[error("the source route before the address is malformed")]
    BadRoute,
    #[error("the domain ends with a dot")]
    FinalDot,
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// Reads the path at the start of `text`; gives it and what follows it.
pub(super) fn parse(text: &str) -> Result<(Path, &str), PathError> {
    let text = text.strip_prefix('<').ok_or(PathError::NoBrackets)?;
    let (routed, text) = if text.starts_with('@') { (true, skip_route(text)?) } else { (false, text) };
    let end = mailbox_len(text).ok_or(PathError::Unclosed)?;
    let (mailbox, rest) = (&text[..end], &text[end + 1..]);
    let path = match mailbox {
        "" if !routed => Path::Null,
        word if !routed && word.eq_ignore_ascii_case("postmaster") => Path::Postmaster,
        _ if mailbox.ends_with('.') => return Err(PathError::FinalDot),
        _ => Path::Mailbox(Address::parse(mailbox)?),
    };
    Ok((path, rest))
}

/// Checks `@one,@two:` and gives what follows it.
fn skip_route(text: &str) -> Result<&str, PathError> {
    let (route, rest) = text.split_once(':').ok_or(PathError::BadRoute)?;
    let well_formed = |hop: &str| hop.strip_prefix('@').is_some_and(|domain| Domain::parse(domain).is_ok());
    if route.split(',').all(well_formed) { Ok(rest) } else { Err(PathError::BadRoute) }
}

/// Octets before the closing bracket; one within a quoted local part does not count.
fn mailbox_len(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (i, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(i),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        for (text, expect, rest) in [
            ("<>", "", ""),
            ("<> SIZE=1", "", " SIZE=1"),
            ("<a@example.org>", "a@example.org", ""),
            ("<a@example.org>SIZE=1", "a@example.org", "SIZE=1"),
            (r#"<"a>b"@example.org> X"#, r#""a>b"@example.org"#, " X"),
            (r#"<"a\">\\"@example.org>"#, r#""a\">\\"@example.org"#, ""),
            (r#"<"a b"@[192.0.2.1]>"#, r#""a b"@[192.0.2.1]"#, ""),
            ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", ""),
            ("<@one.example,@two.example:a@example.org>", "a@example.org", ""),
            ("<@one.example:postmaster@example.org>", "postmaster@example.org", ""),
            ("<postMASTER>", "Postmaster", ""),
            ("<ü@bücher.example>", "ü@bücher.example", ""),
        ] {
            let (path, left) = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let path = match path {
                Path::Null => String::new(),
                Path::Postmaster => "Postmaster".to_owned(),
                Path::Mailbox(address) => address.to_string(),
            };
            assert_eq!((path.as_str(), left), (expect, rest), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_path() {
        for text in [
            "",
            "a@example.org",
            "<a@example.org",
            "<",
            "<a>",
            "<a@>",
            "<@example.org>",
            "<@a:>",
            "<@a:postmaster>",
            "<a:b@example.org>",
            "<@a,b:c@example.org>",
            "<@a@b:c@example.org>",
            "<@:c@example.org>",
            "<<a@example.org>>",
            "< a@example.org>",
            "<a@example.org >",
            "<a b@example.org>",
            r#"<"a@example.org>"#,
            r#"<"a"b@example.org>"#,
            "<a@example.org.>",
            "<a@[1.2.3.4>",
            "<a@[1.2.3.256]>",
            "<a@[2001:db8::1]>",
            "<a@-b.org>",
            "<a..b@c.org>",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
