//! Answers one session's questions: who it is, whether it may send, whether there is room, and keeps its messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_limits::Lease;
use sluice_mail::{EnhancedCode, QueueId, Reply};
use sluice_smtp::server::{Answer, AuthAnswer, Login, MailCommand, RcptCommand, Submission};
use sluice_spool::EnqueueError;
use sluice_wire::server::{Host, Peer, TlsInfo};

use crate::budget::Reservation;
use crate::gate::Passage;
use crate::prepare::{Facts, Prepared, Reason, Refusal, prepare};
use crate::sender::Sender;
use crate::shared::{Metered, Shared};
use crate::telemetry::{Kept, LoginResult, Signed, Turned, reason_of, sender_of};

/// A session's host. Dropping it gives back what the session held.
pub(crate) struct SessionHost {
    shared: Arc<Shared>,
    peer: Peer,
    right: Right,
    /// Whom the open transaction is sent by.
    sender: Option<Sender>,
    held: Reservation,
    /// The account's session.
    lease: Option<Lease<Arc<str>>>,
    /// Messages accepted.
    pub(crate) messages: u64,
}

/// By what a session may send.
#[derive(Clone, Debug)]
pub(crate) enum Right {
    /// Not at all, before it has logged in.
    None,
    /// It comes from a network that is trusted to send as this account.
    Network(Arc<str>),
    /// It logged in.
    Login(Sender),
}

impl SessionHost {
    pub(crate) fn new(shared: Arc<Shared>, peer: Peer, right: Right, lease: Option<Lease<Arc<str>>>) -> Self {
        let held = shared.budget.reservation();
        Self { shared, peer, right, sender: None, held, lease, messages: 0 }
    }

    /// The sender as the registry knows it now. What was revoked since the log-in ends the session.
    fn current_sender(&self) -> Result<Sender, Refusal> {
        let view = self.shared.registry.view();
        match &self.right {
            Right::None => Err(Refusal::new(Reason::Account, 530, EnhancedCode(5, 7, 0), "authentication is required")),
            Right::Network(id) => match view.account(id) {
                Some(account) => Ok(Sender { account: Arc::clone(account), credential: None }),
                None => {
                    let words = format!("your network sends as account {id}, which does not exist");
                    Err(Refusal::new(Reason::Account, 550, EnhancedCode(5, 7, 1), words))
                }
            },
            Right::Login(sender) => {
                let gone = || {
                    let words = "your account or its password was changed; log in again";
                    Refusal::new(Reason::Account, 421, EnhancedCode(4, 7, 0), words)
                };
                let account = view.account(&sender.account.id).ok_or_else(gone)?;
                if Arc::ptr_eq(account, &sender.account) {
                    return Ok(sender.clone());
                }
                let old = sender.credential.as_ref().ok_or_else(gone)?;
                let credential = account.credential(&old.login).filter(|now| now.password == old.password);
                let credential = credential.ok_or_else(gone)?;
                Ok(Sender { account: Arc::clone(account), credential: Some(Arc::clone(credential)) })
            }
        }
    }

    fn check_mail(&mut self, now: Instant, command: &MailCommand) -> Result<(), Refusal> {
        let sender = self.current_sender()?;
        let account = &sender.account;
        if let Some(from) = command.reverse_path.as_ref().filter(|from| !account.may_send_as(from)) {
            return Err(Refusal::sender(&account.id, from.as_str(), "MAIL FROM"));
        }
        self.shared.spool.room(command.size.unwrap_or(0)).map_err(|e| not_kept(&e))?;
        if let Some(most) = account.rules.max_messages_per_minute {
            let key = (Arc::clone(&account.id), Metered::Messages);
            let taken = self.shared.rates.take(now, &key, 1, most.get());
            taken.map_err(|wait| too_many(450, &account.id, "messages", most.get(), wait))?;
        }
        self.sender = Some(sender);
        Ok(())
    }

    fn check_recipient(&self, now: Instant) -> Result<(), Refusal> {
        let Some(account) = self.sender.as_ref().map(|sender| &sender.account) else {
            return Err(not_begun());
        };
        if let Some(most) = account.rules.max_recipients_per_minute {
            let key = (Arc::clone(&account.id), Metered::Recipients);
            let taken = self.shared.rates.take(now, &key, 1, most.get());
            taken.map_err(|wait| too_many(452, &account.id, "recipients", most.get(), wait))?;
        }
        Ok(())
    }

    async fn keep(&mut self, submission: Box<Submission>) -> Result<QueueId, Refusal> {
        let begun = self.shared.clock.now();
        let sender = self.sender.take().ok_or_else(not_begun)?;
        // While it is prepared there are two copies of the message: as it came and as it is kept, which is longer by
        // the few hundred octets that are added and not counted. The first is gone when `prepare` returns.
        let octets = submission.content.body.len();
        self.held.set(octets.saturating_mul(2)).map_err(|_| over_budget())?;
        let mail_from = sender_of(&submission).to_owned();
        let at = self.shared.clock.wall();
        let keys = self.shared.registry.keys();
        let facts = Facts {
            hostname: &self.shared.config.hostname,
            sender: &sender,
            client: self.peer.known.then(|| self.peer.ip()),
            queue_id: QueueId::new(at, rand::random(), 0),
            at,
            lifetimes: &self.shared.config.lifetimes,
            keys: &keys,
        };
        let prepared = prepare(*submission, &facts)?;
        // Lowering never fails.
        let _ = self.held.set(octets);
        let signing = Signed::of(prepared.signing());
        let prepared = self.signed(&sender, prepared).await?;
        let message = prepared.finish(&facts);
        let (domains, size) = (message.envelopes.len(), message.body.len());
        let recipients = message.envelopes.iter().map(|envelope| envelope.recipients.len()).sum();
        let accepted = self.shared.spool.enqueue(message).await.map_err(|e| not_kept(&e))?;
        let took = self.shared.clock.now().saturating_duration_since(begun);
        let kept = Kept {
            queue_id: accepted.queue_id,
            account: &sender.account.id,
            mail_from: &mail_from,
            recipients,
            domains,
            size,
            took,
            signed: &signing,
        };
        self.shared.telemetry.accepted(&self.peer, &kept);
        Ok(accepted.queue_id)
    }

    /// The message with its signatures, made off the async threads. Mail without a key passes at once.
    async fn signed(&self, sender: &Sender, message: Prepared) -> Result<Prepared, Refusal> {
        let account = &sender.account.id;
        let signing = message.signing();
        if let Some(why) = signing.unsigned {
            self.shared.telemetry.unsigned(account, why);
            return Ok(message);
        }
        let algorithms: Vec<_> = signing.keys.iter().map(|key| key.algorithm()).collect();
        let begun = self.shared.clock.now();
        let signed = self.shared.signers.sign(account, message).await.map_err(|error| {
            self.shared.telemetry.signing_failed(account, &error);
            Refusal::new(
                Reason::Signing,
                451,
                EnhancedCode(4, 3, 0),
                "the message cannot be signed now; try again later",
            )
        })?;
        self.shared.telemetry.signed(&algorithms, self.shared.clock.now().saturating_duration_since(begun));
        Ok(*signed)
    }

    /// Takes one of the account's sessions for a sender that just logged in.
    fn admit(&mut self, sender: Sender) -> AuthAnswer {
        // A session that came by a trusted network and logs in counts for its new account from now on.
        self.lease = None;
        match self.shared.account_session(&sender.account) {
            Ok(lease) => {
                self.lease = lease;
                self.right = Right::Login(sender);
                AuthAnswer::Accepted
            }
            Err(reply) => {
                self.shared.telemetry.turned_away(&self.peer, Turned::AccountSessions);
                AuthAnswer::Reply(reply)
            }
        }
    }

    fn account(&self) -> &str {
        match (&self.sender, &self.right) {
            (Some(sender), _) | (None, Right::Login(sender)) => &sender.account.id,
            (None, Right::Network(id)) => id,
            (None, Right::None) => "",
        }
    }

    fn command_answer(&self, checked: Result<(), Refusal>) -> Answer {
        match checked {
            Ok(()) => Answer::Accept,
            Err(Refusal { reason, reply }) => {
                self.shared.telemetry.command_refused(&self.peer, self.account(), reason, &reply);
                Answer::Reply(reply)
            }
        }
    }
}

impl Host for SessionHost {
    fn mail(&mut self, now: Instant, command: &MailCommand) -> Answer {
        self.sender = None;
        let checked = self.check_mail(now, command);
        self.command_answer(checked)
    }

    fn recipient(&mut self, now: Instant, _command: &RcptCommand) -> Answer {
        let checked = self.check_recipient(now);
        self.command_answer(checked)
    }

    async fn authenticate(&mut self, login: Login) -> AuthAnswer {
        let (result, answer) = match self.shared.gate.check(self.peer.ip(), &login).await {
            Passage::Open(grant) => {
                let sender = Sender { account: grant.account, credential: Some(grant.credential) };
                (LoginResult::Accepted, self.admit(sender))
            }
            Passage::Shut(result, answer) => (result, answer),
        };
        self.shared.telemetry.login(&self.peer, login.mechanism, &login.login, result);
        answer
    }

    async fn message(&mut self, submission: Box<Submission>) -> Answer {
        let account = self.sender.as_ref().map(|sender| Arc::clone(&sender.account.id)).unwrap_or_default();
        let kept = self.keep(submission).await;
        // Lowering never fails.
        let _ = self.held.set(0);
        match kept {
            Ok(queue_id) => {
                self.messages += 1;
                Answer::Reply(Reply::new(250, EnhancedCode(2, 0, 0), format!("Ok: queued as {queue_id}")))
            }
            Err(Refusal { reason, reply }) => {
                self.shared.telemetry.message_refused(&self.peer, &account, reason, &reply);
                Answer::Reply(reply)
            }
        }
    }

    fn holding(&mut self, octets: usize) -> Result<(), Reply> {
        self.held.set(octets).map_err(|_| over_budget().reply)
    }

    fn content_refused(&mut self, reply: &Reply) {
        self.shared.telemetry.message_refused(&self.peer, self.account(), reason_of(reply), reply);
        self.sender = None;
    }

    fn secured(&mut self, info: TlsInfo) {
        self.shared.telemetry.secured(&info);
    }
}

/// What a refusal by the spool is to the client: always to be tried again.
fn not_kept(error: &EnqueueError) -> Refusal {
    match error {
        EnqueueError::Full(_) => {
            Refusal::new(Reason::Full, 452, EnhancedCode(4, 3, 1), "the queue is full; try again later")
        }
        EnqueueError::Poisoned(_) => {
            Refusal::new(Reason::Spool, 451, EnhancedCode(4, 3, 0), "the message cannot be stored now; try again later")
        }
        EnqueueError::Closing => {
            Refusal::new(Reason::Spool, 421, EnhancedCode(4, 3, 2), "the server is being stopped; try again")
        }
    }
}

fn too_many(code: u16, account: &str, what: &str, most: u32, wait: Duration) -> Refusal {
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    let words = format!("account {account} may send {most} {what} a minute; try again in {seconds} seconds");
    Refusal::new(Reason::Rate, code, EnhancedCode(4, 7, 0), words)
}

fn over_budget() -> Refusal {
    let words = "too many messages are being received now; try again later";
    Refusal::new(Reason::Memory, 452, EnhancedCode(4, 3, 1), words)
}

/// The session asks for recipients and messages only after a MAIL that was accepted.
fn not_begun() -> Refusal {
    Refusal::new(Reason::Account, 451, EnhancedCode(4, 3, 0), "no sender was accepted; begin again with MAIL")
}
