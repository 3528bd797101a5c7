//! Mailbox lists (RFC 5322 3.4, RFC 6854 groups, RFC 6532 UTF-8), read strictly.
//!
//! Every address that any reader may take out of the field must come out here, as the right to send is judged by
//! them. So the obsolete forms of RFC 5322 4.4 (routes, empty list elements, blanks within a local part) are
//! refused, and so are the tricks by which an address hides from a strict reader and shows to a careless one:
//! `<`, `>` or `@` within a comment, or within a quoted string that has a backslash too; `<` or `>` within a local
//! part; encoded words (RFC 2047) within an address. Encoded words in display names are never decoded.
//!
//! Two wrong forms are read, as clients write them daily: a dot in an unquoted display name,
//! `John Q. Public <jqp@example.org>`, which nobody reads otherwise; and an unquoted address in place of a display
//! name, `a@example.org <a@example.org>`, of which both come out.

use crate::address::is_atext;
use crate::{Address, AddressError};

/// Most mailboxes in one field.
pub const MAX_MAILBOXES: usize = 1_000;

/// Why a text is not a mailbox list. Offsets are octets from the start of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// There is no address in it.
    #[error("there is no address")]
    NoAddress,
    /// Something that the grammar does not allow here.
    #[error("the address list cannot be read from character {} on", .0 + 1)]
    Syntax(usize),
    /// An address that is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A control character.
    #[error("a control character at character {}", .0 + 1)]
    Control(usize),
    /// A source route, `<@a,@b:c@d>`.
    #[error("a source route")]
    Route,
    /// An encoded word within an address.
    #[error("an encoded word within an address")]
    EncodedWord,
    /// `<`, `>` or `@` within a comment.
    #[error("a comment that looks like an address")]
    AddressInComment,
    /// `<`, `>` or `@` within a quoted string with a backslash, where a careless reader misses the string's end;
    /// or `<` or `>` within a quoted local part.
    #[error("a quoted string that looks like an address")]
    AddressInQuotes,
    /// A quoted string or comment without its end.
    #[error("a quoted string or comment that does not end")]
    Unclosed,
    /// More than [`MAX_MAILBOXES`].
    #[error("more than {MAX_MAILBOXES} addresses")]
    TooMany,
}

/// All addresses of `value`, those within groups included, comments left out. `value` may still be folded.
/// Gives at least one address.
pub fn parse_mailboxes(value: &str) -> Result<Vec<Address>, MailboxError> {
    let mut reader = Reader { text: value, at: 0, found: Vec::new() };
    loop {
        reader.entry(Groups::Allowed)?;
        match reader.peek() {
            Some(',') => _ = reader.next(),
            None => break,
            Some(_) => return Err(reader.unexpected()),
        }
    }
    if reader.found.is_empty() { Err(MailboxError::NoAddress) } else { Ok(reader.found) }
}

struct Reader<'a> {
    text: &'a str,
    /// On a character boundary of `text`.
    at: usize,
    found: Vec<Address>,
}

/// Groups do not nest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Groups {
    Allowed,
    Refused,
}

impl<'a> Reader<'a> {
    /// A mailbox or a group, with the blanks and comments after it.
    fn entry(&mut self, groups: Groups) -> Result<(), MailboxError> {
        self.blanks()?;
        if self.peek() == Some('<') {
            return self.angle();
        }
        let first = self.word()?;
        self.blanks()?;
        if self.peek() == Some('@') {
            self.address(first)?;
            return if self.peek() == Some('<') { self.angle() } else { Ok(()) };
        }
        if first.starts_with('.') {
            return Err(self.unexpected());
        }
        loop {
            match self.peek() {
                Some('<') => return self.angle(),
                Some(':') if groups == Groups::Allowed => return self.group(),
                Some(c) if c == '"' || is_word(c) => _ = self.word()?,
                Some(_) | None => return Err(self.unexpected()),
            }
            self.blanks()?;
        }
    }

    /// From the colon of a group past its semicolon.
    fn group(&mut self) -> Result<(), MailboxError> {
        self.next();
        self.blanks()?;
        if self.peek() != Some(';') {
            self.entry(Groups::Refused)?;
            while self.peek() == Some(',') {
                self.next();
                self.entry(Groups::Refused)?;
            }
        }
        self.expect(';')?;
        self.blanks()
    }

    /// `<local@domain>`.
    fn angle(&mut self) -> Result<(), MailboxError> {
        self.expect('<')?;
        self.blanks()?;
        match self.peek() {
            Some('@') => return Err(MailboxError::Route),
            Some('>') => return Err(MailboxError::NoAddress),
            Some(_) | None => {}
        }
        let local = self.word()?;
        self.blanks()?;
        self.address(local)?;
        self.expect('>')?;
        self.blanks()
    }

    /// From the `@` on.
    fn address(&mut self, local: &str) -> Result<(), MailboxError> {
        self.expect('@')?;
        self.blanks()?;
        let host = self.host()?;
        if local.contains("=?") {
            return Err(MailboxError::EncodedWord);
        }
        if local.contains(['<', '>']) {
            return Err(MailboxError::AddressInQuotes);
        }
        if self.found.len() == MAX_MAILBOXES {
            return Err(MailboxError::TooMany);
        }
        self.found.push(Address::parse(&format!("{local}@{host}"))?);
        self.blanks()
    }

    /// A domain or an address literal.
    fn host(&mut self) -> Result<&'a str, MailboxError> {
        let start = self.at;
        if self.peek() == Some('[') {
            self.next();
            self.skip_while(|c| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | 'I' | 'P' | 'v' | 'i' | 'p' | 'V'));
            self.expect(']')?;
        } else {
            self.skip_while(is_word);
        }
        let host = &self.text[start..self.at];
        // The final dot that a domain name may have elsewhere has no place in an addr-spec.
        if host.is_empty() || host.ends_with('.') { Err(MailboxError::Syntax(start)) } else { Ok(host) }
    }

    /// A quoted string with its quotes, or a run of atoms and dots.
    fn word(&mut self) -> Result<&'a str, MailboxError> {
        let start = self.at;
        if self.peek() == Some('"') {
            self.next();
            self.quoted()?;
        } else {
            self.skip_while(is_word);
        }
        if self.at == start { Err(self.unexpected()) } else { Ok(&self.text[start..self.at]) }
    }

    /// Past the closing quote.
    fn quoted(&mut self) -> Result<(), MailboxError> {
        let (mut escapes, mut looks_like_address) = (false, false);
        loop {
            let c = match self.next_text()? {
                '"' => break,
                '\\' => {
                    escapes = true;
                    self.next_text()?
                }
                c => c,
            };
            looks_like_address |= matches!(c, '<' | '>' | '@');
        }
        if escapes && looks_like_address { Err(MailboxError::AddressInQuotes) } else { Ok(()) }
    }

    /// Skips blanks, folding and comments.
    fn blanks(&mut self) -> Result<(), MailboxError> {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => _ = self.next_text()?,
                Some('(') => self.comment()?,
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn comment(&mut self) -> Result<(), MailboxError> {
        let mut depth = 0usize;
        loop {
            let c = match self.next_text()? {
                '\\' => self.next_text()?,
                '(' => {
                    depth += 1;
                    continue;
                }
                ')' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                    continue;
                }
                c => c,
            };
            if matches!(c, '<' | '>' | '@') {
                return Err(MailboxError::AddressInComment);
            }
        }
    }

    /// The next character of a quoted string or comment; a fold is read as the blank after it.
    fn next_text(&mut self) -> Result<char, MailboxError> {
        let at = self.at;
        match self.next() {
            None => Err(MailboxError::Unclosed),
            Some('\r') if self.next() == Some('\n') && matches!(self.peek(), Some(' ' | '\t')) => {
                self.next().ok_or(MailboxError::Unclosed)
            }
            Some(c) if c.is_control() && c != '\t' => Err(MailboxError::Control(at)),
            Some(c) => Ok(c),
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.next();
        }
    }

    fn expect(&mut self, c: char) -> Result<(), MailboxError> {
        if self.peek() != Some(c) {
            return Err(self.unexpected());
        }
        self.next();
        Ok(())
    }

    /// What stands here does not belong here.
    fn unexpected(&self) -> MailboxError {
        match self.peek() {
            None if self.found.is_empty() => MailboxError::NoAddress,
            Some(c) if c.is_control() => MailboxError::Control(self.at),
            Some(_) | None => MailboxError::Syntax(self.at),
        }
    }
}

fn is_word(c: char) -> bool {
    c == '.' || is_atext(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(value: &str, expect: &[&str]) {
        let found = parse_mailboxes(value).unwrap_or_else(|e| panic!("{value:?}: {e}"));
        assert_eq!(found.iter().map(Address::as_str).collect::<Vec<_>>(), expect, "{value:?}");
    }

    #[test]
    fn reads_every_form() {
        for (value, expect) in [
            ("a@b.org", &["a@b.org"][..]),
            ("<a@b.org>", &["a@b.org"]),
            (" Ann <a@b.org> ", &["a@b.org"]),
            ("\"Ann, the \\\"first\\\"\" <a@b.org>", &["a@b.org"]),
            ("John Q. Public <a@b.org>", &["a@b.org"]),
            ("a@b.org, c@d.org", &["a@b.org", "c@d.org"]),
            ("a@b.org <a@b.org>", &["a@b.org", "a@b.org"]),
            ("a@ok.org <b@bad.org>, c@d.org", &["a@ok.org", "b@bad.org", "c@d.org"]),
            ("x: a@b.org (Ann)<c@d.org>;", &["a@b.org", "c@d.org"]),
            ("Ann <a@b.org>,Bob <c@d.org>", &["a@b.org", "c@d.org"]),
            ("Ann <a@b.org>,\r\n\tBob\r\n <c@d.org>", &["a@b.org", "c@d.org"]),
            ("\"a b\"@b.org", &["\"a b\"@b.org"]),
            ("<\"a@b\"@b.org>", &["\"a@b\"@b.org"]),
            ("a@[192.0.2.1]", &["a@[192.0.2.1]"]),
            ("<a@[IPv6:2001:db8::1]>", &["a@[IPv6:2001:db8::1]"]),
            ("J\u{fc}rgen <j\u{fc}rgen@b\u{fc}cher.example>", &["j\u{fc}rgen@b\u{fc}cher.example"]),
            ("=?utf-8?q?J=C3=BCrgen?= =?utf-8?q?=3Ca=40bad=3E?= <a@b.org>", &["a@b.org"]),
            ("\"ceo@bad.org\" <a@b.org>", &["a@b.org"]),
            ("x: a@b.org;", &["a@b.org"]),
            ("x: a@b.org, Bob <c@d.org>; , e@f.org", &["a@b.org", "c@d.org", "e@f.org"]),
            ("none:;, a@b.org", &["a@b.org"]),
            ("a@b.org (Ann (the first) \\) here)", &["a@b.org"]),
            ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", &["pete@silly.test"]),
            (
                "A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n         joe@example.org,\r\n  John <jdoe@one.test> (my dear friend); (the end of the group)",
                &["c@public.example", "joe@example.org", "jdoe@one.test"],
            ),
        ] {
            check(value, expect);
        }
    }

    #[test]
    fn refuses_what_another_reader_may_take_otherwise() {
        use MailboxError::{
            AddressInComment, AddressInQuotes, Control, EncodedWord, NoAddress, Route, Syntax, TooMany, Unclosed,
        };
        for (value, expect) in [
            ("", NoAddress),
            ("  ", NoAddress),
            ("<>", NoAddress),
            ("Ann <>", NoAddress),
            ("Ann", NoAddress),
            ("(a comment)", NoAddress),
            ("none:;", NoAddress),
            ("<a@ok.org> <b@bad.org>", Syntax(11)),
            ("a@ok.org b@bad.org", Syntax(9)),
            ("a@ok.org <b@bad.org> <c@bad.org>", Syntax(21)),
            ("a@ok.org Ann <b@bad.org>", Syntax(9)),
            ("a@ok.org <>", NoAddress),
            ("\"a\\\" <ceo@bad.org>, \\\"b\" <a@ok.org>", AddressInQuotes),
            ("\"<ceo@bad.org>\"@ok.org", AddressInQuotes),
            ("\"\\\\\" <ceo@bad.org>, \\\"b\" <a@ok.org>", Syntax(20)),
            ("\"a\\\"@bad.org,b\"@ok.org", AddressInQuotes),
            ("<b@bad.org> a@ok.org", Syntax(12)),
            ("Ann <a@ok.org", Syntax(13)),
            ("a@ok.org>", Syntax(8)),
            ("<<b@bad.org>@ok.org>", Syntax(1)),
            ("<a@ok.org, b@bad.org>", Syntax(9)),
            ("a@b@ok.org", Syntax(3)),
            ("Ann, the first <a@ok.org>", Syntax(3)),
            ("b@bad.org Ann <a@ok.org>", Syntax(10)),
            ("a@ok.org,", Syntax(9)),
            ("a@ok.org,,b@bad.org", Syntax(9)),
            (",a@ok.org", Syntax(0)),
            ("a@ok.org; b@bad.org", Syntax(8)),
            ("x: y: a@ok.org;;", Syntax(4)),
            ("x: a@ok.org", Syntax(11)),
            (". <a@ok.org>", Syntax(2)),
            ("a @ok.org.", Syntax(3)),
            ("a b@ok.org", Syntax(3)),
            ("[a] <b@ok.org>", Syntax(0)),
            ("a\\@b@ok.org", Syntax(1)),
            ("<@bad.org:a@ok.org>", Route),
            ("<@bad.org,@c.org:a@ok.org>", Route),
            ("a@ok.org (<b@bad.org>)", AddressInComment),
            ("a@ok.org (\\<b)", AddressInComment),
            ("(b@bad.org) a@ok.org", AddressInComment),
            ("<a@ok.org(>)b@bad.org>", AddressInComment),
            ("=?utf-8?q?b=40bad.org=3E=00?=@ok.org", EncodedWord),
            ("\"=?utf-8?q?b=40bad.org?=\"@ok.org", EncodedWord),
            ("a@ok.org (", Unclosed),
            ("\"Ann <a@ok.org>", Unclosed),
            ("a@ok.org\0", Control(8)),
            ("a\0@ok.org", Control(1)),
            ("\"\0\" <a@ok.org>", Control(1)),
            ("(\u{7f}) <a@ok.org>", Control(1)),
            ("Ann\u{85} <a@ok.org>", Control(3)),
            ("Ann\n <a@ok.org>", Control(3)),
            ("a@ok.org\r\nFrom: b@bad.org", Control(8)),
            ("Ann\r <a@ok.org>", Control(3)),
            (&"a@b.org,".repeat(MAX_MAILBOXES + 1), TooMany),
        ] {
            assert_eq!(parse_mailboxes(value), Err(expect), "{value:?}");
        }
        for value in
            ["a@", "a@-b", "a..b@ok.org", ".a@ok.org", "a@b..c", "\"a\tb\"@ok.org", "a@[1.2]", "a@[192.0.2.1 ]"]
        {
            assert!(parse_mailboxes(value).is_err(), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(value in "[a-c@<>(),;:.\"\\\\ \t\r\n\u{0}ü\\[\\]=?]{0,40}") {
            _ = parse_mailboxes(&value);
        }

        /// An address that stands in the text outside of quotes, however wrapped, is found or the text is refused.
        #[test]
        fn no_address_is_overlooked(before in "[a-c@<>(),;:. \t]{0,12}", after in "[a-c@<>(),;:. \t]{0,12}") {
            let value = format!("{before}evil@bad.org{after}");
            if let Ok(found) = parse_mailboxes(&value) {
                prop_assert!(found.iter().any(|a| a.as_str().contains("evil@bad.org")), "{value:?} {found:?}");
            }
        }
    }
}
