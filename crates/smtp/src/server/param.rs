//! ESMTP parameters of MAIL and RCPT (RFC 5321 4.1.2), and the texts they may hold.

use super::refusal::Refusal;

/// Walks over `SIZE=1 BODY=8BITMIME …`.
pub(super) struct Params<'a>(&'a str);

/// One parameter.
pub(super) type Param<'a> = (&'a str, Option<&'a str>);

impl<'a> Params<'a> {
    /// The parameters in what follows a path; `None` when no blank separates them from it.
    pub(super) fn new(rest: &'a str) -> Option<Self> {
        (rest.is_empty() || rest.starts_with([' ', '\t'])).then_some(Self(rest))
    }
}

impl<'a> Iterator for Params<'a> {
    /// A keyword with its value, or the word that is none.
    type Item = Result<Param<'a>, &'a str>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.trim_start_matches([' ', '\t']);
        if text.is_empty() {
            return None;
        }
        let (word, rest) = text.split_at(text.find([' ', '\t']).unwrap_or(text.len()));
        self.0 = rest;
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let fine = is_keyword(keyword) && value.is_none_or(is_value);
        Some(if fine { Ok((keyword, value)) } else { Err(word) })
    }
}

/// What follows `FROM:` or `TO:`; a blank behind the colon is forgiven.
pub(super) fn after_keyword<'a>(args: &'a str, keyword: &str) -> Option<&'a str> {
    let (head, rest) = args.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| rest.trim_start_matches([' ', '\t']))
}

/// The refusal of a well-formed parameter that is not offered.
pub(super) fn unknown_param(keyword: &str) -> Refusal {
    Refusal::bad(format!("555 5.5.4 Parameter {} is not offered here", shown(keyword)))
}

/// The refusal of a word that is no parameter.
pub(super) fn malformed_param(word: &str) -> Refusal {
    Refusal::bad(format!("501 5.5.4 Malformed parameter {}", shown(word)))
}

/// The client's own word, as far as it fits into a reply.
fn shown(word: &str) -> std::str::EscapeDefault<'_> {
    word[..word.floor_char_boundary(40)].escape_default()
}

fn is_keyword(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && text.bytes().all(inner)
}

/// Printable without blank and `=`; RFC 6531 adds UTF-8.
fn is_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b != b'=' && (b.is_ascii_graphic() || !b.is_ascii()))
}

/// RFC 3461 4: printable, with `+` and two upper-case hex digits for what is not. RFC 6533 adds UTF-8 for addresses.
pub(super) fn is_xtext(text: &str) -> bool {
    let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        let fine = match b {
            b'+' => hex(bytes.next()) && hex(bytes.next()),
            b'=' => false,
            _ => b.is_ascii_graphic() || !b.is_ascii(),
        };
        if !fine {
            return false;
        }
    }
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_over_parameters() {
        for (text, expect) in [
            ("", vec![]),
            (" SIZE=1", vec![Ok(("SIZE", Some("1")))]),
            ("  A  \tB-2=<x>", vec![Ok(("A", None)), Ok(("B-2", Some("<x>")))]),
            (" A=", vec![Err("A=")]),
            (" =A", vec![Err("=A")]),
            (" -A", vec![Err("-A")]),
            (" A=b=c", vec![Err("A=b=c")]),
            (" A_B", vec![Err("A_B")]),
        ] {
            assert_eq!(Params::new(text).unwrap().collect::<Vec<_>>(), expect, "{text:?}");
        }
        assert!(Params::new("SIZE=1").is_none());
    }

    #[test]
    fn xtext_escapes_are_whole() {
        for (text, expect) in
            [("abc", true), ("a+2Bb", true), ("+3D", true), ("", false), ("a+2", false), ("+2b", false), ("a=b", false)]
        {
            assert_eq!(is_xtext(text), expect, "{text}");
        }
    }
}
