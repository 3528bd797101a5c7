//! SMTP replies and enhanced status codes.

use std::fmt;

/// An enhanced status code (RFC 3463): class 2, 4 or 5, subject and detail 0 to 999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl EnhancedCode {
    /// Reads `5.7.1` at the start of `text`, followed by its end or a blank; gives the code and the rest.
    #[must_use]
    pub fn parse_prefix(text: &str) -> Option<(Self, &str)> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut parts = word.split('.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || !matches!(class, "2" | "4" | "5") {
            return None;
        }
        let number = |s: &str| -> Option<u16> {
            let digits = (1..=3).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| s.parse().ok()).flatten()
        };
        Some((Self(class.parse().ok()?, number(subject)?, number(detail)?), rest))
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A reply, ours or a peer's: code 200 to 599, an enhanced code when there is one, and the text of its lines
/// without code and enhanced code, joined by `\n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// The enhanced status code of its first line.
    pub enhanced: Option<EnhancedCode>,
    /// The text, lines joined by `\n`.
    pub text: String,
}

impl Reply {
    /// A reply of `code` with `enhanced` and `text`.
    #[must_use]
    pub fn new(code: u16, enhanced: EnhancedCode, text: impl Into<String>) -> Self {
        Self { code, enhanced: Some(enhanced), text: text.into() }
    }

    /// 2yz.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4yz.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Appends the reply in wire form, a line for each line of text, the enhanced code on every line (RFC 2034 4).
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let sep = if lines.peek().is_some() { '-' } else { ' ' };
            out.extend_from_slice(self.code.to_string().as_bytes());
            out.push(sep as u8);
            if let Some(enhanced) = self.enhanced {
                out.extend_from_slice(enhanced.to_string().as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, " {}", self.text.replace('\n', " / ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_each_line_with_code_and_enhanced_code() {
        let mut out = Vec::new();
        Reply::new(250, EnhancedCode(2, 1, 0), "one\ntwo").write_to(&mut out);
        assert_eq!(out, b"250-2.1.0 one\r\n250 2.1.0 two\r\n");
    }

    #[test]
    fn reads_enhanced_codes_and_nothing_like_them() {
        assert_eq!(EnhancedCode::parse_prefix("5.7.515 no"), Some((EnhancedCode(5, 7, 515), "no")));
        assert_eq!(EnhancedCode::parse_prefix("2.0.0"), Some((EnhancedCode(2, 0, 0), "")));
        for text in ["5.7", "5.7.1.2 x", "3.1.1 x", "5.1234.1", "5..1", "+5.1.1", "x"] {
            assert_eq!(EnhancedCode::parse_prefix(text), None, "{text}");
        }
    }
}
