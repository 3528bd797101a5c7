//! MAIL FROM.

use super::param::{Params, after_keyword, is_xtext, malformed_param, unknown_param};
use super::path::{self, Path};
use super::refusal::Refusal;
use super::{Answer, AuthPolicy, Event, MailCommand, Phase, Question, Session, SessionConfig, Transaction};

const USAGE: &str = "501 5.5.4 Say MAIL FROM:<user@example.org>";

impl Session {
    pub(super) fn mail(&mut self, args: &str) {
        if self.hello.is_none() {
            return self.bad("503 5.5.1 Say EHLO first");
        }
        if !self.may_send() {
            self.mail_refused = true;
            let words = self.how_to_be_allowed();
            return self.bad(words);
        }
        if self.transaction.is_some() {
            return self.bad("503 5.5.1 A message is already begun; RSET drops it");
        }
        match parse(args, &self.config, self.tls) {
            Ok(mail) => {
                self.mail_refused = false;
                self.event = Some(Event::Mail(mail.clone()));
                self.phase = Phase::Asked(Question::Mail(mail));
            }
            Err(refusal) => {
                self.mail_refused = true;
                self.refuse(&refusal);
            }
        }
    }

    pub(super) fn mail_answered(&mut self, mail: MailCommand, answer: &Answer) {
        if self.say_answer(answer, "250 2.1.0 Sender accepted") {
            self.transaction = Some(Transaction { mail, recipients: Vec::new(), refused_recipient: false });
        } else {
            self.mail_refused = true;
        }
    }

    fn how_to_be_allowed(&self) -> &'static str {
        match (self.offers_auth(), self.offers_starttls(), self.config.auth) {
            (true, _, _) => "530 5.7.0 Authentication required: say AUTH first",
            (false, true, AuthPolicy::UnderTls) => "530 5.7.0 Authentication required: say STARTTLS, then AUTH first",
            (false, _, AuthPolicy::UnderTls | AuthPolicy::Always | AuthPolicy::Never) => {
                "530 5.7.0 Authentication required, and not offered on this port; it serves trusted networks"
            }
        }
    }
}

fn parse(args: &str, config: &SessionConfig, tls: bool) -> Result<MailCommand, Refusal> {
    let path = after_keyword(args, "FROM:").ok_or(Refusal::bad(USAGE))?;
    let (path, rest) = path::parse(path).map_err(|e| Refusal::mild(format!("501 5.1.7 Bad sender address: {e}")))?;
    let reverse_path = match path {
        Path::Null => None,
        Path::Mailbox(address) => Some(address),
        Path::Postmaster => return Err(Refusal::mild("501 5.1.7 Bad sender address: the address has no domain")),
    };
    let mut reader = Reader { config, tls, seen: 0, mail: MailCommand { reverse_path, ..MailCommand::default() } };
    let params = Params::new(rest).ok_or(Refusal::bad("501 5.5.4 A blank must follow the address"))?;
    for param in params {
        let (keyword, value) = param.map_err(malformed_param)?;
        reader.param(keyword, value)?;
    }
    let mail = reader.mail;
    if !mail.smtputf8 && mail.reverse_path.as_ref().is_some_and(|address| !address.is_ascii()) {
        return Err(Refusal::mild("553 5.6.7 An address beyond ASCII needs the parameter SMTPUTF8"));
    }
    Ok(mail)
}

struct Reader<'a> {
    config: &'a SessionConfig,
    tls: bool,
    seen: u8,
    mail: MailCommand,
}

impl Reader<'_> {
    fn param(&mut self, keyword: &str, value: Option<&str>) -> Result<(), Refusal> {
        let dsn = self.config.dsn;
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        match value {
            Some(value) if is("SIZE") => self.once(0, keyword).and_then(|()| self.size(value)),
            Some(value) if is("BODY") => self.body(value),
            // Said again by clients that add what their user gave already.
            None if is("SMTPUTF8") => {
                self.mail.smtputf8 = true;
                Ok(())
            }
            Some(value) if is("AUTH") && self.config.auth != AuthPolicy::Never => {
                // Who wrote it first is not passed on, as RFC 4954 5 allows towards untrusted servers.
                self.once(3, keyword).and_then(|()| valid(value == "<>" || is_xtext(value), keyword))
            }
            Some(value) if is("RET") && dsn => self.once(4, keyword).and_then(|()| self.ret(value)),
            Some(value) if is("ENVID") && dsn => {
                self.once(5, keyword)?;
                self.mail.envid = Some(value.into());
                valid(value.len() <= 100 && value.is_ascii() && is_xtext(value), keyword)
            }
            None if is("REQUIRETLS") && self.config.require_tls && self.tls => {
                self.once(6, keyword).map(|()| self.mail.require_tls = true)
            }
            _ if is("SIZE") || is("BODY") || is("SMTPUTF8") => valid(false, keyword),
            _ => Err(unknown_param(keyword)),
        }
    }

    fn once(&mut self, bit: u8, keyword: &str) -> Result<(), Refusal> {
        if self.seen & 1 << bit != 0 {
            return Err(Refusal::bad(format!("501 5.5.4 Parameter {keyword} is given twice")));
        }
        self.seen |= 1 << bit;
        Ok(())
    }

    fn size(&mut self, value: &str) -> Result<(), Refusal> {
        valid(value.len() <= 20 && value.bytes().all(|b| b.is_ascii_digit()), "SIZE")?;
        let size = value.parse().unwrap_or(u64::MAX);
        let limit = self.config.limits.max_message_size;
        if size > limit {
            return Err(Refusal::mild(format!("552 5.3.4 The message is over the limit of {limit} octets")));
        }
        self.mail.size = Some(size);
        Ok(())
    }

    /// The same again changes nothing; clients add it to what their user gave already.
    fn body(&mut self, value: &str) -> Result<(), Refusal> {
        let eight_bit = value.eq_ignore_ascii_case("8BITMIME");
        if value.eq_ignore_ascii_case("BINARYMIME") {
            return Err(Refusal::bad("555 5.5.4 BODY=BINARYMIME is not offered; 7BIT and 8BITMIME are"));
        }
        if !eight_bit && !value.eq_ignore_ascii_case("7BIT") {
            return Err(Refusal::bad("501 5.5.4 BODY is 7BIT or 8BITMIME"));
        }
        if self.seen & 1 << 1 == 0 || self.mail.body_8bit != eight_bit {
            self.once(1, "BODY")?;
        }
        self.mail.body_8bit = eight_bit;
        Ok(())
    }

    fn ret(&mut self, value: &str) -> Result<(), Refusal> {
        let word = ["FULL", "HDRS"].into_iter().find(|word| word.eq_ignore_ascii_case(value));
        self.mail.ret = word.map(Into::into);
        valid(word.is_some(), "RET")
    }
}

fn valid(fine: bool, keyword: &str) -> Result<(), Refusal> {
    if fine { Ok(()) } else { Err(Refusal::bad(format!("501 5.5.4 Parameter {keyword} has no valid value"))) }
}
