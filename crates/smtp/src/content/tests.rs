//! What the receiver makes of content, in every chunking.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

/// Pushes `wire` in pieces of `chunk`; the result, and what was left when it ended.
fn receive(wire: &[u8], limit: u64, chunk: usize) -> Option<(Result<Content, Defect>, Vec<u8>)> {
    let mut receiver = Receiver::new(limit, None);
    let mut at = 0;
    while at < wire.len() {
        let end = (at + chunk).min(wire.len());
        let mut input = BytesMut::from(&wire[at..end]);
        match receiver.push(&mut input) {
            Progress::More => assert!(input.is_empty()),
            Progress::Ended => {
                let left = [&input[..], &wire[end..]].concat();
                return Some((receiver.finish(), left));
            }
            Progress::Endless => panic!("endless"),
        }
        at = end;
    }
    None
}

fn content(wire: &str) -> Content {
    let (result, left) = receive(wire.as_bytes(), 1 << 30, usize::MAX / 2).expect("an end");
    assert_eq!(left, b"");
    result.unwrap()
}

/// As a client sends it.
fn stuff(body: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for line in body.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

#[test]
fn the_header_ends_at_the_first_blank_line() {
    for (wire, header_len) in [
        (".\r\n", 0),
        ("A: b\r\n.\r\n", 6),
        ("A: b\r\n\r\n.\r\n", 8),
        ("A: b\r\n\r\nbody\r\n\r\n.\r\n", 8),
        ("\r\nbody\r\n.\r\n", 2),
        ("..\r\n\r\n.\r\n", 5),
    ] {
        assert_eq!(content(wire).header_len, header_len, "{wire:?}");
    }
}

#[test]
fn octets_above_127_are_told_apart_by_place() {
    for (wire, header, body) in [
        ("A: b\r\n\r\nc\r\n.\r\n", false, false),
        ("A: ü\r\n\r\nc\r\n.\r\n", true, false),
        ("A: b\r\n\r\nü\r\n.\r\n", false, true),
        ("A: ü\r\n\r\nü\r\n.\r\n", true, true),
        ("ü\r\n.\r\n", true, false),
    ] {
        for chunk in 1..wire.len() {
            let content = receive(wire.as_bytes(), 100, chunk).unwrap().0.unwrap();
            assert_eq!((content.header_8bit, content.body_8bit), (header, body), "{wire:?} by {chunk}");
        }
    }
}

#[test]
fn the_first_line_over_998_octets_is_told() {
    let (fits, long) = ("x".repeat(998), "x".repeat(999));
    for (wire, expect) in [
        (format!("{fits}\r\n.{fits}\r\n..{}\r\n.\r\n", &fits[1..]), None),
        (format!("a\r\n{long}\r\n{long}\r\n.\r\n"), Some(2)),
        (format!("..{fits}\r\n.\r\n"), Some(1)),
    ] {
        for chunk in [1, 7, 997, 998, 999, 1_000, 1_001, 10_000] {
            let content = receive(wire.as_bytes(), 10_000, chunk).unwrap().0.unwrap();
            assert_eq!(content.long_line, expect, "by {chunk}");
        }
    }
}

#[test]
fn a_message_that_comes_at_once_is_kept_in_a_buffer_of_its_size() {
    let wire = stuff(&b"0123456789\r\n".repeat(300));
    let mut receiver = Receiver::new(1 << 20, None);
    assert_eq!(receiver.push(&mut BytesMut::from(&wire[..])), Progress::Ended);
    let body = receiver.finish().unwrap().body.try_into_mut().unwrap();
    assert!(body.capacity() <= wire.len(), "{} for {}", body.capacity(), wire.len());
}

#[test]
fn refused_content_holds_nothing() {
    let mut receiver = Receiver::new(1 << 20, Some(1 << 20));
    receiver.push(&mut BytesMut::from(&[b'x'; 1000][..]));
    assert_eq!(receiver.buffered(), 1000);
    receiver.refuse();
    receiver.push(&mut BytesMut::from(&[b'x'; 1000][..]));
    assert_eq!(receiver.buffered(), 0);
    assert_eq!(receiver.push(&mut BytesMut::from(&b"\r\n.\r\nNOOP"[..])), Progress::Ended);
    assert_eq!(receiver.finish(), Err(Defect::Refused));
}

/// Lines of few letters, so that dots and blank lines are frequent.
fn body() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec("[.a\u{fc}]{0,4}", 0..20).prop_map(|lines| {
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        text.into_bytes()
    })
}

proptest! {
    #[test]
    fn what_was_stuffed_comes_back(body in body(), chunk in 1..50_usize) {
        let mut wire = stuff(&body);
        wire.extend_from_slice(b"NOOP\r\n");
        let (result, left) = receive(&wire, 1 << 20, chunk).expect("an end");
        let content = result.unwrap();
        prop_assert_eq!(&content.body[..], &body[..]);
        prop_assert_eq!(left, b"NOOP\r\n");
        let header_len = body.windows(4).position(|w| w == b"\r\n\r\n").map_or(body.len(), |i| i + 4);
        prop_assert_eq!(content.header_len, if body.starts_with(b"\r\n") { 2 } else { header_len });
        prop_assert_eq!(content.header_8bit, !body[..content.header_len].is_ascii());
        prop_assert_eq!(content.body_8bit, !body[content.header_len..].is_ascii());
    }

    #[test]
    fn any_octets_end_the_same_in_any_chunking(text in "[.\r\n\r\nax]{0,40}", limit in 0..30_u64, chunk in 1..10_usize) {
        let wire = [text.as_bytes(), b"\r\n.\r\n"].concat();
        let whole = receive(&wire, limit, wire.len());
        prop_assert_eq!(&whole, &receive(&wire, limit, chunk));
        let (result, left) = whole.expect("an end");
        let end = wire.len() - left.len();
        prop_assert!(wire[..end] == b".\r\n"[..] || wire[..end].ends_with(b"\r\n.\r\n"));
        prop_assert!(wire[..end - 1].windows(5).all(|w| w != b"\r\n.\r\n"), "an earlier end was passed");
        let taken = &wire[..end];
        let bare = taken.iter().enumerate().any(|(i, b)| match b {
            b'\r' => taken.get(i + 1) != Some(&b'\n'),
            b'\n' => i == 0 || taken[i - 1] != b'\r',
            _ => false,
        });
        prop_assert!(!bare || result.is_err());
        prop_assert!(bare || result.as_ref().is_ok_and(|c| c.body.len() as u64 <= limit) || result == Err(Defect::TooLarge));
    }
}
