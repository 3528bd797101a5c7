//! The public half of a key in the DNS (RFC 6376 3.6): what to publish, and whether what is published fits.

use std::fmt;

use crate::{Algorithm, Key};

/// Octets of one character-string of a TXT record at most (RFC 1035 3.3.14).
const STRING_MAX: usize = 255;

/// The record's text: `v=DKIM1; k=rsa; p=…`.
#[must_use]
pub fn record(key: &Key) -> String {
    format!("v=DKIM1; k={}; p={}", key.algorithm().key_type(), key.public())
}

/// The record's text in pieces that fit into one TXT record.
#[must_use]
pub fn strings(key: &Key) -> Vec<String> {
    split(&record(key))
}

/// A text in pieces that fit into one TXT record.
#[must_use]
pub fn split(record: &str) -> Vec<String> {
    record.as_bytes().chunks(STRING_MAX).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

/// The record as a line of a zone file, with its full name.
#[must_use]
pub fn zone_line(key: &Key) -> String {
    zone_line_of(&key.name(), &record(key))
}

/// A record under `name` as a line of a zone file.
#[must_use]
pub fn zone_line_of(name: &str, record: &str) -> String {
    let strings: Vec<_> = split(record).iter().map(|piece| format!("\"{piece}\"")).collect();
    format!("{name}. 3600 IN TXT ( {} )", strings.join(" "))
}

/// What is wrong with what the DNS answers for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There is no TXT record.
    Missing,
    /// More than one record: receivers may take either (RFC 6376 3.6.2.2).
    Several(usize),
    /// It is no list of `tag=value`.
    Malformed(String),
    /// `v=` is there and not `DKIM1`, or not the first.
    Version(String),
    /// `k=` names another kind of key.
    KeyType {
        /// What is published.
        published: String,
        /// What signs.
        ours: &'static str,
    },
    /// `p=` is empty: the key is revoked.
    Revoked,
    /// `p=` is another key.
    OtherKey {
        /// What is published, from where it differs, shortened.
        published: String,
        /// What signs, from there.
        ours: String,
        /// The place in `p=` where they differ, counted from 0.
        at: usize,
    },
    /// `h=` does not allow sha256.
    Hash(String),
    /// `s=` does not allow mail.
    Service(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no TXT record"),
            Self::Several(n) => write!(f, "there are {n} TXT records; there must be one"),
            Self::Malformed(part) => write!(f, "{part:?} is not tag=value"),
            Self::Version(v) => write!(f, "v={v}; expected DKIM1, as the first tag"),
            Self::KeyType { published, ours } => write!(f, "k={published}; expected {ours}"),
            Self::Revoked => f.write_str("p= is empty: the key is revoked"),
            Self::OtherKey { published, ours, at } => {
                write!(f, "p= is another key: from character {at} on it is {published:?}, expected {ours:?}")
            }
            Self::Hash(h) => write!(f, "h={h} does not allow sha256"),
            Self::Service(s) => write!(f, "s={s} does not allow email"),
        }
    }
}

/// What differs between the key and the TXT records found under its name, each with its strings joined. Empty: mail
/// signed by the key verifies.
#[must_use]
pub fn compare(key: &Key, records: &[String]) -> Vec<Difference> {
    compare_public(key.algorithm(), &key.public(), records)
}

/// [`compare`] by the public half alone, in the form of [`Key::public`].
#[must_use]
pub fn compare_public(algorithm: Algorithm, public: &str, records: &[String]) -> Vec<Difference> {
    let record = match records {
        [] => return vec![Difference::Missing],
        [one] => one,
        several => return vec![Difference::Several(several.len())],
    };
    let mut tags = Vec::new();
    for part in record.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some((tag, value)) => tags.push((tag.trim(), value.split_whitespace().collect::<String>())),
            None => return vec![Difference::Malformed(part.to_owned())],
        }
    }
    let tag = |name: &str| tags.iter().find(|(tag, _)| *tag == name).map(|(_, value)| value.as_str());
    let mut found = Vec::new();
    if let Some(version) = tag("v").filter(|v| *v != "DKIM1" || tags[0].0 != "v") {
        found.push(Difference::Version(version.to_owned()));
    }
    let (published, ours) = (tag("k").unwrap_or("rsa"), algorithm.key_type());
    if published != ours {
        found.push(Difference::KeyType { published: published.to_owned(), ours });
    }
    if let Some(hashes) = tag("h").filter(|h| !h.split(':').any(|hash| hash == "sha256")) {
        found.push(Difference::Hash(hashes.to_owned()));
    }
    if let Some(services) = tag("s").filter(|s| !s.split(':').any(|service| service == "*" || service == "email")) {
        found.push(Difference::Service(services.to_owned()));
    }
    found.extend(other_key(tag("p").unwrap_or_default(), public));
    found
}

fn other_key(published: &str, ours: &str) -> Option<Difference> {
    if published.is_empty() {
        return Some(Difference::Revoked);
    }
    if published == ours {
        return None;
    }
    let at = published.chars().zip(ours.chars()).take_while(|(a, b)| a == b).count();
    let from = |text: &str| {
        let rest: String = text.chars().skip(at).take(16).collect();
        if rest.is_empty() { "its end".to_owned() } else { format!("{rest}…") }
    };
    Some(Difference::OtherKey { published: from(published), ours: from(ours), at })
}

#[cfg(test)]
mod tests;
