//! The verbs, and which of our functions serves each.

use std::time::Instant;

use super::{CloseReason, Session};

/// Commands of a client that has no right to send yet, so that a stranger cannot keep a session for weeks by saying
/// NOOP now and then.
const MAX_COMMANDS_BEFORE_AUTH: u32 = 100;

/// What a command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Ehlo,
    Helo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Rset,
    Noop,
    Quit,
    Vrfy,
    Expn,
    Help,
    /// Known to SMTP, not to us.
    Unimplemented,
    /// The verb of another protocol, of which a browser or a proxy could be made to speak to us.
    Foreign,
    Unknown,
}

impl Verb {
    fn parse(word: &str) -> Self {
        let mut upper = [0; 8];
        let Some(upper) = upper.get_mut(..word.len()) else {
            return Self::Unknown;
        };
        upper.copy_from_slice(word.as_bytes());
        upper.make_ascii_uppercase();
        match &*upper {
            b"EHLO" => Self::Ehlo,
            b"HELO" => Self::Helo,
            b"STARTTLS" => Self::StartTls,
            b"AUTH" => Self::Auth,
            b"MAIL" => Self::Mail,
            b"RCPT" => Self::Rcpt,
            b"DATA" => Self::Data,
            b"RSET" => Self::Rset,
            b"NOOP" => Self::Noop,
            b"QUIT" => Self::Quit,
            b"VRFY" => Self::Vrfy,
            b"EXPN" => Self::Expn,
            b"HELP" => Self::Help,
            b"BDAT" | b"ETRN" | b"ATRN" | b"TURN" | b"SEND" | b"SOML" | b"SAML" | b"BURL" => Self::Unimplemented,
            b"GET" | b"POST" | b"PUT" | b"HEAD" | b"CONNECT" | b"OPTIONS" => Self::Foreign,
            _ => Self::Unknown,
        }
    }
}

impl Session {
    /// Serves one command line.
    pub(super) fn command(&mut self, now: Instant, line: &str) {
        let (word, args) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let (verb, args) = (Verb::parse(word), args.trim_start_matches([' ', '\t']));
        self.counts.commands = self.counts.commands.saturating_add(1);
        if self.counts.commands > self.max_commands() && verb != Verb::Quit {
            return self.give_up("4.7.0", "Too many commands without a message", CloseReason::Commands);
        }
        match verb {
            Verb::Ehlo => self.ehlo(args),
            Verb::Helo => self.helo(args),
            Verb::StartTls => self.starttls(args),
            Verb::Auth => self.auth(args),
            Verb::Mail => self.mail(args),
            Verb::Rcpt => self.rcpt(args),
            Verb::Data => self.data(now, args),
            Verb::Rset => self.rset(args),
            Verb::Noop => self.noop(),
            Verb::Quit => self.quit(args),
            Verb::Vrfy => self.vrfy(args),
            Verb::Expn => self.expn(),
            Verb::Help => self.help(),
            Verb::Unimplemented => self.bad("502 5.5.1 This command is not implemented"),
            Verb::Foreign => self.give_up("4.7.0", "This port speaks SMTP only", CloseReason::NotSmtp),
            Verb::Unknown => self.bad("500 5.5.1 Unknown command; HELP lists the known ones"),
        }
    }

    fn max_commands(&self) -> u32 {
        let most = self.config.limits.max_commands;
        if self.may_send() { most } else { most.min(MAX_COMMANDS_BEFORE_AUTH) }
    }
}
