//! The server's session: reads commands, asks its host, writes replies. It never waits.
//!
//! A shell drives it so:
//! ```text
//! loop {
//!     session.handle_input(now, &mut input);          // takes what it can
//!     while let Some(event) = session.poll_event() {
//!         …do it; flush poll_output() first when the answer takes time, and before StartTls and Close…
//!         session.handle_answer(now, answer);         // or handle_auth, handle_tls; none for ContentRefused
//!         session.handle_input(now, &mut input);      // goes on with pipelined commands
//!     }
//!     flush session.poll_output(); read more into input, until session.poll_timeout()
//! }
//! ```
//! Octets read in the clear after STARTTLS never reach the encrypted conversation: the session discards what is in
//! the input then, and the shell gives TLS nothing but the socket.

mod auth;
mod command;
mod config;
mod data;
mod event;
mod hello;
mod input;
mod line;
mod mail;
mod output;
mod param;
mod path;
mod rcpt;
mod refusal;
mod secret;
mod small;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use sluice_mail::Reply;

use data::Incoming;
use hello::Hello;
use output::Output;
use refusal::Refusal;
use state::{Counts, Phase, Question, Transaction};

pub use config::{AuthPolicy, Limits, SessionConfig, TlsState};
pub use event::{Answer, AuthAnswer, CloseReason, Event, Login, MailCommand, Mechanism, RcptCommand, Submission};
pub use secret::Secret;

/// One connection's conversation. Bounds: one event, one transaction within its limits, one message's content, and
/// the replies to what one call consumed.
#[derive(Debug)]
pub struct Session {
    config: Arc<SessionConfig>,
    out: Output,
    event: Option<Event>,
    close: Option<CloseReason>,
    phase: Phase,
    deadline: Option<Instant>,
    counts: Counts,
    hello: Option<Hello>,
    tls: bool,
    /// By AUTH.
    logged_in: bool,
    transaction: Option<Transaction>,
    incoming: Option<Incoming>,
    /// The last MAIL was refused, so that the RCPT and DATA pipelined behind it are no fault.
    mail_refused: bool,
    draining: bool,
}

impl Session {
    /// A session that greets.
    #[must_use]
    pub fn new(config: Arc<SessionConfig>, now: Instant) -> Self {
        let mut session = Self::silent(config);
        session.out.line_fmt(format_args!("220 {} ESMTP {}", session.config.hostname, session.config.software));
        session.rearm(now);
        session
    }

    /// A session that says `reply` (`421` or `554`) in place of a greeting and closes.
    #[must_use]
    pub fn refused(config: Arc<SessionConfig>, reply: &Reply) -> Self {
        let mut session = Self::silent(config);
        session.out.reply(reply);
        session.close(CloseReason::Refused);
        session
    }

    fn silent(config: Arc<SessionConfig>) -> Self {
        Self {
            tls: config.tls == TlsState::Active,
            config,
            out: Output::default(),
            event: None,
            close: None,
            phase: Phase::Command,
            deadline: None,
            counts: Counts::default(),
            hello: None,
            logged_in: false,
            transaction: None,
            incoming: None,
            mail_refused: false,
            draining: false,
        }
    }

    /// Takes from `input` what can be taken now. The rest stays there, for the call after the next answer.
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        let mut moved = false;
        while self.take(now, input) {
            moved = true;
        }
        if moved {
            self.rearm(now);
        }
    }

    /// The answer to [`Event::Mail`], [`Event::Recipient`] or [`Event::Message`]; ignored when none was asked for.
    pub fn handle_answer(&mut self, now: Instant, answer: Answer) {
        match self.take_question() {
            Some(Question::Mail(mail)) => self.mail_answered(mail, &answer),
            Some(Question::Recipient(rcpt)) => self.rcpt_answered(rcpt, &answer),
            Some(Question::Message) => self.message_answered(&answer),
            Some(question @ (Question::Tls | Question::Login)) => {
                self.phase = Phase::Asked(question);
                return;
            }
            None => return,
        }
        if matches!(&answer, Answer::Reply(reply) if reply.code == 421) {
            self.close(CloseReason::Refused);
        }
        self.answered(now);
    }

    /// The answer to [`Event::Authenticate`]; ignored when none was asked for.
    pub fn handle_auth(&mut self, now: Instant, answer: AuthAnswer) {
        if matches!(self.phase, Phase::Asked(Question::Login)) {
            self.phase = Phase::Command;
            self.login_answered(answer);
            self.answered(now);
        }
    }

    /// The connection is now encrypted, after [`Event::StartTls`]. The conversation begins anew (RFC 3207 4.2).
    pub fn handle_tls(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Asked(Question::Tls)) {
            self.phase = Phase::Command;
            self.tls = true;
            self.hello = None;
            self.reset_transaction();
            self.answered(now);
        }
    }

    /// Time has come to [`Self::poll_timeout`]: `421 4.4.2` and close.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.give_up("4.4.2", "Nothing was heard for too long", CloseReason::Timeout);
        }
    }

    /// The process is ending: `421 4.3.2` and close, as soon as no transaction is open.
    pub fn handle_shutdown(&mut self, _now: Instant) {
        self.draining = true;
        self.at_boundary();
    }

    /// Refuses the content that is being received: the rest is thrown away and `reply` sent at its end. Nothing
    /// happens while no content is being received.
    pub fn refuse_content(&mut self, reply: Reply) {
        self.refuse_incoming(reply);
    }

    /// All replies so far that were not yet fetched, in one piece.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.out.take()
    }

    /// What the host has to do next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.event.take().or_else(|| self.close.take().map(Event::Close))
    }

    /// When to call [`Self::handle_timeout`], also while the client does not read our replies; `None` while the host
    /// is the one to act.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether more input would be taken now; `false` while the host is the one to act.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.event.is_none() && !matches!(self.phase, Phase::Asked(_) | Phase::Closed)
    }

    /// Whether content is being received.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        self.incoming.is_some()
    }

    /// Whether the connection is encrypted, as far as the session knows.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Octets of memory that the content being received holds now.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.incoming_octets()
    }
}

/// What the verbs share.
impl Session {
    fn may_send(&self) -> bool {
        self.config.authenticated || self.logged_in
    }

    fn reset_transaction(&mut self) {
        self.transaction = None;
        self.mail_refused = false;
    }

    /// The open question; then it is the client's turn again.
    fn take_question(&mut self) -> Option<Question> {
        match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Asked(question) => Some(question),
            phase @ (Phase::Command | Phase::Skip { .. } | Phase::Auth(_) | Phase::Content | Phase::Closed) => {
                self.phase = phase;
                None
            }
        }
    }

    fn answered(&mut self, now: Instant) {
        self.at_boundary();
        self.rearm(now);
    }

    /// When the process is ending, the session ends between two transactions.
    fn at_boundary(&mut self) {
        let idle = matches!(self.phase, Phase::Command | Phase::Skip { .. } | Phase::Auth(_));
        if self.draining && idle && self.transaction.is_none() {
            self.give_up("4.3.2", "This server is being stopped; try again", CloseReason::Shutdown);
        }
    }

    fn rearm(&mut self, now: Instant) {
        let limits = &self.config.limits;
        self.deadline = match &self.phase {
            Phase::Command | Phase::Skip { .. } | Phase::Auth(_) => now.checked_add(limits.command_timeout),
            Phase::Content => {
                let whole = self.incoming.as_ref().and_then(|incoming| incoming.deadline);
                now.checked_add(limits.data_timeout).into_iter().chain(whole).min()
            }
            Phase::Asked(_) | Phase::Closed => None,
        };
    }

    /// Refuses a command that the client should not have sent so; after too many of them the session ends.
    fn bad(&mut self, line: &str) {
        if self.counts.bad >= self.config.limits.max_bad_commands {
            return self.give_up("4.7.0", "Too many bad commands", CloseReason::BadCommands);
        }
        self.counts.bad += 1;
        self.out.line(line);
    }

    /// Refuses a command that came before its time.
    fn out_of_order(&mut self, line: &str) {
        if self.mail_refused { self.out.line(line) } else { self.bad(line) }
    }

    fn refuse(&mut self, refusal: &Refusal) {
        if refusal.bad { self.bad(&refusal.line) } else { self.out.line(&refusal.line) }
    }

    fn give_up(&mut self, enhanced: &str, why: &str, reason: CloseReason) {
        let hostname = &self.config.hostname;
        self.out.line_fmt(format_args!("421 {enhanced} {hostname} {why}; closing the connection"));
        self.close(reason);
    }

    fn close(&mut self, reason: CloseReason) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.close = Some(reason);
        self.phase = Phase::Closed;
        self.deadline = None;
        self.transaction = None;
        self.incoming = None;
    }

    /// Writes the host's answer, `yes` when it has no words of its own; whether it is positive.
    fn say_answer(&mut self, answer: &Answer, yes: &str) -> bool {
        match answer {
            Answer::Accept => {
                self.out.line(yes);
                true
            }
            Answer::Reply(reply) => {
                self.out.reply(reply);
                reply.is_positive()
            }
        }
    }
}
