//! Messages of every form, each by RSA, by Ed25519 and by both.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};

use super::table::Row;
use super::verifier;
use super::world::{ALICE, BOTH, ED, IDN, PLAIN, RSA, World};
use super::{Extent, verifier::Signature};
use crate::sink::Transaction;
use crate::smtp::Client;

/// The field that tells messages apart. It is not covered.
const FIELD: &str = "X-Case";

/// What is sent, but for From and [`FIELD`].
struct Letter {
    name: &'static str,
    header: Vec<u8>,
    /// With the empty line before it.
    body: Vec<u8>,
}

fn letter(name: &'static str, header: impl Into<Vec<u8>>, body: impl Into<Vec<u8>>) -> Letter {
    Letter { name, header: header.into(), body: body.into() }
}

const PLAIN_HEADER: &str = "To: <r@plain.test>\r\nSubject: hello\r\n";
const ONE_CLICK: &str = "one click to unsubscribe";

fn headers() -> Vec<Letter> {
    let folded = "To: Somebody\r\n <r@plain.test>,\r\n\t\"Another\"   <s@plain.test>\r\nSubject: \r\n one\r\n\t two  three \r\n\
        References: <1@x>\r\n\t<2@x>\r\n  <3@x>\r\n";
    let repeated = "Received: from a by b; date\r\nReceived: from c by d; date\r\nReferences: <1@x>\r\nComments: a\r\n\
        References: <2@x>\r\nComments: b\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\nReferences: <3@x>\r\n";
    let unsubscribe = "List-Id: News <news.example>\r\nList-Unsubscribe: <https://example.test/u>,\r\n <mailto:u@example.test>\r\n\
        List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nFeedback-ID: 1:2:3:x\r\n";
    let many = format!("List-Post: <mailto:l@example.test>\r\n{}", "X-Long: more of it\r\n".repeat(900));
    let latin1 = [&b"Subject: gr\xfc\xdfe\r\nComments: \xff\xfe\r\n"[..], &PLAIN_HEADER.as_bytes()[..20]].concat();
    let long_line = format!("To: r@plain.test\r\nSubject: {}\r\n", "x".repeat(980));
    let body = "\r\nHello.\r\n";
    vec![
        letter("folded fields", folded, body),
        letter("fields that are there twice and more", repeated, body),
        letter("the same field two hundred times", "References: <x@y>\r\n".repeat(200), body),
        letter("empty fields", "To: r@plain.test\r\nSubject:\r\nReply-To: \r\nComments: \r\n \t\r\n", body),
        letter("fields in odd spelling", "tO:r@plain.test\r\nSUBJECT:\thello\tyou \t\r\nmime-version:1.0\r\n", body),
        letter(ONE_CLICK, unsubscribe, body),
        letter("nine hundred fields", many, body),
        letter("a field of 998 octets", long_line, body),
        letter("8 bits in the header", latin1, body),
        letter(
            "UTF-8 in the header (SMTPUTF8)",
            "To: Jos\u{e9} <r@plain.test>\r\nSubject: Gr\u{fc}\u{df}e \u{1f4ee}\r\n",
            body,
        ),
    ]
}

fn bodies(extent: Extent) -> Vec<Letter> {
    let every: Vec<u8> = (0..=255u8).filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    let line = "The quick brown fox jumps over the lazy dog, again and again and again.\r\n";
    let wide = format!("\r\n{}\r\n", "0123456789".repeat(99)).repeat(50);
    let mime = "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"b\"\r\n";
    let parts =
        "\r\n--b\r\nContent-Type: text/plain\r\n\r\nHi.\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Hi.\r\n--b--\r\n";
    let mut all = vec![
        letter("ordinary", PLAIN_HEADER, "\r\nHello.\r\n\r\nBye.\r\n"),
        letter("an empty body", PLAIN_HEADER, "\r\n"),
        letter("a header and nothing else", PLAIN_HEADER, ""),
        letter("a body of empty lines", PLAIN_HEADER, "\r\n\r\n\r\n\r\n"),
        letter("a body of lines of blanks", PLAIN_HEADER, "\r\n \r\n\t\r\n  \t\r\n"),
        letter("lines of blanks at the end", PLAIN_HEADER, "\r\nHello.\r\n\r\n  \r\n\t\r\n \r\n"),
        letter("blanks at the ends of lines", PLAIN_HEADER, "\r\n  Hello, \t\r\n\r\n \r\n\tworld\t  !  \r\n"),
        letter("lines of dots", PLAIN_HEADER, "\r\n.\r\n..\r\n.a\r\n\r\n.\r\n"),
        letter("8 bits in the body", PLAIN_HEADER, [b"\r\n", &every[..], b"\r\n"].concat()),
        letter("control characters", PLAIN_HEADER, "\r\na\u{b}b\u{c}c \u{c} d\u{0}e\u{7f}\r\n \u{c}\r\n"),
        letter("lines of 990 octets", PLAIN_HEADER, wide),
        letter("parts", mime, parts),
    ];
    if extent == Extent::Whole {
        let large = format!("\r\n{}", line.repeat((25 << 20) / line.len()));
        all.push(letter("a body of 25 MiB", PLAIN_HEADER, large));
    }
    all
}

/// The signatures that there must be for a From of this domain.
fn expected(domain: &str) -> String {
    let of = |algorithm: &str| format!("{algorithm} {domain} pass");
    match domain {
        RSA => of("rsa-sha256"),
        ED => of("ed25519-sha256"),
        _ => format!("{}; {}", of("rsa-sha256"), of("ed25519-sha256")),
    }
}

/// Sends all, and has them verified.
pub(super) fn prove(world: &mut World) -> Result<Vec<Row>> {
    let mut letters = bodies(world.extent);
    letters.extend(headers());
    let mut sent = Vec::new();
    let mut client = world.client(ALICE)?;
    for letter in &letters {
        for domain in [RSA, ED, BOTH] {
            let key = format!("{}@{domain}", sent.len());
            submit(&mut client, letter, &key, &format!("alice@{domain}"))?;
            sent.push((key, letter.name, domain));
        }
    }
    let international = letter("a From domain in UTF-8 (SMTPUTF8)", "Subject: Gr\u{fc}\u{df}e\r\n", "\r\nHello.\r\n");
    let key = format!("{}@idn", sent.len());
    submit(&mut client, &international, &key, "jos\u{e9}@b\u{fc}cher.test")?;
    sent.push((key, international.name, IDN));
    let below = letter("a From domain below that of the key", PLAIN_HEADER, "\r\nHello.\r\n");
    let key = format!("{}@below", sent.len());
    submit(&mut client, &below, &key, &format!("alice@news.{BOTH}"))?;
    sent.push((key, below.name, BOTH));
    let taken = world.sink(PLAIN).wait_for(sent.len())?;
    let by_key: HashMap<String, Transaction> =
        taken.into_iter().map(|transaction| (transaction.header(FIELD).unwrap_or_default(), transaction)).collect();
    let mut messages = Vec::new();
    for (key, name, _) in &sent {
        let transaction = by_key.get(key).with_context(|| format!("{name} did not arrive"))?;
        messages.push(transaction.content.as_slice());
    }
    let found = verifier::verify(world.dns.resolver(), &messages)?;
    let rows = sent.iter().zip(&found).map(|((_, name, domain), signatures)| {
        let got = covered(name, signatures).map(|()| verifier::text(signatures));
        Row::new(
            if *domain == RSA || *domain == ED || *domain == BOTH { "Forms of messages" } else { "Domains" },
            *name,
            expected(domain),
            got,
        )
    });
    Ok(rows.collect())
}

fn submit(client: &mut Client, letter: &Letter, key: &str, from: &str) -> Result<()> {
    let start = format!("From: Alice <{from}>\r\n{FIELD}: {key}\r\n");
    let content = [start.as_bytes(), &letter.header, &letter.body].concat();
    // Header fields in UTF-8 need the parameter even where all addresses are ASCII.
    let parameter = if letter.name.contains("SMTPUTF8") { " SMTPUTF8" } else { "" };
    client.command(&format!("MAIL FROM:<{from}>{parameter}"))?.expect("250")?;
    client.command("RCPT TO:<r@plain.test>")?.expect("250")?;
    client.command("DATA")?.expect("354")?;
    client.send(&crate::smtp::dot_stuff(&content))?;
    client.send(b".\r\n")?;
    client.reply()?.expect("250").with_context(|| letter.name)?;
    Ok(())
}

/// RFC 8058 4: a signature must cover both fields of one-click unsubscribing.
fn covered(name: &str, signatures: &[Signature]) -> Result<()> {
    for signature in signatures.iter().filter(|_| name == ONE_CLICK) {
        for field in ["list-unsubscribe", "list-unsubscribe-post"] {
            ensure!(signature.covered.iter().any(|name| name == field), "{field} is not covered: {signature:?}");
        }
    }
    Ok(())
}
