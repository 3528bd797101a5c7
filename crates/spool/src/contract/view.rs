//! Looking: what operators see, and their orders.

use std::time::Duration;

use super::settle::{DELAY, remaining};
use super::*;
use crate::{Directive, DomainCount};

pub(crate) async fn totals_follow_an_envelope<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    assert_eq!(counts(&engine), (0, 0, 0));
    let before = engine.totals().bytes;
    keep(&engine, message(1, &["example.org"], octets(50_000, 1))).await;
    assert_eq!(counts(&engine), (1, 0, 0));
    assert!(engine.totals().bytes >= before + 50_000);
    let work = take(&engine).await;
    assert_eq!(counts(&engine), (0, 1, 0));
    settle(&engine, work.id, remaining(&work.envelope)).await;
    assert_eq!(counts(&engine), (0, 0, 1));
    advance(rig, &engine, DELAY);
    let work = take(&engine).await;
    assert_eq!(counts(&engine), (0, 1, 0));
    settle(&engine, work.id, done(&work.envelope)).await;
    assert_eq!(counts(&engine), (0, 0, 0));
}

/// Message `number`, accepted that many seconds after the start.
fn mail_of_second(number: u64, domain: &str) -> NewMessage {
    let mut message = mail(number, domain);
    for envelope in &mut message.envelopes {
        envelope.accepted = START.plus(Duration::from_secs(number));
        envelope.queue_id = QueueId::new(envelope.accepted, number, 0);
    }
    message
}

pub(crate) async fn domains_are_counted_largest_first<R: Rig>(rig: &R) {
    let engine = within(rig.open(ROOMY)).await;
    own(&engine, Window { max_items_per_domain: 1, ..WIDE }).await;
    for (number, domain) in
        (1..).zip(["thick.example", "mid.example", "thick.example", "thick.example", "mid.example", "thick.example"])
    {
        keep(&engine, mail_of_second(number, domain)).await;
    }
    for number in [9, 8] {
        let mut later = mail_of_second(number, "late.example");
        later.envelopes[0].not_before = START.plus(Duration::from_secs(number * 100));
        keep(&engine, later).await;
    }
    keep(&engine, mail_of_second(10, "late.example")).await;
    for work in take_many(&engine, 3).await {
        if work.envelope.domain == host("mid.example") {
            settle(&engine, work.id, remaining(&work.envelope)).await;
            let next = take(&engine).await;
            settle(&engine, next.id, done(&next.envelope)).await;
        }
    }
    let second = |number: u64| Some(START.plus(Duration::from_secs(number)));
    let (thick, late, mid) = (host("thick.example"), host("late.example"), host("mid.example"));
    let thick = DomainCount { domain: thick, ready: 3, active: 1, waiting: 0, next_due: None, oldest: second(1) };
    let late = DomainCount { domain: late, ready: 0, active: 1, waiting: 2, next_due: second(800), oldest: second(8) };
    let mid = DomainCount { domain: mid, ready: 0, active: 0, waiting: 1, next_due: second(300), oldest: second(2) };
    assert_eq!(engine.count(&Selector::default(), 100), [thick.clone(), late.clone(), mid.clone()]);
    assert_eq!(engine.count(&Selector::default(), 2), [thick, late]);
    let only = Selector { domain: Some(host("mid.example")), ..Selector::default() };
    assert_eq!(engine.count(&only, 100), [mid]);
    let none = Selector { domain: Some(host("other.example")), ..Selector::default() };
    assert_eq!(engine.count(&none, 100), []);
}

pub(crate) async fn a_list_is_read_in_pages<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    for number in [5, 3, 1, 4, 2] {
        keep(&engine, message(number, &["a.example", "b.example"], b"\r\n".to_vec())).await;
    }
    let expected: Vec<_> = (1..=5).flat_map(|number| [id(number), id(number).envelope(1)]).collect();
    let (mut seen, mut after) = (Vec::new(), None);
    for expected in [3, 3, 3, 1, 0] {
        let page = within(engine.list(&Selector::default(), after, 3)).await.expect("it can be read");
        assert_eq!(page.len(), expected);
        seen.extend(page.iter().map(|entry| entry.envelope.queue_id));
        after = seen.last().copied();
    }
    assert_eq!(seen, expected);
    let of_b = Selector { domain: Some(host("b.example")), ..Selector::default() };
    let page = within(engine.list(&of_b, Some(id(2)), 2)).await.expect("it can be read");
    let page: Vec<_> = page.iter().map(|entry| entry.envelope.queue_id).collect();
    assert_eq!(page, [id(2).envelope(1), id(3).envelope(1)], "a page is full though others lie between");
}

pub(crate) async fn a_selector_means_what_matches_all_its_fields<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    keep(&engine, message(1, &["a.example", "b.example"], b"1\r\n".to_vec())).await;
    let mut other = message(2, &["a.example", "b.example"], b"2\r\n".to_vec());
    other.envelopes.iter_mut().for_each(|envelope| envelope.account = "other".into());
    keep(&engine, other).await;
    let (a, b) = (Some(host("a.example")), Some(host("b.example")));
    let second = |number: u64| id(number).envelope(1);
    for (queue_id, domain, account, expected) in [
        (None, None, None, vec![id(1), second(1), id(2), second(2)]),
        (Some(id(1)), None, None, vec![id(1), second(1)]),
        (Some(second(1)), None, None, vec![second(1)]),
        (Some(id(3)), None, None, vec![]),
        (None, a.clone(), None, vec![id(1), id(2)]),
        (None, Some(host("c.example")), None, vec![]),
        (None, None, Some("other"), vec![id(2), second(2)]),
        (None, None, Some("nobody"), vec![]),
        (None, b, Some("other"), vec![second(2)]),
        (Some(id(1)), a, Some("acme"), vec![id(1)]),
        (Some(id(1)), None, Some("other"), vec![]),
    ] {
        let selector = Selector { queue_id, domain, account: account.map(Into::into) };
        let found: Vec<_> = list(&engine, &selector).await.iter().map(|entry| entry.envelope.queue_id).collect();
        assert_eq!(found, expected, "{selector:?}");
        let counted: u64 = engine.count(&selector, 100).iter().map(DomainCount::envelopes).sum();
        assert_eq!(counted, expected.len() as u64, "{selector:?}");
    }
}

pub(crate) async fn the_list_tells_what_is_known_last<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let message = mail(1, "example.org");
    keep(&engine, message.clone()).await;
    let one = async |engine: &R::Engine| {
        let entries = list(engine, &Selector::default()).await;
        assert_eq!(entries.len(), 1);
        (entries[0].envelope.clone(), entries[0].state.clone())
    };
    assert_eq!(one(&engine).await, (message.envelopes[0].clone(), State::Ready));
    let work = take(&engine).await;
    assert_eq!(one(&engine).await, (message.envelopes[0].clone(), State::Active));
    settle(&engine, work.id, remaining(&work.envelope)).await;
    let waiting = (*after_attempt(&message.envelopes[0]), State::Waiting(START.plus(DELAY)));
    assert_eq!(one(&engine).await, waiting);
    let engine = restart(rig, engine).await;
    assert_eq!(one(&engine).await, waiting);
}

pub(crate) async fn an_ended_one_is_shown_by_its_queue_id<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    keep(&engine, message(1, &["a.example", "b.example"], b"1\r\n".to_vec())).await;
    let mut work = take_many(&engine, 2).await;
    work.sort_by_key(|work| work.envelope.queue_id);
    let bounced = fate(&work[0].envelope, FateKind::Bounced);
    settle(&engine, work[0].id, Decision::Done(Box::new(bounced.clone()))).await;
    let of_message = Selector { queue_id: Some(id(1)), ..Selector::default() };
    let shown: Vec<_> = list(&engine, &of_message).await.into_iter().map(|e| (e.envelope.queue_id, e.state)).collect();
    assert_eq!(shown, [(id(1), State::Ended(Box::new(bounced))), (id(1).envelope(1), State::Active)]);
    let rest = within(engine.list(&of_message, Some(id(1)), 10)).await.expect("it can be read");
    assert_eq!(rest.len(), 1, "the page after it");
    for selector in [Selector::default(), Selector { domain: Some(host("a.example")), ..Selector::default() }] {
        let shown = list(&engine, &selector).await;
        assert!(shown.iter().all(|entry| entry.state == State::Active), "{selector:?}");
    }
    assert_eq!(engine.count(&of_message, 10).len(), 1, "what ended is not counted");
}

pub(crate) async fn retry_now_makes_due_what_waits<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    for (number, domain) in (1..).zip(["a.example", "a.example", "b.example"]) {
        keep(&engine, mail(number, domain)).await;
    }
    for work in take_many(&engine, 3).await {
        settle(&engine, work.id, remaining(&work.envelope)).await;
    }
    let mut delayed = mail(4, "a.example");
    delayed.envelopes[0].not_before = START.plus(Duration::from_secs(1_000));
    keep(&engine, delayed).await;
    let of_a = Selector { domain: Some(host("a.example")), ..Selector::default() };
    assert_eq!(engine.act(&of_a, Directive::RetryNow), 3);
    assert_eq!(counts(&engine), (3, 0, 1));
    let mut work = take_many(&engine, 3).await;
    work.sort_by_key(|work| work.envelope.queue_id);
    assert_eq!(work.iter().map(|work| work.envelope.queue_id).collect::<Vec<_>>(), [id(1), id(2), id(4)]);
    assert_nothing_comes(&engine).await;
    assert_eq!(state_of(&engine, id(3)).await, Some(State::Waiting(START.plus(DELAY))));
    for work in &work {
        settle(&engine, work.id, done(&work.envelope)).await;
    }
    advance(rig, &engine, Duration::from_secs(2_000));
    assert_eq!(take(&engine).await.envelope.queue_id, id(3), "the times of the others are forgotten");
    assert_nothing_comes(&engine).await;
}

pub(crate) async fn retry_now_takes_hold_of_nothing_else<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    assert_eq!(engine.act(&Selector::default(), Directive::RetryNow), 0);
    keep(&engine, mail(1, "example.org")).await;
    assert_eq!(engine.act(&Selector::default(), Directive::RetryNow), 0, "it is due");
    let work = take(&engine).await;
    assert_eq!(engine.act(&Selector::default(), Directive::RetryNow), 0, "it is handed out");
    assert_nothing_comes(&engine).await;
    settle(&engine, work.id, remaining(&work.envelope)).await;
    assert_eq!(engine.act(&Selector::default(), Directive::RetryNow), 1);
    let work = take(&engine).await;
    advance(rig, &engine, DELAY / 2);
    settle(&engine, work.id, remaining(&work.envelope)).await;
    advance(rig, &engine, DELAY / 2);
    assert_only_new_mail_is_due(&engine, 2, "example.org").await;
    assert_eq!(counts(&engine), (0, 0, 1), "the time it waited for at first means nothing any more");
    advance(rig, &engine, DELAY / 2);
    let work = take(&engine).await;
    settle(&engine, work.id, remaining(&work.envelope)).await;
    assert_eq!(engine.act(&Selector::default(), Directive::RetryNow), 1);
    take(&engine).await;
    advance(rig, &engine, DELAY);
    assert_only_new_mail_is_due(&engine, 3, "example.org").await;
}
