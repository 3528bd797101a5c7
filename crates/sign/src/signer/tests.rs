use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::verify::DomainKey;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};
use sluice_mail::{Domain, UnixMs};

use super::*;
use crate::{Algorithm, dns};

/// When the tests sign: 2020-09-13.
const AT: UnixMs = UnixMs(1_600_000_000_123);

/// A resolver that knows one record, whatever it is asked.
struct One(Txt);

impl ResolverCache<Box<str>, Txt> for One {
    fn get<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        Some(self.0.clone())
    }

    fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: std::time::Instant) {}
}

fn key(algorithm: Algorithm) -> Key {
    Key::generate(Domain::parse("example.org").unwrap(), "s1".parse().unwrap(), algorithm, 2048).unwrap().key
}

fn signed(key: &Key, message: &[u8]) -> Vec<u8> {
    let mut whole = sign(message, [key], AT).unwrap();
    whole.extend_from_slice(message);
    whole
}

fn verifies(key: &Key, message: &[u8]) -> bool {
    let parsed = AuthenticatedMessage::parse(message).unwrap();
    let cache = One(Txt::DomainKey(Arc::new(DomainKey::parse(dns::record(key).as_bytes()).unwrap())));
    let resolver = MessageAuthenticator::new_cloudflare().unwrap();
    let parameters = Parameters::new(&parsed).with_txt_cache(&cache);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let results = runtime.block_on(resolver.verify_dkim(parameters));
    assert_eq!(results.len(), 1, "{}", String::from_utf8_lossy(message));
    *results[0].result() == DkimResult::Pass
}

const MESSAGE: &str = "From: Shop <shop@example.org>\r\nTo: a@example.net,\r\n\tb@example.net\r\nSubject: Hello \r\n\
    List-Unsubscribe: <https://example.org/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\
    Date: Mon, 23 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nX-Other: 1\r\n\r\nHello,\r\n\r\nworld. \r\n\r\n";

#[test]
fn what_is_signed_verifies_and_what_is_changed_does_not() {
    for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
        let key = key(algorithm);
        let whole = String::from_utf8(signed(&key, MESSAGE.as_bytes())).unwrap();
        assert!(verifies(&key, whole.as_bytes()), "{whole}");
        assert!(verifies(&key, format!("Received: from a by b;\r\n date\r\n{whole}").as_bytes()));
        assert!(verifies(&key, whole.replace("X-Other: 1", "X-Other: 2").as_bytes()), "not signed");
        assert!(verifies(&key, whole.replace("\r\n\tb@", " b@").as_bytes()), "relaxed");
        for (from, to) in [
            ("Hello,", "Hallo,"),
            ("Subject: Hello", "Subject: Hallo"),
            ("<shop@example.org>", "<shop@example.com>"),
            ("https://example.org/u", "https://example.com/u"),
            ("=One-Click", "=Two-Click"),
            ("Message-ID: <1@", "Message-ID: <2@"),
        ] {
            assert!(!verifies(&key, whole.replacen(from, to, 1).as_bytes()), "{from}");
        }
        for added in
            ["From: a@example.com", "Subject: Other", "To: x@example.net", "Cc: x@example.net", "Reply-To: x@y.example"]
        {
            assert!(!verifies(&key, format!("{added}\r\n{whole}").as_bytes()), "a second or new {added}");
        }
    }
}

#[test]
fn odd_messages_verify_too() {
    let key = key(Algorithm::Ed25519);
    let large = format!("From: a@example.org\r\n\r\n{}", "0123456789 abc\r\n".repeat(100_000));
    for message in [
        "From: a@example.org\r\n\r\n",
        "From: a@example.org\r\n",
        "From: a@example.org\r\n\r\nno end of line",
        "From: a@example.org\r\n\r\n\r\n\r\n\r\n",
        "From: a@example.org\r\nSubject:\r\n\r\nempty field\r\n",
        "From: =?utf-8?q?=C3=BC?= <a@example.org>\r\nSubject: gr\u{fc}\u{df}e\r\n\r\n8 bit: \u{fc}\r\n",
        "FROM:a@example.org\r\nReferences: <1@x>\r\n <2@x>\r\n\t<3@x>\r\n\r\n\ttab  and   blanks \t\r\n",
        &large,
    ] {
        let whole = signed(&key, message.as_bytes());
        assert!(verifies(&key, &whole), "{}", String::from_utf8_lossy(&whole[..whole.len().min(800)]));
    }
}

#[test]
fn fields_are_folded_and_bounded_and_tell_no_length() {
    for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
        let key = key(algorithm);
        let field = String::from_utf8(sign(MESSAGE.as_bytes(), [&key], AT).unwrap()).unwrap();
        assert!(field.starts_with("DKIM-Signature: v=1; a=") && field.ends_with("\r\n"));
        assert!(field.len() <= MAX_FIELD && field.lines().all(|line| line.len() <= 78), "{field}");
        assert!(field.contains("c=relaxed/relaxed") && field.contains("d=example.org") && !field.contains(" l="));
        let names = field.split("h=").nth(1).unwrap().split(';').next().unwrap().to_ascii_lowercase();
        let count = |name: &str| names.split(':').filter(|n| n.trim() == name).count();
        assert_eq!(
            (count("from"), count("list-unsubscribe-post"), count("cc"), count("x-other")),
            (2, 1, 1, 0),
            "{names}"
        );
    }
}

/// The `bh=` of a message with this body.
fn body_hash(key: &Key, body: &str) -> String {
    let field = sign(format!("From: a@example.org\r\n\r\n{body}").as_bytes(), [key], AT).unwrap();
    let text: String = String::from_utf8(field).unwrap().split_whitespace().collect();
    text.split("bh=").nth(1).unwrap().split(';').next().unwrap().to_owned()
}

#[test]
fn bodies_are_hashed_by_the_letter_of_the_rfc() {
    let key = key(Algorithm::Ed25519);
    // Each line of a pair comes to the same by RFC 6376 3.4.4.
    for (body, same) in [
        ("a\r\n \r\n\t\r\n", "a\r\n"),
        (" \r\n\t \r\n", ""),
        ("a \r\n\r\n \r\nb\r\n  \r\n", "a\r\n\r\n\r\nb\r\n"),
        ("\r\n", ""),
        ("a", "a\r\n"),
        ("a \t", "a\r\n"),
        ("  a\t\tb  c\t\r\n", " a b c\r\n"),
    ] {
        assert_eq!(body_hash(&key, body), body_hash(&key, same), "{body:?}");
    }
    for (body, other) in [("a\r\n\r\nb\r\n", "a\r\nb\r\n"), (" a\r\n", "a\r\n"), ("a\u{c}b\r\n", "ab\r\n"), ("a", "")] {
        assert_ne!(body_hash(&key, body), body_hash(&key, other), "{body:?}");
    }
    // RFC 6376 3.4.4 tells the hash of nothing.
    assert_eq!(body_hash(&key, ""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
}

#[test]
fn repeated_fields_leave_the_signature_within_its_bound() {
    let key = key(Algorithm::Ed25519);
    for name in ["References", "Content-Transfer-Encoding", "List-Unsubscribe"] {
        let fields = format!("{name}: <x>\r\n").repeat(1_500);
        let field = sign(format!("From: a@example.org\r\n{fields}\r\nx\r\n").as_bytes(), [&key], AT).unwrap();
        assert!(field.len() <= MAX_FIELD, "{name}: {}", field.len());
    }
}

#[test]
fn the_longest_signature_keeps_its_bound() {
    let labels = ["a".repeat(63), "b".repeat(63), "c".repeat(46)].join(".");
    let domain = Domain::parse(&labels).unwrap();
    let new = Key::generate(domain, "s".repeat(63).parse().unwrap(), Algorithm::Rsa, 2048).unwrap();
    let each: String = crate::fields::SIGNED.iter().map(|name| format!("{name}: x\r\n")).collect();
    let message = each + &"Content-Transfer-Encoding: x\r\n".repeat(100) + "\r\n";
    let field = sign(message.as_bytes(), [&new.key], UnixMs(253_402_300_799_000)).unwrap();
    // A key of 4096 bits makes a signature longer by 256 octets, in base 64 and folded.
    assert!((1300..=MAX_FIELD - 342 - 18).contains(&field.len()), "{}", field.len());
}

#[test]
fn repeated_fields_are_covered_from_the_last_one_on() {
    let key = key(Algorithm::Ed25519);
    let fields: String = (0..30).map(|n| format!("List-Post: {n}.\r\n")).collect();
    let whole =
        String::from_utf8(signed(&key, format!("From: a@example.org\r\n{fields}\r\nx\r\n").as_bytes())).unwrap();
    assert!(verifies(&key, whole.as_bytes()), "{whole}");
    assert!(!verifies(&key, whole.replace(" 29.", " x.").as_bytes()));
    assert!(!verifies(&key, whole.replace(" 13.", " x.").as_bytes()));
    assert!(verifies(&key, whole.replace(" 12.", " x.").as_bytes()), "beyond those that are covered");
    assert!(whole.contains("t=1600000000;"), "{whole}");
}

#[test]
fn no_fold_stands_behind_the_signature_wherever_its_lines_end() {
    for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
        let key = key(algorithm);
        let optional =
            ["Message-ID", "Date", "Cc", "MIME-Version", "Content-Type", "References", "Reply-To", "List-Id"];
        for chosen in 0..1 << optional.len() {
            let named = optional.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1);
            let fields: String = named.map(|(_, name)| format!("{name}: x\r\n")).collect();
            let message = format!("From: a@example.org\r\n{fields}\r\nx\r\n");
            let field = String::from_utf8(sign(message.as_bytes(), [&key], AT).unwrap()).unwrap();
            let last = field.trim_end_matches("\r\n").trim_end_matches(';');
            assert!(last.ends_with(|c: char| c.is_ascii_alphanumeric() || "+/=".contains(c)), "{field}");
            assert!(field.lines().all(|line| line.len() <= 90), "{field}");
            assert!(verifies(&key, (field.clone() + &message).as_bytes()), "{field}");
        }
    }
}
