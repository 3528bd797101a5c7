//! aiosmtpd, as it is told.

use serde_json::{Value, json};

use super::{deferred, expired, returned};
use crate::returns::case::{Case, Expect, Letter, Peer};

fn peer(name: &'static str, behaviour: Value, expect: Expect) -> Case {
    Case::new("aiosmtpd", name, Peer::Aiosmtpd(behaviour, String::new()), expect)
}

fn rule(name: &'static str, rule: Value, expect: Expect) -> Case {
    peer(name, json!({ "rules": [rule] }), expect)
}

pub(super) fn cases() -> Vec<Case> {
    [replies(), losses(), abilities(), recipients()].into_iter().flatten().collect()
}

fn replies() -> Vec<Case> {
    let many = "550-5.7.1 We do not like\r\n550-5.7.1 what you send,\r\n550 5.7.1 so keep it";
    let odd = "550-\r\n550-5.1.1\r\n550 nobody";
    let latin = "550 5.1.1 Empf\u{e4}nger unbekannt";
    let mut cases = vec![
        rule(
            "listed",
            json!({ "at": "connect", "reply": "554 5.7.1 you are on a list", "then": "close" }),
            returned("5.7.1", &["554", "on a list"]),
        ),
        rule(
            "sender-refused",
            json!({ "at": "mail", "reply": "553 5.1.8 who are you" }),
            returned("5.1.8", &["553", "who are you"]),
        ),
        rule(
            "many-lines",
            json!({ "at": "rcpt", "reply": many }),
            returned("5.7.1", &["We do not like", "so keep it"]),
        ),
        rule("odd-lines", json!({ "at": "rcpt", "reply": odd }), returned("5.1.1", &["550", "nobody"])),
        rule("not-ascii", json!({ "at": "rcpt", "reply": latin }), returned("5.1.1", &["550 5.1.1 Empf"])),
        rule("no-enhanced-code", json!({ "at": "rcpt", "reply": "550 go away" }), returned("5.0.0", &["550 go away"])),
        rule("code-alone", json!({ "at": "rcpt", "reply": "550" }), returned("5.0.0", &["550"])),
        rule("code-contradicts", json!({ "at": "rcpt", "reply": "450 5.1.1 later" }), expired(&["450 5.1.1 later"])),
        rule(
            "full-mailbox",
            json!({ "at": "rcpt", "reply": "552 5.2.2 mailbox full" }),
            returned("5.2.2", &["mailbox full"]),
        ),
        rule("spam", json!({ "at": "dot", "reply": "554 5.7.1 this is spam" }), returned("5.7.1", &["this is spam"])),
        rule("no-reply-at-all", json!({ "at": "rcpt", "reply": "what?" }), expired(&["what"])),
        rule("ehlo-without-extensions", json!({ "at": "ehlo", "reply": "250 hello" }), Expect::Delivered),
        rule("helo-only", json!({ "at": "ehlo", "reply": "502 5.5.1 no" }), Expect::Delivered),
        rule(
            "grey-listed",
            json!({ "at": "rcpt", "reply": "451 4.7.1 come back later" }),
            deferred(&["451 4.7.1 come back later"]),
        ),
        rule(
            "never-ending-4xx",
            json!({ "at": "rcpt", "reply": "451 4.7.1 always later" }),
            expired(&["451 4.7.1 always later"]),
        ),
        peer("junk-http", json!({ "junk": "HTTP/1.1 400 Bad Request\r\n\r\n<html>" }), expired(&["HTTP/1.1"])),
        peer("junk-ssh", json!({ "junk": "SSH-2.0-OpenSSH_9.2p1\r\n" }), expired(&["SSH-2.0"])),
    ];
    let busy = [
        ("busy-at-ehlo", "ehlo"),
        ("busy-at-mail", "mail"),
        ("busy-at-rcpt", "rcpt"),
        ("busy-at-data", "data"),
        ("busy-at-dot", "dot"),
    ];
    cases.extend(busy.map(|(name, at)| {
        let reply = json!({ "at": at, "reply": "421 4.3.2 going down", "then": "close" });
        rule(name, reply, deferred(&["421 4.3.2 going down"]))
    }));
    cases
}

fn losses() -> Vec<Case> {
    let large = Letter::Large(300_000);
    vec![
        rule("dropped-in-the-content", json!({ "at": "body", "then": "close" }), deferred(&["closed"])).letter(large),
        rule("reset-by-the-peer", json!({ "at": "body", "then": "reset" }), deferred(&["closed"])).letter(large),
        rule("no-answer-to-the-dot", json!({ "at": "dot", "then": "close" }), deferred(&["closed"])),
        rule("reset-at-the-dot", json!({ "at": "dot", "then": "reset" }), deferred(&["closed"])),
        rule("silent-in-the-content", json!({ "at": "body", "delay": 30, "then": "close" }), deferred(&["time"]))
            .letter(Letter::Large(14_000_000)),
        rule("silent-at-the-dot", json!({ "at": "dot", "delay": 30, "then": "close" }), expired(&["time"])),
        rule("silent-greeting", json!({ "at": "connect", "delay": 30, "then": "close" }), expired(&["time"])),
        rule("silent-at-rcpt", json!({ "at": "rcpt", "delay": 30, "then": "close" }), expired(&["time"])),
        rule("reset-at-connect", json!({ "at": "connect", "then": "reset" }), expired(&["connection"])),
        rule("slow-everywhere", json!({ "at": "mail", "delay": 1 }), Expect::Delivered),
        rule("slow-greeting", json!({ "at": "connect", "delay": 1 }), Expect::Delivered),
        rule("slow-rcpt", json!({ "at": "rcpt", "delay": 1 }), Expect::Delivered),
        rule("slow-dot", json!({ "at": "dot", "delay": 2 }), Expect::Delivered),
    ]
}

fn abilities() -> Vec<Case> {
    let utf8 = |case: Case| case.letter(Letter::Utf8);
    vec![
        peer("plain", json!({}), Expect::Delivered),
        peer("pipelining", json!({ "offers": ["PIPELINING"] }), Expect::Delivered),
        peer("large", json!({ "offers": ["PIPELINING"] }), Expect::Delivered).letter(Letter::Large(3_000_000)),
        peer("lacks-8bitmime", json!({ "lacks": ["8BITMIME"] }), Expect::Delivered).letter(Letter::EightBit),
        utf8(peer("smtputf8", json!({}), Expect::Delivered)).to(&[("jos\u{e9}", Expect::Delivered)], 0),
        utf8(peer("no-smtputf8", json!({ "lacks": ["SMTPUTF8"] }), Expect::Delivered))
            .to(&[("jos\u{e9}", returned("5.6.7", &["SMTPUTF8"]))], 1),
        peer("too-small", json!({ "lacks": ["SIZE"], "offers": ["SIZE 1000"] }), returned("5.3.4", &["1000"]))
            .letter(Letter::Large(5_000)),
    ]
}

fn recipients() -> Vec<Case> {
    let gone = json!({ "at": "rcpt", "match": "<gone", "reply": "550 5.1.1 no such user", "stays": true });
    let later = json!({ "at": "rcpt", "match": "<later@", "reply": "450 4.2.1 not now" });
    let never = json!({ "at": "rcpt", "match": "<never@", "reply": "450 4.2.0 never", "stays": true });
    let rules = |rules: &[&Value]| json!({ "rules": rules });
    let no = || returned("5.1.1", &["550 5.1.1 no such user"]);
    vec![
        peer("mixed-recipients", rules(&[&gone, &later, &never]), Expect::Delivered).to(
            &[
                ("later", deferred(&["450 4.2.1 not now"])),
                ("never", expired(&["450 4.2.0 never"])),
                ("gone", no()),
                ("bob", Expect::Delivered),
            ],
            2,
        ),
        peer("one-of-two-refused", rules(&[&gone]), no()).to(&[("gone", no()), ("bob", Expect::Delivered)], 1),
        peer("all-refused", rules(&[&gone]), no()).to(&[("gone", no()), ("gone2", no()), ("gone3", no())], 1),
        peer(
            "first-only",
            json!({ "rules": [{ "at": "rcpt", "match": "<second@", "reply": "452 4.5.3 too many" }] }),
            no(),
        )
        .to(&[("second", deferred(&["452 4.5.3 too many"])), ("first", Expect::Delivered)], 0),
    ]
}
