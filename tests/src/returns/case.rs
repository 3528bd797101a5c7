//! A scenario: a letter, whom it meets, and what must become of it.

use serde_json::Value;

use super::world::World;

/// One scenario. Its name is the name of its peer, of its recipients' domain and of its sender's mailbox too.
pub struct Case {
    /// What it is about: a heading of the table.
    pub group: &'static str,
    /// Lower case letters, digits and hyphens; no two alike.
    pub name: &'static str,
    /// Whom the recipients' domain leads to.
    pub peer: Peer,
    /// Who sends.
    pub sender: Sender,
    /// By which account.
    pub account: Account,
    /// Recipients at the domain, and what must become of each.
    pub to: Vec<To>,
    /// What is sent.
    pub letter: Letter,
    /// Whether it must come under TLS, or must not.
    pub tls: Option<bool>,
    /// Reports in the sender's mailbox in the end.
    pub reports: usize,
    /// More to do or to look at once the letter's fate is known; its result is added to what was seen.
    pub then: Option<Then>,
}

/// A look at the world in the end.
pub type Then = fn(&World, &Case) -> anyhow::Result<String>;

/// A recipient.
#[derive(Clone, Debug)]
pub struct To {
    /// The part before the `@`.
    pub local: &'static str,
    /// What must become of it.
    pub expect: Expect,
}

/// What must become of a recipient.
#[derive(Clone, Debug)]
pub enum Expect {
    /// It is in the mailbox of the peer, once.
    Delivered,
    /// It is in the mailbox of this host of the zones, once.
    DeliveredAt(&'static str),
    /// It waits, and `queue show` tells a reason with these words; then the peer is well again and takes it.
    Deferred(Words),
    /// It waits for an hour, and `queue show` tells a reason with these words; `queue retry` has it delivered.
    Retried(Words),
    /// It waits, and `queue show` tells a reason with these words, until it is given up: a report with
    /// status 5.4.7 and the same words.
    Expired(Words),
    /// A report with this status, and these words in its diagnostic code.
    Returned(&'static str, Words),
    /// It ends without a report; `queue show` has these words.
    Dropped(Words),
}

/// Words that must all be there, in any case.
pub type Words = &'static [&'static str];

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Somebody with a mailbox of their own.
    Reachable,
    /// Likewise, at an address that is not ASCII.
    Utf8,
    /// Nobody: a report.
    Null,
    /// Somebody at a domain that refuses all mail.
    Deaf,
    /// Somebody whom their own server does not know.
    Unknown,
}

/// An account and its word for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Reports with the header section.
    Headers,
    /// Reports with the whole message.
    Full,
    /// No reports.
    Off,
}

impl Account {
    /// All.
    pub const ALL: [Self; 3] = [Self::Headers, Self::Full, Self::Off];

    /// Its id.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Headers => crate::sluice::TRUSTED_ACCOUNT,
            Self::Full => "whole",
            Self::Off => "silent",
        }
    }
}

/// Whom the domain leads to.
pub enum Peer {
    /// The hosts that the DNS names for this domain.
    Zone(&'static str),
    /// A server on aiosmtpd that behaves so, and more lines for its route.
    Aiosmtpd(Value, String),
    /// A server on aiosmtpd with this certificate; the route has this word for `tls`.
    Starttls(Shown, &'static str),
    /// smtp-sink with these options.
    SmtpSink(&'static [&'static str]),
    /// A good server behind toxiproxy, with these toxics.
    Toxiproxy(Vec<Toxic>),
    /// A Postfix that knows `known` only.
    Postfix,
    /// A Postfix that wants a log-in, which has this password, and passes mail on to a good server.
    SmartHost(&'static str),
    /// Nobody listens.
    Nobody,
}

impl Peer {
    /// A word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Zone(_) => "a host of the zones",
            Self::Aiosmtpd(..) | Self::Starttls(..) => "aiosmtpd",
            Self::SmtpSink(_) => "smtp-sink",
            Self::Toxiproxy(_) => "toxiproxy",
            Self::Postfix => "Postfix",
            Self::SmartHost(_) => "a smart host",
            Self::Nobody => "nobody",
        }
    }
}

/// A toxic of toxiproxy: kind, direction, attributes.
pub type Toxic = (&'static str, &'static str, Value);

/// What a server shows in its TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A certificate for its address, by the authority that is trusted.
    Good,
    /// One that ended years ago.
    Expired,
    /// One for somebody else's name.
    WrongName,
    /// One by nobody that is trusted.
    SelfSigned,
    /// A version of TLS that is not spoken any more: the handshake fails.
    OldVersion,
    /// Something that is no TLS.
    Junk,
    /// It closes instead of shaking hands.
    Close,
    /// It does not offer STARTTLS.
    Nothing,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// A few lines of ASCII.
    Small,
    /// So many octets of ASCII.
    Large(usize),
    /// 8-bit text.
    EightBit,
    /// 8-bit text in the header section, which needs SMTPUTF8.
    Utf8,
}

impl Case {
    /// A small letter from a reachable sender to one recipient, `bob`.
    #[must_use]
    pub fn new(group: &'static str, name: &'static str, peer: Peer, expect: Expect) -> Self {
        let to = vec![To { local: "bob", expect }];
        let (sender, account, letter) = (Sender::Reachable, Account::Headers, Letter::Small);
        Self { group, name, peer, sender, account, to, letter, tls: None, reports: 0, then: None }.counted()
    }

    /// With these recipients instead, and so many reports.
    #[must_use]
    pub fn to(mut self, to: &[(&'static str, Expect)], reports: usize) -> Self {
        self.to = to.iter().map(|(local, expect)| To { local, expect: expect.clone() }).collect();
        self.reports = reports;
        self
    }

    /// From this sender.
    #[must_use]
    pub fn from(mut self, sender: Sender) -> Self {
        self.sender = sender;
        self.counted()
    }

    /// By this account.
    #[must_use]
    pub fn by(mut self, account: Account) -> Self {
        self.account = account;
        self.counted()
    }

    /// With this letter.
    #[must_use]
    pub fn letter(mut self, letter: Letter) -> Self {
        self.letter = letter;
        self
    }

    /// It must come under TLS, or must not.
    #[must_use]
    pub fn under_tls(mut self, tls: bool) -> Self {
        self.tls = Some(tls);
        self
    }

    /// With this look in the end.
    #[must_use]
    pub fn then(mut self, then: Then) -> Self {
        self.then = Some(then);
        self
    }

    /// One report for all that fails, if the sender can have it.
    fn counted(mut self) -> Self {
        let fails = self.to.iter().any(|to| matches!(to.expect, Expect::Expired(..) | Expect::Returned(..)));
        self.reports = usize::from(fails && self.can_be_told());
        self
    }

    /// Whether the sender gets reports.
    #[must_use]
    pub fn can_be_told(&self) -> bool {
        let reachable = match self.sender {
            Sender::Reachable | Sender::Utf8 => true,
            Sender::Null | Sender::Deaf | Sender::Unknown => false,
        };
        reachable && self.account != Account::Off
    }

    /// The recipients' domain.
    #[must_use]
    pub fn domain(&self) -> String {
        if let Peer::Zone(domain) = self.peer { domain.to_owned() } else { format!("{}.test", self.name) }
    }

    /// A recipient's address.
    #[must_use]
    pub fn address(&self, to: &To) -> String {
        format!("{}@{}", to.local, self.domain())
    }

    /// The reverse-path.
    #[must_use]
    pub fn reverse_path(&self) -> String {
        match self.sender {
            Sender::Reachable | Sender::Utf8 => self.mailbox(),
            Sender::Null => String::new(),
            Sender::Deaf => format!("{}@deaf.test", self.name),
            Sender::Unknown => format!("unknown-{}@ledger.test", self.name),
        }
    }

    /// The sender's mailbox.
    #[must_use]
    pub fn mailbox(&self) -> String {
        let name = self.name;
        if self.sender == Sender::Utf8 { format!("j\u{fc}rgen-{name}@{HOME}") } else { format!("{name}@{HOME}") }
    }

    /// What is expected, in a few words.
    #[must_use]
    pub fn expected(&self) -> String {
        let one = |to: &To| match &to.expect {
            Expect::Delivered => "delivered".to_owned(),
            Expect::DeliveredAt(host) => format!("delivered at {host}"),
            Expect::Deferred(words) => format!("deferred ({}), then delivered", words.join(", ")),
            Expect::Retried(words) => format!("deferred ({}), delivered after `queue retry`", words.join(", ")),
            Expect::Expired(words) => format!("deferred ({}), then returned 5.4.7", words.join(", ")),
            Expect::Returned(status, words) => format!("returned {status} ({})", words.join(", ")),
            Expect::Dropped(words) => format!("dropped ({}), no report", words.join(", ")),
        };
        match self.to.as_slice() {
            [to] => one(to),
            many => many.iter().map(|to| format!("{}: {}", to.local, one(to))).collect::<Vec<_>>().join("; "),
        }
    }

    /// The letter for its recipients, lines with CRLF; it begins with the header section, which has `X-Case`.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        let (name, from) = (self.name, self.reverse_path());
        let from = if from.is_empty() { format!("mailer-daemon@{HOME}") } else { from };
        let subject = if self.letter == Letter::Utf8 { "Grüße" } else { "Greetings" };
        let mut text = format!(
            "From: <{from}>\r\nTo: undisclosed-recipients:;\r\nSubject: {subject}\r\n\
             Date: Mon, 23 Nov 2026 23:30:00 +0000\r\nMessage-ID: <{name}@{HOME}>\r\nX-Case: {name}\r\n\r\n"
        );
        match self.letter {
            Letter::Small => text.push_str("A letter.\r\n.\r\n..\r\nIts end.\r\n"),
            Letter::Large(octets) => text.push_str(&line_of(78).repeat(octets / 80)),
            Letter::EightBit | Letter::Utf8 => text.push_str("Schöne Grüße\r\n"),
        }
        text.into_bytes()
    }
}

fn line_of(length: usize) -> String {
    "0123456789".repeat(length.div_ceil(10)).split_off(length.div_ceil(10) * 10 - length) + "\r\n"
}

/// The senders' domain.
pub const HOME: &str = crate::sluice::TRUSTED_DOMAIN;
