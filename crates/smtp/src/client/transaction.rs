//! One transaction: what is asked for, how far it is, how it ends.

use std::io::Write as _;

use sluice_mail::{Address, BodyFlags, Cause, EnhancedCode, Failure, Reply, Stage};

use super::{Capabilities, ClientConfig};

/// What is to be sent, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Reverse-path; `None` is the null sender.
    pub mail_from: Option<Address>,
    /// Forward-paths. An envelope has 100 at most, so that commands and replies of one write fit into socket buffers.
    pub recipients: Vec<Address>,
    /// Octets of the content, without dot-stuffing.
    pub size: u32,
    /// What the peer must be able to do.
    pub flags: BodyFlags,
}

/// Names a transaction within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub(super) u64);

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionResult {
    /// Which.
    pub id: TransactionId,
    /// For each recipient in order: the reply to the final dot, or what kept the message from it.
    pub results: Vec<Result<Reply, Failure>>,
    /// The peer answered at least one of its commands, other than by 421. When not, and the connection had served
    /// before, the connection had gone stale, which says nothing about the peer or the message.
    pub answered: bool,
}

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) id: TransactionId,
    pub(super) transaction: Transaction,
    pub(super) step: Step,
    /// The content may be sent.
    pub(super) released: bool,
    pub(super) answered: bool,
    /// The peer took MAIL.
    pub(super) mail_taken: bool,
    recipients: Vec<RecipientState>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// No command was sent.
    Waiting,
    /// MAIL, RCPT, DATA.
    Commands,
    /// 354 was given to at least one recipient; the content waits for its release.
    Content,
    /// The content is being written.
    Sending {
        /// Commands that follow the final dot were given out with it, so the dot may be on its way.
        with_trailer: bool,
    },
    /// The final dot was sent.
    Dot,
}

#[derive(Clone, Debug)]
enum RecipientState {
    Open,
    Taken,
    Refused(Failure),
}

impl Active {
    pub(super) fn new(id: TransactionId, transaction: Transaction) -> Self {
        let recipients = vec![RecipientState::Open; transaction.recipients.len()];
        Self { id, transaction, step: Step::Waiting, released: false, answered: false, mail_taken: false, recipients }
    }

    /// The peer takes recipient `i`.
    pub(super) fn take(&mut self, i: usize) {
        if let Some(state @ RecipientState::Open) = self.recipients.get_mut(i) {
            *state = RecipientState::Taken;
        }
    }

    /// Recipient `i` fails, unless it failed before.
    pub(super) fn refuse(&mut self, i: usize, failure: Failure) {
        if let Some(state @ (RecipientState::Open | RecipientState::Taken)) = self.recipients.get_mut(i) {
            *state = RecipientState::Refused(failure);
        }
    }

    /// Every recipient fails that did not fail before.
    pub(super) fn refuse_all(&mut self, failure: &Failure) {
        for i in 0..self.recipients.len() {
            self.refuse(i, failure.clone());
        }
    }

    /// Whether the peer took a recipient, so that there is content to send.
    pub(super) fn has_taken(&self) -> bool {
        self.recipients.iter().any(|state| matches!(state, RecipientState::Taken))
    }

    /// The end: recipients that were taken have `reply`, the others their failures.
    pub(super) fn into_result(self, reply: Option<&Reply>) -> TransactionResult {
        let outcome = |state| match (state, reply) {
            (RecipientState::Taken, Some(reply)) => Ok(reply.clone()),
            (RecipientState::Refused(failure), _) => Err(failure),
            // Not reached: whoever ends a transaction without a reply has refused all its recipients.
            (RecipientState::Open, _) | (RecipientState::Taken, None) => Err(Failure::new(Stage::Dot, Cause::Closed)),
        };
        TransactionResult {
            id: self.id,
            results: self.recipients.into_iter().map(outcome).collect(),
            answered: self.answered,
        }
    }
}

impl Transaction {
    /// What the peer lacks for this message, if anything.
    pub(super) fn unsupported(&self, peer: &Capabilities, config: &ClientConfig) -> Option<Failure> {
        let lacks = |code, words: String| Some(Failure::new(Stage::Mail, Cause::Unsupported(code, words)));
        if self.needs_smtputf8() && !peer.smtputf8 {
            return lacks(EnhancedCode(5, 6, 7), "the peer does not offer SMTPUTF8, which this message needs".into());
        }
        if self.flags.require_tls && !(peer.tls && peer.require_tls) {
            return lacks(
                EnhancedCode(5, 7, 30),
                "the peer does not offer REQUIRETLS, which this message needs".into(),
            );
        }
        if self.flags.eight_bit && config.bounce_8bit && !peer.eight_bit_mime {
            return lacks(EnhancedCode(5, 6, 3), "the peer does not offer 8BITMIME, which this message needs".into());
        }
        match peer.size {
            Some(limit) if limit > 0 && limit < u64::from(self.size) => lacks(
                EnhancedCode(5, 3, 4),
                format!("the message has {} octets and the peer takes {limit} at most", self.size),
            ),
            Some(_) | None => None,
        }
    }

    /// Appends MAIL with the parameters that the peer understands.
    pub(super) fn write_mail(&self, peer: &Capabilities, out: &mut Vec<u8>) {
        out.extend_from_slice(b"MAIL FROM:<");
        out.extend_from_slice(self.mail_from.as_ref().map_or("", Address::as_str).as_bytes());
        out.push(b'>');
        if peer.size.is_some() {
            // Writing to a Vec does not fail.
            _ = write!(out, " SIZE={}", self.size);
        }
        if peer.eight_bit_mime && (self.flags.eight_bit || self.needs_smtputf8()) {
            out.extend_from_slice(b" BODY=8BITMIME");
        }
        if self.needs_smtputf8() {
            out.extend_from_slice(b" SMTPUTF8");
        }
        if self.flags.require_tls {
            out.extend_from_slice(b" REQUIRETLS");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Appends RCPT for recipient `i`.
    pub(super) fn write_rcpt(&self, i: usize, out: &mut Vec<u8>) {
        let Some(recipient) = self.recipients.get(i) else { return };
        out.extend_from_slice(b"RCPT TO:<");
        out.extend_from_slice(recipient.as_str().as_bytes());
        out.extend_from_slice(b">\r\n");
    }

    fn needs_smtputf8(&self) -> bool {
        self.flags.smtputf8 || !self.mail_from.iter().chain(&self.recipients).all(Address::is_ascii)
    }
}
