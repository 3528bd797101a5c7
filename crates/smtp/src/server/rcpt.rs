//! RCPT TO.

use sluice_mail::Address;

use super::param::{Params, after_keyword, is_xtext, malformed_param, unknown_param};
use super::path::{self, Path};
use super::refusal::Refusal;
use super::{Answer, Event, Phase, Question, RcptCommand, Session, SessionConfig};

const USAGE: &str = "501 5.5.4 Say RCPT TO:<user@example.org>";

impl Session {
    pub(super) fn rcpt(&mut self, args: &str) {
        let Some(transaction) = &self.transaction else {
            return self.out_of_order("503 5.5.1 Say MAIL first");
        };
        let (taken, smtputf8) = (transaction.recipients.len(), transaction.mail.smtputf8);
        match parse(args, &self.config, smtputf8) {
            Ok(_) if taken >= self.config.limits.max_recipients => {
                self.recipient_refused();
                self.out.line("452 4.5.3 Too many recipients; send this message to the others afterwards");
            }
            Ok(rcpt) => {
                self.event = Some(Event::Recipient(rcpt.clone()));
                self.phase = Phase::Asked(Question::Recipient(rcpt));
            }
            Err(refusal) => {
                self.recipient_refused();
                self.refuse(&refusal);
            }
        }
    }

    pub(super) fn rcpt_answered(&mut self, rcpt: RcptCommand, answer: &Answer) {
        if !self.say_answer(answer, "250 2.1.5 Recipient accepted") {
            return self.recipient_refused();
        }
        self.counts.commands = self.counts.commands.saturating_sub(1);
        if let Some(transaction) = &mut self.transaction {
            transaction.recipients.push(rcpt);
        }
    }

    fn recipient_refused(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.refused_recipient = true;
        }
    }
}

fn parse(args: &str, config: &SessionConfig, smtputf8: bool) -> Result<RcptCommand, Refusal> {
    let path = after_keyword(args, "TO:").ok_or(Refusal::bad(USAGE))?;
    let (path, rest) = path::parse(path).map_err(|e| bad_address(&e.to_string()))?;
    let address = match path {
        Path::Null => return Err(bad_address("it is empty")),
        Path::Mailbox(address) => address,
        Path::Postmaster => Address::parse(&format!("postmaster@{}", config.hostname))
            .map_err(|_| bad_address("this server's name is no domain; say which domain's postmaster"))?,
    };
    let mut rcpt = RcptCommand { address, notify: None, orcpt: None };
    let params = Params::new(rest).ok_or(Refusal::bad("501 5.5.4 A blank must follow the address"))?;
    for param in params {
        let (keyword, value) = param.map_err(malformed_param)?;
        read_param(&mut rcpt, config, keyword, value)?;
    }
    if !smtputf8 && !rcpt.address.is_ascii() {
        return Err(Refusal::mild("553 5.6.7 An address beyond ASCII needs the parameter SMTPUTF8 in MAIL"));
    }
    Ok(rcpt)
}

fn bad_address(why: &str) -> Refusal {
    Refusal::mild(format!("501 5.1.3 Bad recipient address: {why}"))
}

fn read_param(rcpt: &mut RcptCommand, config: &SessionConfig, key: &str, value: Option<&str>) -> Result<(), Refusal> {
    let known = |name: &str| config.dsn && key.eq_ignore_ascii_case(name);
    let (place, valid, text) = match value {
        Some(value) if known("NOTIFY") => (&mut rcpt.notify, is_notify(value), value.to_ascii_uppercase()),
        Some(value) if known("ORCPT") => (&mut rcpt.orcpt, is_orcpt(value), value.to_owned()),
        Some(_) | None => return Err(unknown_param(key)),
    };
    if !valid {
        return Err(Refusal::bad(format!("501 5.5.4 Parameter {key} has no valid value")));
    }
    match place.replace(text.into()) {
        None => Ok(()),
        Some(_) => Err(Refusal::bad(format!("501 5.5.4 Parameter {key} is given twice"))),
    }
}

/// `NEVER`, or one or more of the three others, each once.
fn is_notify(value: &str) -> bool {
    const WORDS: [&str; 3] = ["SUCCESS", "FAILURE", "DELAY"];
    let mut seen = [false; 3];
    let once = |word: &str| match WORDS.iter().position(|known| known.eq_ignore_ascii_case(word)) {
        Some(i) => !std::mem::replace(&mut seen[i], true),
        None => false,
    };
    value.eq_ignore_ascii_case("NEVER") || value.split(',').all(once)
}

/// `rfc822;` or another type of address, and the address as xtext.
fn is_orcpt(value: &str) -> bool {
    let is_type = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    value.len() <= 500 && value.split_once(';').is_some_and(|(kind, address)| is_type(kind) && is_xtext(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dsn_parameters_are_checked() {
        for (value, expect) in [
            ("NEVER", true),
            ("success,FAILURE,delay", true),
            ("DELAY", true),
            ("NEVER,DELAY", false),
            ("DELAY,DELAY", false),
            ("", false),
            ("DELAY,", false),
            ("ALWAYS", false),
        ] {
            assert_eq!(is_notify(value), expect, "NOTIFY={value}");
        }
        for (value, expect) in [
            ("rfc822;a+2Bb@example.org", true),
            ("utf-8;ü@example.org", true),
            ("a@example.org", false),
            (";a", false),
            ("rfc822;", false),
            ("rfc822;a+2", false),
        ] {
            assert_eq!(is_orcpt(value), expect, "ORCPT={value}");
        }
    }
}
