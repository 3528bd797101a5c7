//! The door of the session, and its control flow: which phase a reply belongs to, what may be sent now, how it ends.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use sluice_mail::{Cause, Failure, Reply, Stage};

use super::auth::AuthStep;
use super::reply::{RawReply, ReplyReader};
use super::transaction::{Active, Step};
use super::{Capabilities, ClientConfig, TlsMode, Transaction, TransactionId, TransactionResult};

/// Most transactions that a session holds: the one under way and the one after it.
const MAX_TRANSACTIONS: usize = 2;

/// What is to be written. Its debug text names no octets: they may be a password.
#[derive(Clone, PartialEq, Eq)]
pub enum Output {
    /// These octets.
    Bytes(Vec<u8>),
    /// The stuffed content of this transaction with its final dot, then [`Session::poll_trailer`]'s octets; then
    /// [`Session::handle_content_sent`] is to be called.
    Content(TransactionId),
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} octets)", bytes.len()),
            Self::Content(id) => write!(f, "Content({id:?})"),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer answered EHLO or HELO, and TLS is agreed and we are logged in where it is to be. Comes once.
    Ready(Capabilities),
    /// The TLS handshake is to be made now; its outcome goes to [`Session::handle_tls`].
    StartTls,
    /// A transaction ended.
    Done(TransactionResult),
    /// The connection is over and is to be closed, after a last [`Session::poll_output`]. With a failure unless it
    /// ended by [`Session::quit`] or by the peer's will between two transactions. The last event.
    Closed(Option<Failure>),
}

/// A client's session with one peer. How it is driven: [`crate::client`].
pub struct Session {
    pub(super) config: ClientConfig,
    pub(super) phase: Phase,
    pub(super) peer: Capabilities,
    reader: ReplyReader,
    pub(super) out: Vec<u8>,
    pub(super) events: VecDeque<Event>,
    /// Commands of transactions that await their replies, in order. A reply always belongs to the first
    /// transaction, as that one leaves only when all its commands are answered.
    pub(super) expected: VecDeque<Expect>,
    /// [`MAX_TRANSACTIONS`] at most, in order.
    pub(super) transactions: VecDeque<Active>,
    deadline: Option<Instant>,
    /// The peer still holds a transaction that was given up.
    pub(super) needs_rset: bool,
    quitting: bool,
    next_id: u64,
}

/// What the session as a whole waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Handshake,
    Auth(AuthStep),
    Ready,
    Quit,
    Closed,
}

/// A command of a transaction that awaits its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Rset,
    Mail,
    Rcpt(usize),
    Data,
    Dot,
    /// The lone dot after a 354 that no recipient was taken for.
    EmptyDot,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("phase", &self.phase).field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl Session {
    /// A session on a connection that was just opened; for [`TlsMode::Implicit`], after its handshake.
    #[must_use]
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        let tls = config.tls == TlsMode::Implicit;
        let mut session = Self {
            config,
            phase: Phase::Greeting,
            peer: Capabilities { tls, ..Capabilities::default() },
            reader: ReplyReader::default(),
            out: Vec::new(),
            events: VecDeque::new(),
            expected: VecDeque::new(),
            transactions: VecDeque::with_capacity(MAX_TRANSACTIONS),
            deadline: None,
            needs_rset: false,
            quitting: false,
            next_id: 0,
        };
        session.arm(now);
        session
    }

    /// Takes what the peer sent.
    pub fn handle_input(&mut self, now: Instant, mut input: &[u8]) {
        // Taken out, so that a reply can be looked at in its buffer while the session changes.
        let mut reader = std::mem::take(&mut self.reader);
        while self.phase != Phase::Closed && !input.is_empty() {
            if self.phase == Phase::Handshake {
                // Whatever came in the clear must not be read as if it were encrypted.
                self.break_off(Cause::Protocol("the peer sent more before the TLS handshake".into()));
                break;
            }
            match reader.next(&mut input) {
                Ok(Some(reply)) => self.handle_reply(now, reply),
                Ok(None) => {}
                // It may have repeated our password.
                Err(_) if matches!(self.phase, Phase::Auth(_)) => {
                    self.break_off(Cause::Protocol("the peer answers AUTH with what is no reply".into()));
                }
                Err(cause) => self.break_off(cause),
            }
        }
        self.reader = reader;
    }

    /// The peer closed the connection.
    pub fn handle_closed(&mut self, _now: Instant) {
        self.handle_lost(Cause::Closed);
    }

    /// The connection broke, or is given up: why.
    pub fn handle_io_error(&mut self, _now: Instant, words: impl Into<String>) {
        self.handle_lost(Cause::Io(words.into()));
    }

    /// Octets to write, or word that content is to be written. Nothing while content is being written.
    pub fn poll_output(&mut self) -> Option<Output> {
        if !self.out.is_empty() {
            return Some(Output::Bytes(std::mem::take(&mut self.out)));
        }
        let front = self.transactions.front_mut()?;
        if self.phase != Phase::Ready || front.step != Step::Content || !front.released {
            return None;
        }
        front.step = Step::Sending { with_trailer: false };
        Some(Output::Content(front.id))
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called, unless something happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Looks whether a time-out is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.handle_lost(Cause::Timeout);
        }
    }

    /// Begins a transaction as soon as may be. Gives it back when [`Self::can_begin`] is false.
    pub fn begin(&mut self, now: Instant, transaction: Transaction) -> Result<TransactionId, Transaction> {
        if !self.can_begin() {
            return Err(transaction);
        }
        let id = TransactionId(self.next_id);
        self.next_id += 1;
        self.transactions.push_back(Active::new(id, transaction));
        self.advance(now);
        Ok(id)
    }

    /// Whether [`Self::begin`] takes another transaction.
    #[must_use]
    pub fn can_begin(&self) -> bool {
        let open = !matches!(self.phase, Phase::Quit | Phase::Closed) && !self.quitting;
        open && self.transactions.len() < MAX_TRANSACTIONS
    }

    /// Whether the session is ready and has nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Ready && self.transactions.is_empty() && !self.quitting
    }

    /// What the peer offers. Nothing before [`Event::Ready`].
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.peer
    }

    /// Opens the gate for the content of this transaction: the outcome of the one before is durable, and it may
    /// still be sent. May come at any time after `begin`; without effect when the transaction has ended.
    pub fn release_content(&mut self, now: Instant, id: TransactionId) {
        if let Some(active) = self.transactions.iter_mut().find(|active| active.id == id) {
            active.released = true;
            if active.step == Step::Content {
                self.arm(now);
            }
        }
    }

    /// Ends the session by QUIT when what was begun is done.
    pub fn quit(&mut self, now: Instant) {
        self.quitting = true;
        self.advance(now);
    }

    /// Sends what may be sent now.
    pub(super) fn advance(&mut self, now: Instant) {
        while self.phase == Phase::Ready {
            let next = match self.transactions.front() {
                None if self.quitting => return self.send_quit(now),
                None => return,
                Some(front) if front.step == Step::Waiting => 0,
                Some(front) if front.step == Step::Dot && self.pipelines() => 1,
                Some(_) => return,
            };
            match self.transactions.get(next) {
                Some(active) if active.step == Step::Waiting => self.send_commands(now, next),
                Some(_) | None => return,
            }
        }
    }

    /// Whether commands may be sent before the replies to those before them.
    pub(super) fn pipelines(&self) -> bool {
        self.peer.pipelining && self.config.pipelining
    }

    /// The transaction at `index` is over.
    pub(super) fn finish(&mut self, index: usize, reply: Option<&Reply>) {
        if let Some(active) = self.transactions.remove(index) {
            self.events.push_back(Event::Done(active.into_result(reply)));
        }
    }

    /// Sets the deadline for what is waited for now, counted from now.
    pub(super) fn arm(&mut self, now: Instant) {
        self.deadline = self.patience().map(|patience| now + patience);
    }

    /// Ends the connection: what was begun fails, and so does the session.
    pub(super) fn break_off(&mut self, cause: Cause) {
        self.out.clear();
        if self.phase == Phase::Quit {
            return self.close(None);
        }
        let failure = Failure::new(self.stage(), cause);
        let before_ready = self.phase != Phase::Ready;
        for (i, mut active) in std::mem::take(&mut self.transactions).into_iter().enumerate() {
            if i == 0 || before_ready {
                active.refuse_all(&failure);
            } else {
                active.refuse_all(&Failure::new(Stage::Mail, bystander(&failure.cause)));
            }
            self.events.push_back(Event::Done(active.into_result(None)));
        }
        self.close(Some(failure));
    }

    /// The end of the session.
    pub(super) fn close(&mut self, failure: Option<Failure>) {
        self.phase = Phase::Closed;
        self.deadline = None;
        self.expected.clear();
        self.events.push_back(Event::Closed(failure));
    }

    /// The connection is gone or given up: a failure, unless nothing was wanted of it.
    fn handle_lost(&mut self, cause: Cause) {
        match self.phase {
            Phase::Closed => {}
            Phase::Quit => self.close(None),
            Phase::Ready if self.transactions.is_empty() => self.close(None),
            // TLS 1.3 lets us believe in a handshake that the peer rejects: this is its failure, too.
            Phase::Ehlo if self.peer.tls && self.config.tls != TlsMode::Implicit => {
                self.phase = Phase::Handshake;
                self.break_off(cause);
            }
            Phase::Greeting
            | Phase::Ehlo
            | Phase::Helo
            | Phase::StartTls
            | Phase::Handshake
            | Phase::Auth(_)
            | Phase::Ready => self.break_off(cause),
        }
    }

    /// One reply, to whom it belongs.
    fn handle_reply(&mut self, now: Instant, reply: RawReply<'_>) {
        let unwanted = self.phase == Phase::Ready && self.transactions.is_empty();
        match self.phase {
            Phase::Quit => return self.close(None),
            // The peer takes its leave between two transactions.
            Phase::Ready if unwanted && reply.code == 421 => return self.close(None),
            Phase::Greeting | Phase::Ehlo | Phase::Helo | Phase::StartTls | Phase::Ready if reply.code == 421 => {
                return self.break_off(Cause::Reply(reply.to_reply()));
            }
            Phase::Greeting => self.on_greeting(reply),
            Phase::Ehlo => self.on_ehlo(reply),
            Phase::Helo => self.on_helo(reply),
            Phase::StartTls => self.on_start_tls(reply),
            Phase::Auth(step) => self.on_auth(step, reply),
            Phase::Ready => self.on_transaction_reply(reply),
            Phase::Handshake | Phase::Closed => {}
        }
        self.advance(now);
        self.arm(now);
    }

    fn send_quit(&mut self, now: Instant) {
        self.out.extend_from_slice(b"QUIT\r\n");
        self.phase = Phase::Quit;
        self.arm(now);
    }

    /// The step that is under way, for failures.
    fn stage(&self) -> Stage {
        match self.phase {
            Phase::Greeting => Stage::Greeting,
            Phase::Ehlo | Phase::Helo => Stage::Ehlo,
            Phase::StartTls | Phase::Handshake => Stage::StartTls,
            Phase::Auth(_) => Stage::Auth,
            Phase::Ready => self.transaction_stage(),
            Phase::Quit | Phase::Closed => Stage::Rset,
        }
    }

    fn transaction_stage(&self) -> Stage {
        match (self.expected.front(), self.transactions.front().map(|front| front.step)) {
            (Some(Expect::Rset), _) | (None, None) => Stage::Rset,
            (Some(Expect::Mail), _) | (None, Some(Step::Waiting | Step::Commands)) => Stage::Mail,
            (Some(Expect::Rcpt(_)), _) => Stage::Rcpt,
            (Some(Expect::Data | Expect::EmptyDot), _) => Stage::Data,
            (Some(Expect::Dot), _) | (None, Some(Step::Dot)) => Stage::Dot,
            (None, Some(Step::Content | Step::Sending { .. })) => Stage::Body,
        }
    }

    /// How long what is waited for may take; `None` when it is the shell's turn.
    fn patience(&self) -> Option<Duration> {
        let timeouts = &self.config.timeouts;
        match self.phase {
            Phase::Greeting => Some(timeouts.greeting),
            Phase::Ehlo | Phase::Helo | Phase::Auth(_) => Some(timeouts.ehlo),
            Phase::StartTls | Phase::Handshake => Some(timeouts.start_tls),
            Phase::Quit => Some(timeouts.quit),
            Phase::Closed => None,
            Phase::Ready => match self.expected.front() {
                Some(Expect::Rset | Expect::Mail) => Some(timeouts.mail),
                Some(Expect::Rcpt(_)) => Some(timeouts.rcpt),
                Some(Expect::Data) => Some(timeouts.data),
                Some(Expect::Dot | Expect::EmptyDot) => Some(timeouts.dot),
                None => {
                    let front = self.transactions.front()?;
                    (front.released && front.step != Step::Waiting).then_some(timeouts.block)
                }
            },
        }
    }
}

/// What a failure of the connection in one transaction means for the one behind it: only that the connection is
/// gone, unless the peer said that it takes its leave.
fn bystander(cause: &Cause) -> Cause {
    match cause {
        Cause::Reply(reply) if reply.code == 421 => cause.clone(),
        Cause::Timeout | Cause::Io(_) => cause.clone(),
        Cause::Reply(_)
        | Cause::Closed
        | Cause::Tls(_)
        | Cause::Protocol(_)
        | Cause::NoSuchHost(..)
        | Cause::Dns(_)
        | Cause::Unsupported(..)
        | Cause::Prohibited(..) => Cause::Closed,
    }
}
