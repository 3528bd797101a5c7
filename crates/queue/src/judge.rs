//! What a failure means for a recipient. The whole judgement is in this file.
//!
//! The rules, from RFC 5321 4.2.1 and what the large senders learned:
//! - 4yz and everything that is not a reply is temporary: the mail waits.
//! - 5yz is permanent, except where it speaks of our own setting up of the session (STARTTLS, AUTH, RSET),
//!   or where RFC 5321 4.5.3.1.10 says that 552 to RCPT means "too many recipients".
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
        Cause::Unsupported(code, _) => Verdict::Bounced { status: permanent(*code), blame: Blame::Message },
    }
}

/// Whether the failure counts against the site's concurrency window: the connection or its handshake failed,
/// so that more of them at once would not do better. A refused recipient or message never does.
#[must_use]
pub fn speaks_of_site(failure: &Failure) -> bool {
    let in_handshake = match failure.stage {
        Stage::Connect | Stage::Greeting | Stage::Ehlo | Stage::StartTls => true,
        Stage::Resolve
        | Stage::Auth
        | Stage::Mail
        | Stage::Rcpt
        | Stage::Data
        | Stage::Body
        | Stage::Dot
        | Stage::Rset => false,
    };
    in_handshake || matches!(&failure.cause, Cause::Reply(reply) if reply.code == 421)
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
    if reply.code == 421 || !(reply.is_permanent() || reply.is_transient()) {
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
