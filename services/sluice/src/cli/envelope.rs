//! One envelope in plain words: where it stands and why.

use std::io::{self, Write};

use serde_json::{Value, json};
use sluice_mail::UnixMs;
use sluice_proto::control as api;

use super::format::{ago, count, counted, harmless, size, until, utc};

/// Where the envelope stands and why, as one sentence.
pub(super) fn standing(envelope: &api::QueuedEnvelope, now: UnixMs) -> String {
    let reply = &envelope.last_reply;
    let sentence = match envelope.state.as_str() {
        "ready" => with("ready: will be tried as soon as its turn comes", "; last attempt: ", reply),
        "active" => with("being delivered now", "; last attempt: ", reply),
        "waiting" => {
            let due = UnixMs(envelope.due_ms);
            let next = format!("waiting: next try {} ({})", until(due, now), utc(due));
            with(&next, "; last attempt: ", reply)
        }
        "delivered" => with(&ended(envelope, "delivered", " to "), ": ", reply),
        "bounced" => with(&ended(envelope, "bounced", " by "), ": ", reply),
        "expired" => {
            let attempts = counted(envelope.attempts.into(), "attempt");
            with(&format!("{} after {attempts}", ended(envelope, "given up", ", last tried at ")), ": ", reply)
        }
        "cancelled" => with(&ended(envelope, "taken out by an operator", ", last tried at "), ": ", reply),
        other => with(other, ": ", reply),
    };
    harmless(&sentence)
}

/// `delivered at 2026-… UTC to mx.example [192.0.2.1]:25`.
fn ended(envelope: &api::QueuedEnvelope, how: &str, towards: &str) -> String {
    let at = match envelope.ended_ms {
        0 => String::new(),
        at => format!(" at {}", utc(UnixMs(at))),
    };
    with(&format!("{how}{at}"), towards, &envelope.peer)
}

/// `first`, and `link` and `then` unless that is empty.
fn with(first: &str, link: &str, then: &str) -> String {
    if then.is_empty() { first.to_owned() } else { format!("{first}{link}{then}") }
}

/// Everything there is to say about one envelope, in a block.
pub(super) fn write_block(envelope: &api::QueuedEnvelope, now: UnixMs, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", harmless(&envelope.queue_id))?;
    writeln!(out, "  {}", standing(envelope, now))?;
    for (name, value) in facts(envelope, now) {
        writeln!(out, "  {name:<9} {}", harmless(&value))?;
    }
    for recipient in &envelope.recipients {
        writeln!(out, "  {:<9} {}", "recipient", harmless(&recipient_line(recipient, now)))?;
    }
    Ok(())
}

fn facts(envelope: &api::QueuedEnvelope, now: UnixMs) -> Vec<(&'static str, String)> {
    let ended = envelope.ended_ms > 0;
    let known = has_origin(envelope);
    let sender = if envelope.mail_from.is_empty() && known { "<> (the null sender)" } else { &envelope.mail_from };
    let size = if known { size(envelope.size) } else { String::new() };
    let accepted = UnixMs(envelope.accepted_ms);
    let mut facts = vec![
        ("from", sender.to_owned()),
        ("account", with(&format!("{}, lane {}", envelope.account, envelope.lane), ", pool ", &envelope.pool)),
        ("campaign", envelope.campaign.clone()),
        ("domain", envelope.domain.clone()),
        ("size", size),
        ("accepted", format!("{} ({})", utc(accepted), ago(accepted, now))),
        ("attempts", count(envelope.attempts.into())),
    ];
    if !ended && envelope.expires_ms > 0 {
        let expires = UnixMs(envelope.expires_ms);
        facts.push(("given up", format!("{} ({}), unless it is delivered before", utc(expires), until(expires, now))));
    }
    let about = |link: &str, id: &str| if id.is_empty() { String::new() } else { format!("{link} {id}") };
    let warned = match envelope.delay_notices {
        0 => String::new(),
        n => format!("the sender was told of the delay ({})", counted(n.into(), "time")),
    };
    facts.push(("warned", warned));
    facts.push(("report", about("report on", &envelope.report_on)));
    facts.push(("report", about("reported to sender in", &envelope.report)));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// Whether sender and size are known: what older versions kept of mail that has ended lacks both.
fn has_origin(envelope: &api::QueuedEnvelope) -> bool {
    envelope.ended_ms == 0 || envelope.size > 0
}

fn recipient_line(recipient: &api::RecipientState, now: UnixMs) -> String {
    let line = match recipient.state.as_str() {
        "" | "open" => format!("{}: not yet delivered", recipient.address),
        state => return with(&format!("{}: {state}", recipient.address), ": ", &recipient.reply),
    };
    let Some(trouble) = &recipient.trouble else { return line };
    let link = if trouble.is_peers { "said by " } else { "speaking to " };
    let whom = if trouble.mta.is_empty() { String::new() } else { format!("{link}{} ", trouble.mta) };
    format!("{line}: {} ({whom}{})", trouble.reply, ago(UnixMs(trouble.at_ms), now))
}

/// An envelope for programs: names as in the API, `null` for what there is not.
pub(super) fn to_json(envelope: &api::QueuedEnvelope) -> Value {
    let text = |text: &str| if text.is_empty() { Value::Null } else { Value::from(text) };
    let time = |ms: u64| if ms == 0 { Value::Null } else { Value::from(ms) };
    let trouble = |t: &api::Trouble| json!({ "reply": text(&t.reply), "is_peers": t.is_peers, "mta": text(&t.mta), "at_ms": time(t.at_ms) });
    let recipient = |r: &api::RecipientState| {
        json!({
            "address": r.address,
            "state": r.state,
            "reply": text(&r.reply),
            "trouble": r.trouble.as_ref().map(trouble),
            "decided_in": r.decided_in,
        })
    };
    json!({
        "queue_id": envelope.queue_id,
        "state": envelope.state,
        "account": envelope.account,
        "lane": envelope.lane,
        "pool": text(&envelope.pool),
        "campaign": text(&envelope.campaign),
        "mail_from": if has_origin(envelope) { Value::from(&*envelope.mail_from) } else { text(&envelope.mail_from) },
        "domain": envelope.domain,
        "recipients": envelope.recipients.iter().map(recipient).collect::<Vec<_>>(),
        "size": envelope.size,
        "attempts": envelope.attempts,
        "accepted_ms": time(envelope.accepted_ms),
        "due_ms": time(envelope.due_ms),
        "expires_ms": time(envelope.expires_ms),
        "ended_ms": time(envelope.ended_ms),
        "last_reply": text(&envelope.last_reply),
        "peer": text(&envelope.peer),
        "report": text(&envelope.report),
        "report_on": text(&envelope.report_on),
        "delay_notices": envelope.delay_notices,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_464_000_000);

    fn envelope(state: &str, last_reply: &str) -> api::QueuedEnvelope {
        let ended = !matches!(state, "ready" | "active" | "waiting");
        api::QueuedEnvelope {
            queue_id: "01JDCMZ5P3W7Y2M4Q8R6T0A000".into(),
            account: "shop".into(),
            lane: "bulk".into(),
            mail_from: "me@shop.example".into(),
            domain: "one.example".into(),
            state: state.into(),
            accepted_ms: NOW.0 - 3_900_000,
            due_ms: if state == "waiting" { NOW.0 + 252_000 } else { 0 },
            expires_ms: NOW.0 + 86_400_000,
            ended_ms: if ended { NOW.0 } else { 0 },
            size: 4200,
            attempts: 3,
            last_reply: last_reply.into(),
            peer: if ended { "mx.one.example [192.0.2.1]:25".into() } else { String::new() },
            recipients: vec![
                api::RecipientState { address: "a@one.example".into(), state: "open".into(), ..Default::default() },
                api::RecipientState {
                    address: "b@one.example".into(),
                    state: "delivered".into(),
                    reply: "250 2.0.0 Ok".into(),
                    decided_in: 2,
                    ..Default::default()
                },
            ],
            ..api::QueuedEnvelope::default()
        }
    }

    #[test]
    fn says_where_it_stands_and_why() {
        let waiting = "waiting: next try in 4 min 12 s (2026-11-23 20:04:12 UTC)";
        let at = "2026-11-23 20:00:00 UTC";
        for (state, reply, sentence) in [
            ("ready", "", "ready: will be tried as soon as its turn comes".to_owned()),
            ("active", "421 busy", "being delivered now; last attempt: 421 busy".to_owned()),
            ("waiting", "", waiting.to_owned()),
            (
                "waiting",
                "451 4.7.1 greylisted (at rcpt)",
                format!("{waiting}; last attempt: 451 4.7.1 greylisted (at rcpt)"),
            ),
            ("delivered", "250 Ok", format!("delivered at {at} to mx.one.example [192.0.2.1]:25: 250 Ok")),
            ("bounced", "550 no", format!("bounced at {at} by mx.one.example [192.0.2.1]:25: 550 no")),
            (
                "expired",
                "451 later",
                format!("given up at {at}, last tried at mx.one.example [192.0.2.1]:25 after 3 attempts: 451 later"),
            ),
        ] {
            assert_eq!(standing(&envelope(state, reply), NOW), sentence);
        }
        let never = api::QueuedEnvelope { peer: String::new(), ended_ms: 0, ..envelope("cancelled", "") };
        assert_eq!(standing(&never, NOW), "taken out by an operator");
    }

    #[test]
    fn the_block_tells_everything() {
        let mut out = Vec::new();
        write_block(&envelope("waiting", "451 \x1b[31mred"), NOW, &mut out).unwrap();
        let expected = "\
01JDCMZ5P3W7Y2M4Q8R6T0A000
  waiting: next try in 4 min 12 s (2026-11-23 20:04:12 UTC); last attempt: 451 \u{fffd}[31mred
  from      me@shop.example
  account   shop, lane bulk
  domain    one.example
  size      4.1 KiB
  accepted  2026-11-23 18:55:00 UTC (1 h 5 min ago)
  attempts  3
  given up  2026-11-24 20:00:00 UTC (in 1 d), unless it is delivered before
  recipient a@one.example: not yet delivered
  recipient b@one.example: delivered: 250 2.0.0 Ok
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn nothing_is_claimed_of_what_is_not_kept() {
        let mut out = Vec::new();
        let gone = api::QueuedEnvelope { mail_from: String::new(), size: 0, ..envelope("delivered", "250 Ok") };
        write_block(&gone, NOW, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains("  from ") && !text.contains("  size ") && !text.contains("given up"), "{text}");
        for state in ["waiting", "delivered"] {
            let bounce = api::QueuedEnvelope { mail_from: String::new(), ..envelope(state, "") };
            assert!(facts(&bounce, NOW).contains(&("from", "<> (the null sender)".to_owned())));
            assert_eq!((&to_json(&bounce)["mail_from"], &to_json(&gone)["mail_from"]), (&json!(""), &Value::Null));
        }
    }

    #[test]
    fn programs_get_nulls_for_what_is_not_there() {
        let value = to_json(&envelope("waiting", ""));
        assert_eq!((&value["last_reply"], &value["ended_ms"]), (&Value::Null, &Value::Null));
        assert_eq!((&value["due_ms"], &value["state"]), (&json!(NOW.0 + 252_000), &json!("waiting")));
        assert_eq!(value["recipients"][1]["reply"], "250 2.0.0 Ok");
    }

    #[test]
    fn a_recipient_tells_why_it_waits() {
        let trouble = |is_peers: bool, mta: &str| {
            let reply = "450 4.2.1 busy".into();
            Some(api::Trouble { reply, is_peers, mta: mta.into(), at_ms: NOW.0 - 252_000 })
        };
        for (trouble, words) in [
            (None, "a@one.example: not yet delivered"),
            (
                trouble(true, "mx.one.example"),
                "a@one.example: not yet delivered: 450 4.2.1 busy (said by mx.one.example 4 min 12 s ago)",
            ),
            (
                trouble(false, "[192.0.2.1]"),
                "a@one.example: not yet delivered: 450 4.2.1 busy (speaking to [192.0.2.1] 4 min 12 s ago)",
            ),
            (trouble(false, ""), "a@one.example: not yet delivered: 450 4.2.1 busy (4 min 12 s ago)"),
        ] {
            let recipient = api::RecipientState { trouble, ..envelope("waiting", "").recipients[0].clone() };
            assert_eq!(recipient_line(&recipient, NOW), words);
        }
    }

    #[test]
    fn reports_and_what_they_are_on_name_each_other() {
        let said = |envelope: &api::QueuedEnvelope| {
            let mut out = Vec::new();
            write_block(envelope, NOW, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let original = api::QueuedEnvelope { report: "01B".into(), ..envelope("bounced", "550 no") };
        assert!(said(&original).contains("  report    reported to sender in 01B\n"), "{}", said(&original));
        let report = api::QueuedEnvelope { report_on: "01A".into(), delay_notices: 1, ..envelope("ready", "") };
        let text = said(&report);
        assert!(text.contains("  report    report on 01A\n") && text.contains("told of the delay (1 time)"), "{text}");
        assert_eq!((&to_json(&original)["report"], &to_json(&report)["report_on"]), (&json!("01B"), &json!("01A")));
        assert!(!said(&envelope("bounced", "")).contains("report"));
    }
}
