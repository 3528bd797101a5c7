//! The behaviour that every engine must show, as functions that run against any of them.
//!
//! To run it against an engine: say in a [`Rig`] how the engine is opened and restarted, and hand a fresh rig to
//! [`contract_tests`] inside a test module. Each behaviour becomes a test of its own:
//!
//! ```ignore
//! struct OnDisk { folder: tempfile::TempDir, clock: Arc<ManualClock> }
//!
//! impl Rig for OnDisk { /* open: Disk::open(folder, clock, caps); restart: close (or drop) it and open it again */ }
//!
//! contract_tests!(OnDisk { folder: tempfile::tempdir().unwrap(), clock: crate::contract::clock() });
//! ```
//!
//! An engine can be run twice, with a rig that closes it in good order and with one that just drops it: what is
//! asserted across a restart holds for both. Nothing here waits for a time to pass: the clock is moved by hand,
//! and every wait is for an event, with a deadline of [`DEADLINE`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use sluice_mail::{
    About, Address, Attempt, AttemptInfo, AttemptResult, BodyFlags, EnhancedCode, Envelope, Event, Fate, FateKind,
    Host, Lane, ManualClock, Outcome, QueueId, Recipient, RecipientResult, Reply, Shard, Stage, Tried, Trouble, UnixMs,
};

use crate::{
    Decision, Entry, FateLog, NewMessage, QueueView, Selector, ShardEvent, ShardSource, Spool, State, Totals, Window,
    Work, WorkId,
};

pub(crate) mod accept;
pub(crate) mod fates;
pub(crate) mod hand_out;
pub(crate) mod restart;
pub(crate) mod settle;
pub(crate) mod view;

/// How long an event may take to come, on a slow machine.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the clock of [`clock`] shows at first.
pub(crate) const START: UnixMs = UnixMs(1_800_000_000_000);

/// Room for every test that is not about caps.
pub(crate) const ROOMY: Caps = Caps { max_envelopes: 100_000, max_bytes: 1 << 30 };

/// A window that holds up none of the tests that are not about windows.
const WIDE: Window = Window { max_items: 10_000, max_bytes: 1 << 30, max_items_per_domain: 10_000 };

/// Bounds to open an engine with. The smallest `max_bytes` is 8 MiB: segments must be small enough for it to be met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) max_envelopes: usize,
    pub(crate) max_bytes: u64,
}

/// All that an engine is.
pub(crate) trait Engine: Spool + ShardSource + FateLog + QueueView {}

impl<T: Spool + ShardSource + FateLog + QueueView> Engine for T {}

/// One engine's setting: a place for its data that is empty at first, and a clock that is moved by hand.
pub(crate) trait Rig {
    type Engine: Engine;

    /// Opens the engine on the empty place. Called once.
    async fn open(&self, caps: Caps) -> Self::Engine;

    /// Ends the engine's process, as far as it can tell, and opens it again on what it left.
    async fn restart(&self, engine: Self::Engine, caps: Caps) -> Self::Engine;

    /// The engine's clock: one of [`clock`].
    fn clock(&self) -> &ManualClock;

    /// Tells the engine to look at the clock again.
    fn moved_clock(&self, engine: &Self::Engine);
}

/// Makes one test of each behaviour; the expression gives a fresh [`Rig`] each time it is evaluated.
macro_rules! contract_tests {
    ($rig:expr) => {
        $crate::contract::contract_tests! { $rig;
            accept::an_accepted_message_is_handed_out_once_and_as_it_was
            accept::every_envelope_of_a_message_is_handed_out_with_its_body
            accept::bodies_of_every_size_come_back
            accept::a_message_is_not_due_before_its_time
            accept::at_the_cap_of_envelopes_a_message_is_refused_whole_and_settling_goes_on
            accept::at_the_cap_of_bytes_a_message_is_refused_and_settling_goes_on
            accept::a_full_spool_is_full_after_a_restart
            accept::many_at_once_are_all_accepted_and_handed_out_once
            hand_out::the_shard_is_owned_before_there_is_work
            hand_out::the_window_bounds_items
            hand_out::the_window_bounds_bytes_and_nothing_overtakes_a_large_one
            hand_out::one_item_always_fits
            hand_out::a_domain_at_its_cap_does_not_hold_up_another
            hand_out::one_domain_and_lane_is_handed_out_in_order
            hand_out::who_waits_for_work_learns_of_it
            hand_out::a_wait_for_work_that_is_given_up_loses_none
            hand_out::the_body_of_work_that_is_not_outstanding_is_unknown
            settle::done_ends_it
            settle::what_remains_comes_back_after_its_delay
            settle::what_waits_again_and_again_keeps_its_body
            settle::envelopes_of_one_message_are_settled_apart
            settle::a_notification_ends_the_original
            settle::a_notification_beside_what_remains
            settle::a_notification_is_settled_as_any_other
            settle::a_wait_that_neither_keeps_nor_ends_keeps_it
            settle::a_diverted_one_comes_back_as_it_was
            settle::what_is_given_back_is_handed_out_again
            settle::only_outstanding_work_can_be_settled
            settle::a_dropped_ticket_changes_nothing
            restart::what_was_handed_out_is_due_at_once
            restart::what_was_not_handed_out_is_due
            restart::what_ended_stays_ended
            restart::what_remains_comes_back_at_its_time
            restart::a_delayed_message_comes_at_its_time
            restart::what_became_due_meanwhile_is_due
            restart::a_notification_is_due_and_the_original_ended
            restart::a_diverted_one_is_not_lost
            restart::each_of_many_restarts_keeps_all
            fates::fates_are_read_in_order_and_whole
            fates::every_reader_has_its_own_position
            fates::pages_join_without_gap_and_an_empty_one_keeps_the_place
            fates::what_was_committed_is_not_read_again_after_a_restart
            fates::a_commit_never_goes_back
            fates::a_forgotten_reader_is_a_new_one
            fates::attempts_are_told_in_order_and_before_the_fate
            fates::an_attempt_that_decides_nothing_is_not_told
            fates::a_partial_success_is_all_there_or_not_at_all
            fates::each_reader_reads_attempts_once
            view::totals_follow_an_envelope
            view::domains_are_counted_largest_first
            view::a_list_is_read_in_pages
            view::a_selector_means_what_matches_all_its_fields
            view::the_list_tells_what_is_known_last
            view::an_ended_one_is_shown_by_its_queue_id
            view::retry_now_makes_due_what_waits
            view::retry_now_takes_hold_of_nothing_else
        }
    };
    ($rig:expr; $($part:ident::$behaviour:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                $crate::contract::$part::$behaviour(&$rig).await;
            }
        )*
    };
}
pub(crate) use contract_tests;

/// A clock for a rig.
#[expect(clippy::disallowed_methods, reason = "any instant will do: it is moved by hand from here")]
pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(std::time::Instant::now(), START))
}

/// A fresh engine that owns its shard and holds nothing up.
async fn open<R: Rig>(rig: &R) -> R::Engine {
    let engine = within(rig.open(ROOMY)).await;
    own(&engine, WIDE).await;
    engine
}

/// The engine after a restart, as [`open`] leaves it.
async fn restart<R: Rig>(rig: &R, engine: R::Engine) -> R::Engine {
    let engine = within(rig.restart(engine, ROOMY)).await;
    own(&engine, WIDE).await;
    engine
}

/// Takes the shard and sets its window.
async fn own(engine: &impl Engine, window: Window) -> Shard {
    let event = within(engine.next()).await;
    let ShardEvent::Owned(shard, _) = event else { panic!("first the shard is owned, not {event:?}") };
    engine.window(shard, window);
    shard
}

fn advance<R: Rig>(rig: &R, engine: &R::Engine, by: Duration) {
    rig.clock().advance(by);
    rig.moved_clock(engine);
}

async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, wait).await.expect("it comes before the deadline")
}

async fn keep(engine: &impl Engine, message: NewMessage) {
    let queue_id = message.envelopes[0].queue_id.message();
    let accepted = within(engine.enqueue(message)).await.expect("there is room");
    assert_eq!(accepted.queue_id, queue_id);
}

/// The next work, which must come.
async fn take(engine: &impl Engine) -> Work {
    match within(engine.next()).await {
        ShardEvent::Work(work) => *work,
        event @ (ShardEvent::Owned(..) | ShardEvent::Draining(..) | ShardEvent::Lost(_)) => {
            panic!("work is due, but there came {event:?}")
        }
    }
}

async fn take_many(engine: &impl Engine, count: usize) -> Vec<Work> {
    let mut work = Vec::new();
    while work.len() < count {
        work.push(take(engine).await);
    }
    work
}

/// Nothing more is handed out. An engine with threads of its own could still be about to: where that matters,
/// something else is handed out first that would have come later.
async fn assert_nothing_comes(engine: &impl Engine) {
    for _ in 0..20 {
        if let Some(event) = engine.next().now_or_never() {
            panic!("nothing is due, but there came {event:?}");
        }
        tokio::task::yield_now().await;
    }
}

/// Nothing is due, though the engine looked: an envelope that becomes due now is handed out alone.
async fn assert_only_new_mail_is_due(engine: &impl Engine, number: u64, domain: &str) {
    keep(engine, mail(number, domain)).await;
    let work = take(engine).await;
    assert_eq!(work.envelope.queue_id, id(number), "nothing else is due");
    settle(engine, work.id, done(&work.envelope)).await;
    assert_nothing_comes(engine).await;
}

async fn settle(engine: &impl Engine, work: WorkId, decision: Decision) {
    within(engine.settle(work, decision)).await.expect("the work is outstanding");
}

/// The body of outstanding work, both ways of getting it compared.
async fn body_of(engine: &impl Engine, work: &Work) -> Bytes {
    let body = within(engine.body(work.id)).await.expect("the work is outstanding");
    if let Some(at_hand) = &work.body {
        assert!(at_hand.len() <= 64 << 10, "no more than 64 KiB are handed out");
        assert!(*at_hand == body, "the body at hand is the body");
    }
    body
}

async fn list(engine: &impl Engine, selector: &Selector) -> Vec<Entry> {
    within(engine.list(selector, None, 1_000)).await.expect("it can be read")
}

async fn state_of(engine: &impl Engine, queue_id: QueueId) -> Option<State> {
    let selector = Selector { queue_id: Some(queue_id), ..Selector::default() };
    let entries = list(engine, &selector).await;
    entries.into_iter().find(|entry| entry.envelope.queue_id == queue_id).map(|entry| entry.state)
}

/// Ready, active, waiting.
fn counts(engine: &impl Engine) -> (u64, u64, u64) {
    let Totals { ready, active, waiting, bytes: _ } = engine.totals();
    (ready, active, waiting)
}

/// All events that `reader` has not read yet.
async fn events(engine: &impl Engine, reader: &str) -> Vec<Event> {
    within(engine.read(reader, 10_000)).await.expect("it can be read").events
}

/// The fates among them.
async fn fates(engine: &impl Engine, reader: &str) -> Vec<Fate> {
    let fate = |event| match event {
        Event::Fate(fate) => Some(*fate),
        Event::Attempt(_) => None,
    };
    events(engine, reader).await.into_iter().filter_map(fate).collect()
}

/// The first envelope of message `number`.
pub(crate) fn id(number: u64) -> QueueId {
    QueueId::new(START, number, 0)
}

fn host(domain: &str) -> Host {
    Host::parse(domain).expect("the test's domain is one")
}

/// A small message for one domain.
pub(crate) fn mail(number: u64, domain: &str) -> NewMessage {
    message(number, &[domain], format!("Subject: {number}\r\n\r\nTo {domain}\r\n").into_bytes())
}

/// A message with an envelope for each domain.
pub(crate) fn message(number: u64, domains: &[&str], body: Vec<u8>) -> NewMessage {
    let body = Bytes::from(body);
    let envelopes = domains.iter().zip(0..).map(|(domain, index)| envelope(id(number).envelope(index), domain, &body));
    NewMessage { envelopes: envelopes.collect(), body }
}

/// Octets that differ from place to place, so that a body cut or shifted is another.
pub(crate) fn octets(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) >> 3) as u8 ^ seed).collect()
}

/// An envelope for someone at `domain`.
pub(crate) fn envelope(queue_id: QueueId, domain: &str, body: &Bytes) -> Envelope {
    let recipient = Address::parse(&format!("someone@{domain}")).expect("the test's address is one");
    Envelope {
        queue_id,
        generation: 0,
        account: "acme".into(),
        campaign: None,
        tag: None,
        lane: Lane::Transactional,
        mail_from: Address::parse("sender@example.com").ok(),
        recipients: vec![Recipient::new(recipient)],
        ret: None,
        envid: None,
        domain: host(domain),
        pool: None,
        accepted: queue_id.accepted(),
        expires: queue_id.accepted().plus(Duration::from_secs(400_000)),
        not_before: UnixMs(0),
        flags: BodyFlags::default(),
        size: u32::try_from(body.len()).expect("the test's body is small"),
        body_crc: crc32c::crc32c(body),
        attempts: 0,
        last_reply: None,
        delay_notices: 0,
        report_on: None,
    }
}

/// The envelope after an attempt that delivered to its first recipient and left the others waiting.
pub(crate) fn after_attempt(envelope: &Envelope) -> Box<Envelope> {
    let mut envelope = envelope.clone();
    envelope.generation += 1;
    envelope.attempts += 1;
    envelope.last_reply = Some(format!("451 4.7.1 not now, attempt {}", envelope.attempts).into());
    if let Some(first) = envelope.recipients.first_mut() {
        first.outcome = Some(Outcome::Delivered { reply: Reply::new(250, EnhancedCode(2, 1, 5), "ok") });
    }
    Box::new(envelope)
}

/// A report to the sender about `envelope`.
pub(crate) fn notification(about: &Envelope, number: u64, body: &Bytes) -> Box<Envelope> {
    let report = envelope(id(number), "example.com", body);
    Box::new(Envelope { mail_from: None, account: about.account.clone(), report_on: Some(about.queue_id), ..report })
}

/// An attempt on `envelope` after which it waits: its first recipient was delivered to, the others put off.
pub(crate) fn attempt(envelope: &Envelope, retry_at: UnixMs) -> Attempt {
    let deferred = || Tried::Deferred {
        reply: Reply::new(451, EnhancedCode(4, 7, 1), "not now"),
        stage: Stage::Rcpt,
        of_site: true,
    };
    let delivered = Outcome::Delivered { reply: Reply::new(250, EnhancedCode(2, 1, 5), "ok") };
    let results = envelope.recipients.iter().enumerate().map(|(i, recipient)| AttemptResult {
        address: recipient.address.clone(),
        orcpt: recipient.orcpt.clone(),
        tried: if i == 0 { Tried::Decided(delivered.clone()) } else { deferred() },
    });
    Attempt {
        about: About::envelope(envelope),
        number: envelope.attempts + 1,
        results: results.collect(),
        at: START.plus(Duration::from_secs(1)),
        retry_at,
        attempt: AttemptInfo { mx: Some("mx.example.org".into()), ..AttemptInfo::default() },
        report: None,
    }
}

pub(crate) fn done(envelope: &Envelope) -> Decision {
    Decision::Done(Box::new(fate(envelope, FateKind::Delivered)))
}

/// How `envelope` ended.
pub(crate) fn fate(envelope: &Envelope, kind: FateKind) -> Fate {
    let outcome = match kind {
        FateKind::Delivered => Outcome::Delivered { reply: Reply::new(250, EnhancedCode(2, 0, 0), "queued as X") },
        FateKind::Bounced | FateKind::Expired | FateKind::Cancelled => {
            let status = EnhancedCode(5, 1, 1);
            Outcome::Bounced { status, reply: Reply::new(550, status, "no such user") }
        }
    };
    let result = |recipient: &Recipient| RecipientResult {
        address: recipient.address.clone(),
        orcpt: recipient.orcpt.clone(),
        outcome: outcome.clone(),
        decided_in: envelope.attempts + 1,
    };
    Fate {
        about: About::envelope(envelope),
        kind,
        results: envelope.recipients.iter().map(result).collect(),
        attempts: envelope.attempts + 1,
        at: START.plus(Duration::from_secs(1)),
        attempt: AttemptInfo { duration: Duration::from_millis(17), ..AttemptInfo::default() },
        report: None,
    }
}
