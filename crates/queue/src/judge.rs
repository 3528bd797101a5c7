//! What a failure means for a recipient. The whole judgement is in this file.
//!
//! The rules, from RFC 5321 4.2.1 and what the large senders learned:
//! - 4yz and everything that is not a reply is temporary: the mail waits.
//! - 5yz is permanent, except where it speaks of our own setting up of the session (STARTTLS, AUTH, RSET, and
//!   wherever a refused log-in or missing encryption is told of: 534, 535, 538, and 530 that names STARTTLS), or where
//!   RFC 5321 4.5.3.1.10 says that 552 to RCPT means "too many recipients". Any other 530 is final: a host that takes
//!   mail from users who log in is no place for this mail.
//! - What the peer lacks is permanent when the message needs it, temporary when only the session does.
//! - 421 anywhere speaks of the host, whatever command it answers.
//! - Before MAIL a failure speaks of the site; at MAIL of the sender; at RCPT of the recipient; after that of
//!   the message. A connection lost in the content or after its final dot speaks of the message, since a
//!   filter that hangs up on a message does so there.

use sluice_mail::{Blame, Cause, EnhancedCode, Failure, Reply, Stage, Verdict};

/// What else the judgement depends on.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Whether 5yz as greeting, from every host that was asked, gives the mail up (`bounce_upon_5xx_greeting`).
    pub bounce_upon_5xx_greeting: bool,
}

impl Default for Context {
    fn default() -> Self {
        Self { bounce_upon_5xx_greeting: true }
    }
}

/// What follows from `failure` for the recipients it concerns.
#[must_use]
pub fn judge(failure: &Failure, context: &Context) -> Verdict {
    let stage = failure.stage;
    match &failure.cause {
        Cause::Reply(reply) => judge_reply(stage, reply, context),
        Cause::Timeout | Cause::Closed | Cause::Io(_) => Verdict::Deferred { blame: blame_of_loss(stage) },
        Cause::Tls(_) | Cause::Protocol(_) | Cause::Dns(_) => Verdict::Deferred { blame: Blame::Site },
        Cause::NoSuchHost(code, _) | Cause::Prohibited(code, _) => {
            Verdict::Bounced { status: permanent(*code), blame: Blame::Recipient }
        }
        // Like a refused log-in: what is amiss is between the two of us, and no message was looked at.
        Cause::Unsupported(..) if is_before_mail(stage) => Verdict::Deferred { blame: Blame::Site },
        Cause::Unsupported(code, _) => Verdict::Bounced { status: permanent(*code), blame: Blame::Message },
    }
}

/// Whether the failure counts against the site's concurrency window: the connection or its handshake failed,
/// so that more of them at once would not do better. A refused recipient or message never does.
#[must_use]
pub fn speaks_of_site(failure: &Failure) -> bool {
    let in_handshake = match failure.stage {
        Stage::Connect | Stage::Greeting | Stage::Ehlo | Stage::StartTls | Stage::Auth => true,
        Stage::Resolve | Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Body | Stage::Dot | Stage::Rset => false,
    };
    match &failure.cause {
        Cause::Reply(reply) if reply.code == 421 => true,
        // The mail is not to go there at all; how much of it at once does not matter.
        Cause::Prohibited(..) => false,
        Cause::Reply(_)
        | Cause::Timeout
        | Cause::Closed
        | Cause::Io(_)
        | Cause::Tls(_)
        | Cause::Protocol(_)
        | Cause::NoSuchHost(..)
        | Cause::Dns(_)
        | Cause::Unsupported(..) => in_handshake,
    }
}

/// The failure as a reply: the peer's own, or one in our words with the status that fits.
#[must_use]
pub fn reply_of(failure: &Failure) -> Reply {
    let words = |code, status| Reply::new(code, status, failure.to_string());
    match &failure.cause {
        Cause::Reply(reply) => reply.clone(),
        Cause::Timeout | Cause::Closed | Cause::Io(_) => {
            let subject = if failure.stage == Stage::Connect { 1 } else { 2 };
            words(451, EnhancedCode(4, 4, subject))
        }
        Cause::Tls(_) => words(454, EnhancedCode(4, 7, 0)),
        Cause::Protocol(_) => words(451, EnhancedCode(4, 5, 0)),
        Cause::Dns(_) => words(451, EnhancedCode(4, 4, 3)),
        Cause::NoSuchHost(code, text) | Cause::Prohibited(code, text) | Cause::Unsupported(code, text) => {
            let number = if *code == EnhancedCode(5, 1, 10) { 556 } else { 554 };
            Reply::new(number, *code, text.clone())
        }
    }
}

fn judge_reply(stage: Stage, reply: &Reply, context: &Context) -> Verdict {
    if reply.code == 421 || !(reply.is_permanent() || reply.is_transient()) || asks_for_our_part(reply) {
        return Verdict::Deferred { blame: Blame::Site };
    }
    let blame = blame_of_reply(stage, reply);
    let is_final = match stage {
        Stage::Resolve | Stage::Connect | Stage::StartTls | Stage::Auth | Stage::Rset => false,
        Stage::Greeting => context.bounce_upon_5xx_greeting,
        Stage::Rcpt => !means_too_many_recipients(reply),
        Stage::Ehlo | Stage::Mail | Stage::Data | Stage::Body | Stage::Dot => true,
    };
    if reply.is_permanent() && is_final {
        let status = permanent(reply.enhanced.unwrap_or(EnhancedCode(5, 0, 0)));
        Verdict::Bounced { status, blame }
    } else {
        Verdict::Deferred { blame }
    }
}

fn blame_of_reply(stage: Stage, reply: &Reply) -> Blame {
    match stage {
        Stage::Resolve
        | Stage::Connect
        | Stage::Greeting
        | Stage::Ehlo
        | Stage::StartTls
        | Stage::Auth
        | Stage::Rset => Blame::Site,
        // RFC 1870: the size is declared at MAIL; RFC 7504: 556 speaks of the recipient's domain.
        Stage::Mail if reply.code == 552 => Blame::Message,
        Stage::Mail | Stage::Rcpt if reply.code == 556 => Blame::Recipient,
        Stage::Mail => Blame::Sender,
        Stage::Rcpt => Blame::Recipient,
        Stage::Data | Stage::Body | Stage::Dot => Blame::Message,
    }
}

fn blame_of_loss(stage: Stage) -> Blame {
    match stage {
        Stage::Resolve
        | Stage::Connect
        | Stage::Greeting
        | Stage::Ehlo
        | Stage::StartTls
        | Stage::Auth
        | Stage::Mail
        | Stage::Rcpt
        | Stage::Data
        | Stage::Rset => Blame::Site,
        Stage::Body | Stage::Dot => Blame::Message,
    }
}

/// Whether a command was refused because our log-in does not hold (RFC 4954 6), or because the session is not
/// encrypted (RFC 3207 4): that is ours and the operator's to mend, while the mail waits.
fn asks_for_our_part(reply: &Reply) -> bool {
    matches!(reply.code, 534 | 535 | 538) || (reply.code == 530 && reply.text.to_ascii_uppercase().contains("STARTTLS"))
}

fn is_before_mail(stage: Stage) -> bool {
    match stage {
        Stage::Resolve | Stage::Connect | Stage::Greeting | Stage::Ehlo | Stage::StartTls | Stage::Auth => true,
        Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Body | Stage::Dot | Stage::Rset => false,
    }
}

/// RFC 5321 4.5.3.1.10: old servers say 552 where they mean 452. A full mailbox (5.2.2) is not that.
fn means_too_many_recipients(reply: &Reply) -> bool {
    reply.code == 552 && matches!(reply.enhanced, None | Some(EnhancedCode(5, 5, 3)))
}

/// The code in class 5, for peers whose enhanced code contradicts their reply code.
fn permanent(code: EnhancedCode) -> EnhancedCode {
    EnhancedCode(5, code.1, code.2)
}

#[cfg(test)]
mod tests;
