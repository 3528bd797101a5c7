use super::*;
use sluice_mail::{Address, BodyFlags, Host, Lane};
use sluice_queue::RetrySchedule;

const HOUR: Duration = Duration::from_secs(3600);
const NOW: UnixMs = UnixMs(1_000_000_000);

fn envelope(recipients: usize) -> Envelope {
    let recipient = |i| Recipient::new(Address::parse(&format!("r{i}@example.net")).unwrap());
    Envelope {
        queue_id: QueueId::new(NOW, 7, 0),
        generation: 0,
        account: "acme".into(),
        campaign: None,
        tag: None,
        lane: Lane::Bulk,
        mail_from: None,
        recipients: (0..recipients).map(recipient).collect(),
        ret: None,
        envid: None,
        domain: Host::parse("example.net").unwrap(),
        pool: None,
        accepted: NOW,
        expires: NOW.plus(10 * HOUR),
        not_before: NOW,
        flags: BodyFlags::default(),
        size: 10,
        body_crc: 0,
        attempts: 0,
        last_reply: None,
        delay_notices: 0,
        report_on: None,
    }
}

fn ok() -> Result<Reply, Failure> {
    Ok(Reply { code: 250, enhanced: None, text: "queued".into() })
}

fn refused(code: u16) -> Result<Reply, Failure> {
    Err(Failure::new(Stage::Rcpt, Cause::Reply(Reply { code, enhanced: None, text: "no".into() })))
}

fn lost() -> Result<Reply, Failure> {
    Err(Failure::new(Stage::Dot, Cause::Closed))
}

/// `Bounced: 0 delivered, 1 bounced 5.0.0` or `wait 300s: 0 delivered, 1 open`.
fn tell(decision: &Decision) -> String {
    let one = |(i, outcome): (usize, Option<&Outcome>)| match outcome {
        Some(Outcome::Delivered { .. }) => format!("{i} delivered"),
        Some(Outcome::Bounced { status, .. }) => format!("{i} bounced {status}"),
        None => format!("{i} open"),
    };
    let all =
        |outcomes: Vec<Option<&Outcome>>| outcomes.into_iter().enumerate().map(one).collect::<Vec<_>>().join(", ");
    match decision {
        Decision::Done(fate) => {
            format!("{:?}: {}", fate.kind, all(fate.results.iter().map(|r| Some(&r.outcome)).collect()))
        }
        Decision::Divert { eta } => format!("divert {eta:?}"),
        Decision::Wait(parts) => match &parts[..] {
            [Part::Attempt(_), Part::Remaining { envelope, delay }] => {
                let outcomes = envelope.recipients.iter().map(|r| r.outcome.as_ref()).collect();
                format!("wait {}s: {}", delay.as_secs(), all(outcomes))
            }
            other => format!("{other:?}"),
        },
    }
}

fn attempt(mut envelope: Envelope, results: Vec<Result<Reply, Failure>>, wall: UnixMs) -> (Decision, Summary) {
    let summary = note(&mut envelope, results, &AttemptInfo::default(), wall, &Context::default());
    let retry_in = (summary.deferred > 0).then(|| RetrySchedule::default().delay(envelope.attempts, 0.5));
    let conclusion = Conclusion::of_attempt(envelope, &summary, AttemptInfo::default(), wall, retry_in);
    (conclusion.decision(Vec::new()), summary)
}

#[test]
fn every_mix_of_results() {
    for (results, word, want) in [
        (vec![ok()], "delivered", "Delivered: 0 delivered"),
        (vec![refused(450)], "deferred", "wait 300s: 0 open"),
        (vec![refused(550)], "bounced", "Bounced: 0 bounced 5.0.0"),
        (vec![lost()], "deferred", "wait 300s: 0 open"),
        (vec![ok(), refused(550)], "mixed", "Bounced: 0 delivered, 1 bounced 5.0.0"),
        (vec![ok(), refused(450)], "mixed", "wait 300s: 0 delivered, 1 open"),
        (vec![refused(550), ok(), lost()], "mixed", "wait 300s: 0 bounced 5.0.0, 1 delivered, 2 open"),
        (vec![refused(550), refused(450)], "mixed", "wait 300s: 0 bounced 5.0.0, 1 open"),
    ] {
        let (decision, summary) = attempt(envelope(results.len()), results, NOW);
        assert_eq!((tell(&decision).as_str(), summary.word()), (want, word));
    }
}

#[test]
fn a_later_attempt_concerns_only_who_is_open() {
    let (first, _) = attempt(envelope(3), vec![ok(), refused(450), refused(550)], NOW);
    let Decision::Wait(mut parts) = first else { panic!() };
    let Some(Part::Remaining { envelope, .. }) = parts.pop() else { panic!() };
    assert_eq!((envelope.attempts, envelope.generation), (1, 1));
    assert_eq!(envelope.last_reply.as_deref(), Some("450 no (at rcpt)"));
    let (second, _) = attempt(*envelope, vec![ok()], NOW.plus(HOUR));
    assert_eq!(tell(&second), "Bounced: 0 delivered, 1 delivered, 2 bounced 5.0.0");
    let Decision::Done(fate) = second else { panic!() };
    assert_eq!((fate.attempts, fate.at), (2, NOW.plus(HOUR)));
}

#[test]
fn the_wait_grows_and_ends_when_the_time_is_over() {
    for (attempts, elapsed, want) in [
        (0, Duration::ZERO, "wait 300s: 0 open"),
        (1, HOUR, "wait 600s: 0 open"),
        (9, HOUR, "wait 4000s: 0 open"),
        (9, 10 * HOUR - Duration::from_secs(60), "wait 60s: 0 open"),
        (9, 10 * HOUR, "Expired: 0 bounced 5.4.7"),
        (9, 20 * HOUR, "Expired: 0 bounced 5.4.7"),
    ] {
        let envelope = Envelope { attempts, ..envelope(1) };
        let (decision, _) = attempt(envelope, vec![refused(450)], NOW.plus(elapsed));
        assert_eq!(tell(&decision), want, "{attempts} {elapsed:?}");
    }
}

#[test]
fn giving_up_says_what_the_last_attempt_came_to() {
    let tried = Envelope { attempts: 12, last_reply: Some("450 4.2.2 full (at rcpt)".into()), ..envelope(1) };
    for (envelope, want) in [
        (tried, "554 5.4.7 given up after 12 attempts; the last came to: 450 4.2.2 full (at rcpt)"),
        (envelope(1), "554 5.4.7 given up: its time was over before it could be tried"),
    ] {
        let Decision::Done(fate) = Conclusion::expired(envelope, NOW).decision(Vec::new()) else { panic!() };
        let Outcome::Bounced { reply, .. } = &fate.results[0].outcome else { panic!() };
        assert_eq!((fate.kind, reply.to_string().as_str()), (FateKind::Expired, want));
    }
}

#[test]
fn the_note_names_the_host_as_far_as_it_is_known() {
    let at = |mx: Option<&str>, peer: Option<&str>| AttemptInfo {
        mx: mx.map(Into::into),
        peer: peer.map(|peer| peer.parse().unwrap()),
        ..AttemptInfo::default()
    };
    let refused = || vec![Err(Failure::new(Stage::Connect, Cause::Io("Connection refused".into())))];
    for (attempt, words) in [
        (
            at(Some("mx.example.org"), Some("192.0.2.1:25")),
            "mx.example.org [192.0.2.1]:25: Connection refused (at connect)",
        ),
        (at(Some("192.0.2.1"), Some("192.0.2.1:25")), "192.0.2.1:25: Connection refused (at connect)"),
        (at(None, None), "Connection refused (at connect)"),
    ] {
        let mut envelope = envelope(1);
        note(&mut envelope, refused(), &attempt, NOW, &Context::default());
        assert_eq!(envelope.last_reply.as_deref(), Some(words));
    }
}

#[test]
fn a_long_reply_is_kept_short() {
    let text = "ü".repeat(2000);
    let failure = Failure::new(Stage::Rcpt, Cause::Reply(Reply { code: 450, enhanced: None, text }));
    let mut envelope = envelope(1);
    note(&mut envelope, vec![Err(failure)], &AttemptInfo::default(), NOW, &Context::default());
    assert!(envelope.last_reply.unwrap().len() <= NOTE_MAX);
}
