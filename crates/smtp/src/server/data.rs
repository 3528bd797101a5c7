//! DATA, the content, and what the host says to the whole message.

use std::time::Instant;

use bytes::BytesMut;
use sluice_mail::{EnhancedCode, Reply};

use super::{Answer, CloseReason, Event, Hello, Phase, Question, Session, Submission, Transaction};
use crate::content::{Defect, Progress, Receiver};

/// Content on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    receiver: Receiver,
    /// The host's words when it refused the rest.
    refusal: Option<Reply>,
    /// When all of it must be here.
    pub(super) deadline: Option<Instant>,
}

impl Session {
    pub(super) fn data(&mut self, now: Instant, args: &str) {
        let Some(transaction) = &self.transaction else {
            return self.out_of_order("503 5.5.1 Say MAIL first");
        };
        if !args.is_empty() {
            return self.bad("501 5.5.4 DATA takes no argument");
        }
        if transaction.recipients.is_empty() {
            return if transaction.refused_recipient {
                self.out.line("554 5.5.1 No valid recipients");
            } else {
                self.bad("503 5.5.1 Say RCPT first");
            };
        }
        let limits = &self.config.limits;
        self.incoming = Some(Incoming {
            receiver: Receiver::new(limits.max_message_size, transaction.mail.size),
            refusal: None,
            deadline: now.checked_add(limits.content_timeout),
        });
        self.phase = Phase::Content;
        self.out.line("354 Send the message; end it with <CRLF>.<CRLF>");
    }

    /// Takes content; whether there may be more to take from the input.
    pub(super) fn take_content(&mut self, input: &mut BytesMut) -> bool {
        if input.is_empty() {
            return false;
        }
        let progress = self.incoming.as_mut().map_or(Progress::Endless, |incoming| incoming.receiver.push(input));
        match progress {
            Progress::More => {}
            Progress::Ended => self.content_ended(),
            Progress::Endless => {
                self.content_ended();
                self.close(CloseReason::EndlessContent);
            }
        }
        true
    }

    /// As [`Session::refuse_content`].
    pub(super) fn refuse_incoming(&mut self, reply: Reply) {
        if let Some(incoming) = &mut self.incoming {
            incoming.receiver.refuse();
            incoming.refusal.get_or_insert(reply);
        }
    }

    pub(super) fn incoming_octets(&self) -> usize {
        self.incoming.as_ref().map_or(0, |incoming| incoming.receiver.buffered())
    }

    fn content_ended(&mut self) {
        self.phase = Phase::Command;
        let (Some(incoming), Some(transaction)) = (self.incoming.take(), self.transaction.take()) else {
            return;
        };
        match incoming.receiver.finish() {
            Ok(content) => {
                let (hello, protocol) = self.with_protocol(transaction.mail.smtputf8);
                let Transaction { mail, recipients, refused_recipient: _ } = transaction;
                let submission = Submission { mail, recipients, content, hello, protocol };
                self.event = Some(Event::Message(Box::new(submission)));
                self.phase = Phase::Asked(Question::Message);
            }
            Err(defect) => {
                let reply = incoming.refusal.unwrap_or_else(|| self.describe(defect));
                self.out.reply(&reply);
                self.event = Some(Event::ContentRefused(reply));
                self.at_boundary();
            }
        }
    }

    pub(super) fn message_answered(&mut self, answer: &Answer) {
        if self.say_answer(answer, "250 2.0.0 Message accepted") {
            self.counts.commands = 0;
            self.counts.bad = 0;
        }
    }

    fn describe(&self, defect: Defect) -> Reply {
        let malformed = EnhancedCode(5, 6, 0);
        match defect {
            Defect::BareCr(line) => {
                Reply::new(554, malformed, format!("Refused for a bare CR in line {line}; lines end with CRLF"))
            }
            Defect::BareLf(line) => {
                Reply::new(554, malformed, format!("Refused for a bare LF in line {line}; lines end with CRLF"))
            }
            Defect::TooLarge => {
                let limit = self.config.limits.max_message_size;
                Reply::new(552, EnhancedCode(5, 3, 4), format!("The message is over the limit of {limit} octets"))
            }
            Defect::Refused => Reply::new(451, EnhancedCode(4, 3, 0), "The message was not taken; try again later"),
        }
    }

    fn with_protocol(&self, smtputf8: bool) -> (std::sync::Arc<str>, &'static str) {
        let Some(Hello { name, extended }) = &self.hello else {
            return ("".into(), "SMTP");
        };
        let protocol = match (extended, smtputf8, self.tls, self.logged_in) {
            (false, false, _, _) => "SMTP",
            (true, false, false, false) => "ESMTP",
            (true, false, false, true) => "ESMTPA",
            (true, false, true, false) => "ESMTPS",
            (true, false, true, true) => "ESMTPSA",
            (_, true, false, false) => "UTF8SMTP",
            (_, true, false, true) => "UTF8SMTPA",
            (_, true, true, false) => "UTF8SMTPS",
            (_, true, true, true) => "UTF8SMTPSA",
        };
        (name.clone(), protocol)
    }
}
