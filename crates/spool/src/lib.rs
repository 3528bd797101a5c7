//! The queue's ports: accept, own, settle, look. Engines implement them; policy lives above them.
//!
//! Engines: [`disk`] (embedded: a segmented log with group commit) and [`memory`] (the twin for tests of
//! logic). `contract` (in tests) is the behaviour that every engine must show, as functions that run against any.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sluice_mail::{Attempt, Envelope, Event, Fate, Host, QueueId, Shard, UnixMs};

#[cfg(test)]
mod contract;
pub mod disk;
pub mod memory;
mod view;

/// A message to be kept: its body once, and an envelope for each recipient domain.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// One to 1,000 envelopes; their `queue_id`s share [`QueueId::message`] and differ from one another. Each tells
    /// the body's length and CRC.
    pub envelopes: Vec<Envelope>,
    /// The message as it is to be sent: CRLF lines, without dot-stuffing and without the final dot.
    pub body: Bytes,
}

/// Proof that a message is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The message's id.
    pub queue_id: QueueId,
}

/// Why a message was not kept. Nothing of it is stored, and each of these is answered with 4xx.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnqueueError {
    /// A cap on envelopes or bytes is reached: 452 4.3.1.
    #[error("the spool is full: {0}")]
    Full(String),
    /// The log cannot be written any more; only a restart mends it: 451 4.3.0.
    #[error("the spool cannot be written: {0}")]
    Poisoned(String),
    /// The engine is shutting down: 421 4.3.2.
    #[error("the spool is closing")]
    Closing,
}

/// Accepting.
pub trait Spool: Send + Sync + 'static {
    /// Keeps the message, all of its envelopes or none: durable when it returns `Ok`, gone when it returns `Err`. A
    /// future that is dropped before leaves it open whether the message is kept.
    fn enqueue(&self, message: NewMessage) -> BoxFuture<'static, Result<Accepted, EnqueueError>>;

    /// Whether a message of one envelope and `bytes` would be refused now, and why: asked at MAIL, so that a full
    /// spool refuses before the body is sent. What follows from accepted mail is never refused for lack of room.
    fn room(&self, bytes: u64) -> Result<(), EnqueueError>;
}

/// A handle on work that was handed out and is not settled yet. Never used twice, and without meaning after a
/// restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkId(pub u64);

/// An envelope that is due.
#[derive(Clone, Debug)]
pub struct Work {
    /// To settle it by.
    pub id: WorkId,
    /// The shard that it lies in.
    pub shard: Shard,
    /// What is to be delivered, results of earlier attempts included: as it was enqueued, or as it was given in the
    /// last [`Part::Remaining`].
    pub envelope: Envelope,
    /// The body when it is at hand and at most 64 KiB; else ask [`ShardSource::body`].
    pub body: Option<Bytes>,
}

/// What an owner of shards learns.
#[derive(Clone, Debug)]
pub enum ShardEvent {
    /// The shard is ours under this epoch.
    Owned(Shard, u64),
    /// An envelope is due.
    Work(Box<Work>),
    /// The shard will be lost at the deadline: finish what is under way, start nothing.
    Draining(Shard, UnixMs),
    /// The shard is no longer ours.
    Lost(Shard),
}

/// What follows from an attempt: one durable record.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The envelope ends.
    Done(Box<Fate>),
    /// The envelope, with its results so far, waits again. Each part is one record of the same frame. One part at
    /// most decides on the envelope: what remains of it, or the fate beside a notification. When none does, the
    /// envelope stays as it was and is due, so that a mistake here loses no mail.
    Wait(Vec<Part>),
    /// Not tried: comes again after `eta`, as it was but for its generation. Counts no attempt and may leave no
    /// durable record: after a restart it may be due at once.
    Divert {
        /// From now.
        eta: Duration,
    },
}

/// A part of a [`Decision::Wait`].
#[derive(Clone, Debug)]
pub enum Part {
    /// What remains of the envelope, to be tried after `delay`.
    Remaining {
        /// With outcomes, attempts, generation and last reply brought up to date; its queue id is the same, its body
        /// is the one already kept, its `not_before` is not looked at.
        envelope: Box<Envelope>,
        /// From now.
        delay: Duration,
    },
    /// A delivery status notification, due at once: an envelope of its own with its own body.
    Notification {
        /// To the original's reverse-path, from the null sender.
        envelope: Box<Envelope>,
        /// The report.
        body: Bytes,
        /// The fate of the original, when this ends it.
        fate: Option<Box<Fate>>,
    },
    /// The attempt after which the envelope waits, for [`FateLog`]; one at most. Decides nothing.
    Attempt(Box<Attempt>),
}

/// Resolves when the decision is durable, or with the reason why it never will be.
pub type Ticket = BoxFuture<'static, Result<(), SettleError>>;

/// A decision that could not be made durable. The envelope will be handed out again after a restart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The log cannot be written any more; only a restart mends it.
    #[error("the spool cannot be written: {0}")]
    Poisoned(String),
    /// The work is unknown: settled before, or of a lost shard.
    #[error("no such work is outstanding")]
    Unknown,
}

/// A body that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The stored bytes do not match their checksum, or cannot be read.
    #[error("the stored body cannot be read: {0}")]
    Unreadable(String),
    /// The work is unknown: settled before, or of a lost shard.
    #[error("no such work is outstanding")]
    Unknown,
}

/// How much work may be outstanding (handed out and not settled) per shard. One envelope always fits, however large.
/// A domain at its cap is passed over; what does not fit for another reason holds back all others, so that they do not
/// overtake a large one for ever. A smaller window takes nothing back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Envelopes.
    pub max_items: usize,
    /// Octets of bodies.
    pub max_bytes: usize,
    /// Envelopes to one domain, so that a slow one cannot take the whole window.
    pub max_items_per_domain: usize,
}

/// Owning shards and their due work. One caller. A shard is [`ShardEvent::Owned`] before there is work of it. Envelopes
/// of one domain and lane are handed out in the order in which they became due; after a restart, what was handed out
/// before and not settled is due at once.
pub trait ShardSource: Send + Sync + 'static {
    /// Waits for the next event. Cancel-safe.
    fn next(&self) -> BoxFuture<'_, ShardEvent>;

    /// The body of outstanding work, of any length.
    fn body(&self, work: WorkId) -> BoxFuture<'_, Result<Bytes, BodyError>>;

    /// Ends or postpones outstanding work. The record is queued when this returns, durable when the ticket
    /// resolves; dropping the ticket changes nothing. The work is not outstanding from the call on; its place in the
    /// window is free, and views and [`FateLog`] show the decision, when the ticket resolves at the latest.
    fn settle(&self, work: WorkId, decision: Decision) -> Ticket;

    /// Returns work that was not started: it is due, as it was, and will be handed out again. Nothing happens when
    /// it is not outstanding.
    fn give_back(&self, work: WorkId);

    /// Sets the bounds of what may be outstanding in a shard; before that the engine has some of its own.
    fn window(&self, shard: Shard, window: Window);

    /// Whether the shard is still provably ours: asked before MAIL FROM and before the final dot.
    fn may_send(&self, shard: Shard) -> bool;
}

/// A position in the log of events, opaque to readers, ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// What happened, in log order, and where to go on.
#[derive(Clone, Debug)]
pub struct Events {
    /// In log order. The attempt of a record comes before its fate.
    pub events: Vec<Event>,
    /// To commit when these are dealt with.
    pub next: Position,
}

/// Reading what ended and what was attempted, each reader with a position of its own. An attempt after which an
/// envelope ends is told by its fate alone.
pub trait FateLog: Send + Sync + 'static {
    /// The next events after `reader`'s committed position or after what it read last, some `max` at most; empty when
    /// there is none now. A reader that never committed starts at the oldest event kept.
    fn read(&self, reader: &str, max: usize) -> BoxFuture<'_, Result<Events, BodyError>>;

    /// Notes durably that `reader` needs nothing before `at` again. A position before an earlier one changes nothing.
    fn commit(&self, reader: &str, at: Position) -> BoxFuture<'_, Result<(), SettleError>>;

    /// Forgets `reader` durably: nothing is kept for it any more. It is a new one when it commits again. Nothing happens
    /// when it never committed.
    fn forget(&self, reader: &str) -> BoxFuture<'_, Result<(), SettleError>>;
}

/// Which envelopes an operator means: all that match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// This envelope, or all envelopes of this message when it is a message's id. The first envelope has its
    /// message's id, so that it is never meant alone.
    pub queue_id: Option<QueueId>,
    /// To this domain.
    pub domain: Option<Host>,
    /// Of this account.
    pub account: Option<Arc<str>>,
}

/// Where an envelope stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Due, and not handed out yet.
    Ready,
    /// Handed out: an attempt is under way or about to be.
    Active,
    /// Waits until then.
    Waiting(UnixMs),
    /// Ended. Kept for a bounded number of the latest.
    Ended(Box<Fate>),
}

/// An envelope and where it stands.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The envelope; for an ended one what its fate still tells.
    pub envelope: Envelope,
    /// Where it stands.
    pub state: State,
}

/// What waits for one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainCount {
    /// Recipient domain.
    pub domain: Host,
    /// Due, not handed out.
    pub ready: u64,
    /// Handed out.
    pub active: u64,
    /// Waiting for a time.
    pub waiting: u64,
    /// When the next of the waiting is due.
    pub next_due: Option<UnixMs>,
    /// When the oldest was accepted.
    pub oldest: Option<UnixMs>,
}

/// The whole queue in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Envelopes due, not handed out.
    pub ready: u64,
    /// Envelopes handed out.
    pub active: u64,
    /// Envelopes waiting for a time.
    pub waiting: u64,
    /// Octets on disk, or in memory for the twin.
    pub bytes: u64,
}

/// An operator's order on queued mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Due now, whatever it waits for. Takes hold of waiting envelopes only; may be forgotten at a restart.
    RetryNow,
}

/// Waiting mail, for operators. Shows at least what was accepted, handed out, settled or ordered before the question.
pub trait QueueView: Send + Sync + 'static {
    /// The whole queue in numbers. Cheap: asked at each scrape.
    fn totals(&self) -> Totals;

    /// What waits by domain, the one with most envelopes first, `max` at most.
    fn count(&self, selector: &Selector, max: usize) -> Vec<DomainCount>;

    /// Entries after `after` in order of queue id, `max` at most; ended ones only when the selector names a
    /// queue id.
    fn list(
        &self,
        selector: &Selector,
        after: Option<QueueId>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<Entry>, BodyError>>;

    /// Gives the order; how many envelopes it took hold of.
    fn act(&self, selector: &Selector, directive: Directive) -> u64;
}
