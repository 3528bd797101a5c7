//! A conversation as text. Lines by their first letters:
//!
//! - `S:` the peer sends this line with CRLF; lines that follow each other arrive in one piece, then cut everywhere;
//! - `S!` the same without a line end; `\n`, `\r`, `\0` are read;
//! - `C:` what the client sent since the last `S` or `X`, all of it; `<content N>` is the content of transaction N;
//! - `E:` what the client told since then, all of it;
//! - `X:` the shell acts: see [`Run::act`].

use std::time::{Duration, Instant};

use sluice_mail::{Address, BodyFlags};

use super::super::{ClientConfig, Event, Output, Session, TlsMode, Transaction, TransactionId};

/// A transaction from `a@b.org` to those recipients.
pub(super) fn to(recipients: &[&str]) -> Transaction {
    Transaction {
        mail_from: Some(Address::parse("a@b.org").unwrap()),
        recipients: recipients.iter().map(|r| Address::parse(r).unwrap()).collect(),
        size: 1000,
        flags: BodyFlags::default(),
    }
}

/// Plays `script` once for every way to cut the peer's octets in two, and octet by octet.
pub(super) fn check(transactions: &[Transaction], script: &str) {
    check_with(ClientConfig { tls: TlsMode::Off, ..ClientConfig::new("us.example") }, transactions, script);
}

/// [`check`] with another configuration.
pub(super) fn check_with(config: ClientConfig, transactions: &[Transaction], script: &str) {
    let steps = parse(script);
    let total: usize = steps.iter().map(|step| if let Step::Peer(bytes) = step { bytes.len() } else { 0 }).sum();
    for cut in (0..=total).map(Cut::At).chain([Cut::Everywhere]) {
        Run::new(config.clone(), transactions).play(&steps, cut);
    }
}

#[derive(Debug)]
enum Step {
    Peer(String),
    Act(String),
    Expect { sent: Vec<String>, told: Vec<String> },
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    At(usize),
    Everywhere,
}

fn parse(script: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (kind, text) = (&line[..2], line[2..].strip_prefix(' ').unwrap_or(&line[2..]));
        if matches!(kind, "C:" | "E:") && !matches!(steps.last(), Some(Step::Expect { .. })) {
            steps.push(Step::Expect { sent: Vec::new(), told: Vec::new() });
        }
        let bytes = match kind {
            "S:" => format!("{text}\r\n"),
            _ => text.replace("\\n", "\n").replace("\\r", "\r").replace("\\0", "\0"),
        };
        match (kind, steps.last_mut()) {
            ("S:" | "S!", Some(Step::Peer(block))) => block.push_str(&bytes),
            ("S:" | "S!", _) => {
                // What was expected before the peer spoke is all that was sent and told.
                if !matches!(steps.last(), Some(Step::Expect { .. }) | None) {
                    steps.push(Step::Expect { sent: Vec::new(), told: Vec::new() });
                }
                steps.push(Step::Peer(bytes));
            }
            ("C:", Some(Step::Expect { sent, .. })) => sent.push(text.to_owned()),
            ("E:", Some(Step::Expect { told, .. })) => told.push(text.to_owned()),
            ("X:", _) => steps.push(Step::Act(text.to_owned())),
            _ => panic!("{line:?}"),
        }
    }
    if !matches!(steps.last(), Some(Step::Expect { .. })) {
        steps.push(Step::Expect { sent: Vec::new(), told: Vec::new() });
    }
    steps
}

struct Run {
    session: Session,
    now: Instant,
    queue: Vec<Transaction>,
    begun: Vec<TransactionId>,
    /// The gate opens by itself.
    auto_release: bool,
    /// Writing of content ends by itself.
    auto_sent: bool,
    sent: Vec<String>,
    told: Vec<String>,
}

impl Run {
    #[expect(clippy::disallowed_methods, reason = "where the test's time begins")]
    fn new(config: ClientConfig, transactions: &[Transaction]) -> Self {
        let now = Instant::now();
        let queue = transactions.iter().rev().cloned().collect();
        let session = Session::new(config, now);
        let (sent, told) = (Vec::new(), Vec::new());
        Self { session, now, queue, begun: Vec::new(), auto_release: true, auto_sent: true, sent, told }
    }

    fn play(mut self, steps: &[Step], cut: Cut) {
        let mut seen = 0;
        self.begin_what_fits();
        for (i, step) in steps.iter().enumerate() {
            match step {
                Step::Act(act) => self.act(act),
                Step::Expect { sent, told } => {
                    let (was_sent, was_told) = (std::mem::take(&mut self.sent), std::mem::take(&mut self.told));
                    assert_eq!((&was_sent, &was_told), (sent, told), "cut {cut:?}, step {i} of {steps:#?}");
                }
                Step::Peer(text) => {
                    let bytes = text.as_bytes();
                    let pieces: Vec<&[u8]> = match cut {
                        Cut::Everywhere => bytes.chunks(1).collect(),
                        Cut::At(at) if (seen..seen + bytes.len()).contains(&at) => {
                            let (a, b) = bytes.split_at(at - seen);
                            vec![a, b]
                        }
                        Cut::At(_) => vec![bytes],
                    };
                    seen += bytes.len();
                    for piece in pieces {
                        self.session.handle_input(self.now, piece);
                        self.pump();
                    }
                }
            }
        }
    }

    /// `close`, `io WORDS`, `quit`, `tls ok`, `tls WORDS`, `hold` (the gate), `stall` (the writing), `release N`,
    /// `progress`, `sent`, `wait SECONDS` (then the time-out is looked at), `timeout in SECONDS` (checks it),
    /// `no timeout`, `cannot begin`.
    fn act(&mut self, act: &str) {
        let (verb, rest) = act.split_once(' ').unwrap_or((act, ""));
        let now = self.now;
        match verb {
            "close" => self.session.handle_closed(now),
            "io" => self.session.handle_io_error(now, rest),
            "quit" => self.session.quit(now),
            "tls" if rest == "ok" => self.session.handle_tls(now, Ok(())),
            "tls" => self.session.handle_tls(now, Err(rest.to_owned())),
            "hold" => self.auto_release = false,
            "stall" => self.auto_sent = false,
            "release" => self.session.release_content(now, self.begun[rest.parse::<usize>().unwrap()]),
            "progress" => self.session.handle_progress(now),
            "sent" => self.session.handle_content_sent(now),
            "wait" => {
                self.now += Duration::from_secs(rest.parse().unwrap());
                self.session.handle_timeout(self.now);
            }
            "timeout" => {
                let after = self.session.poll_timeout().unwrap().duration_since(now).as_secs();
                assert_eq!(format!("in {after}"), rest);
            }
            "no" => assert_eq!(self.session.poll_timeout(), None),
            "cannot" => assert!(!self.session.can_begin() && self.session.begin(now, to(&["x@y.org"])).is_err()),
            _ => panic!("{act:?}"),
        }
        self.pump();
    }

    fn begin_what_fits(&mut self) {
        while self.session.can_begin() {
            let Some(transaction) = self.queue.pop() else { return };
            let id = self.session.begin(self.now, transaction).unwrap();
            if self.auto_release {
                self.session.release_content(self.now, id);
            }
            self.begun.push(id);
        }
    }

    fn pump(&mut self) {
        loop {
            while let Some(event) = self.session.poll_event() {
                let told = self.tell(&event);
                self.told.push(told);
            }
            self.begin_what_fits();
            match self.session.poll_output() {
                None if self.session.poll_event().is_none() => return,
                None => panic!("an event came of polling"),
                Some(Output::Bytes(bytes)) => self.note_bytes(&bytes),
                Some(Output::Content(id)) => {
                    let line = format!("<content {}>", self.number(id));
                    self.sent.push(line);
                    if self.auto_sent {
                        if let Some(trailer) = self.session.poll_trailer(self.now) {
                            self.note_bytes(&trailer);
                        }
                        self.session.handle_content_sent(self.now);
                    }
                }
            }
        }
    }

    fn note_bytes(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap().strip_suffix("\r\n").expect("whole lines");
        self.sent.extend(text.split("\r\n").map(str::to_owned));
    }

    fn number(&self, id: TransactionId) -> usize {
        self.begun.iter().position(|begun| *begun == id).unwrap()
    }

    fn tell(&self, event: &Event) -> String {
        match event {
            Event::Ready(_) => "ready".into(),
            Event::StartTls => "starttls".into(),
            Event::Closed(None) => "closed".into(),
            Event::Closed(Some(failure)) => format!("closed: {failure}"),
            Event::Done(result) => {
                let words = result.results.iter().map(|result| match result {
                    Ok(reply) => format!("ok {reply}"),
                    Err(failure) => failure.to_string(),
                });
                let words = words.collect::<Vec<_>>().join(" | ");
                let unanswered = if result.answered { "" } else { " (unanswered)" };
                format!("done {}: {words}{unanswered}", self.number(result.id)).trim_end().to_owned()
            }
        }
    }
}
