//! A mail domain in the one form that is compared, hashed and looked up.

use std::fmt;
use std::sync::Arc;

/// More octets of UTF-8 than any domain that fits into 253 as A-labels; so that a giant one is not even looked at.
const UNICODE_MAX: usize = 4 * 253;

/// A domain name: lower case, A-labels (RFC 5890), without a final dot, 1 to 253 octets, each label 1 to 63.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

/// Why a text is not a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing there.
    #[error("the domain is empty")]
    Empty,
    /// Longer than 253 octets as A-labels, or a label longer than 63.
    #[error("the domain or one of its labels is too long")]
    TooLong,
    /// A character, or a place of a hyphen or dot, that RFC 5321 4.1.2 or IDNA does not allow.
    #[error("the domain has a character or label that is not allowed")]
    BadLabel,
}

impl Domain {
    /// Reads a domain in any case, ASCII or UTF-8 (RFC 6531); a single final dot is dropped.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(DomainError::Empty);
        }
        if text.is_ascii() {
            check_labels(text)?;
            return Ok(Self(text.to_ascii_lowercase().into()));
        }
        if text.len() > UNICODE_MAX {
            return Err(DomainError::TooLong);
        }
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| DomainError::BadLabel)?;
        check_labels(&ascii)?;
        Ok(Self(ascii.into()))
    }

    /// The domain's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `parent` or lies below it.
    #[must_use]
    pub fn is_within(&self, parent: &Self) -> bool {
        match self.0.strip_suffix(&*parent.0) {
            Some(rest) => rest.is_empty() || rest.ends_with('.'),
            None => false,
        }
    }
}

fn check_labels(text: &str) -> Result<(), DomainError> {
    if text.len() > 253 {
        return Err(DomainError::TooLong);
    }
    for label in text.split('.') {
        let bytes = label.as_bytes();
        if bytes.len() > 63 {
            return Err(DomainError::TooLong);
        }
        // RFC 5321 4.1.2: sub-domain = Let-dig [Ldh-str]. Underscores do occur in real sender domains.
        let letters = bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
            return Err(DomainError::BadLabel);
        };
        if !letters || *first == b'-' || *last == b'-' {
            return Err(DomainError::BadLabel);
        }
    }
    Ok(())
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::str::FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_case_dots_and_unicode_into_one_form() {
        for text in ["Example.ORG", "example.org.", "EXAMPLE.org"] {
            assert_eq!(Domain::parse(text).unwrap().as_str(), "example.org");
        }
        assert_eq!(Domain::parse("Bücher.example").unwrap().as_str(), "xn--bcher-kva.example");
        assert_eq!(Domain::parse("xn--bcher-kva.example").unwrap(), Domain::parse("bücher.example").unwrap());
    }

    #[test]
    fn refuses_what_is_no_domain() {
        let long_label = "a".repeat(64);
        let long = ["a".repeat(60).as_str(); 5].join(".");
        let giant = "ü.".repeat(1 << 20);
        for text in ["", ".", "a..b", "-a.b", "a-.b", "a b", ".a", "a..", "a@b", &long_label, &long, &giant] {
            assert!(Domain::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn within_compares_whole_labels() {
        let parent = Domain::parse("example.org").unwrap();
        assert!(parent.is_within(&parent));
        assert!(Domain::parse("news.example.org").unwrap().is_within(&parent));
        assert!(!Domain::parse("badexample.org").unwrap().is_within(&parent));
    }
}
