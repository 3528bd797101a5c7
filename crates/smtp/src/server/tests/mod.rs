//! Conversations. `C:` a line of the client, `C|` the same without CRLF, `S:` a reply line, `E:` an event as the host
//! sees it; `\r`, `\n`, `\t`, `\0` and `\xNN` stand for octets. `--` ends what the client may send at once. Each
//! conversation is held step by step, and again with every flight split at every offset, and octet by octet: what is
//! said must not depend on it.

mod auth;
mod content;
mod envelope;
mod limits;
mod properties;
mod sequence;

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use sluice_mail::{EnhancedCode, Reply};

use super::*;

/// A host that knows the login `user` with `pass`, refuses MAIL from `refused@…` and RCPT to `bad@…`, answers 421 to
/// `gone@…`, and takes every message but one whose content has the word `REFUSE`.
pub(super) struct Host {
    pub(super) session: Session,
    input: BytesMut,
    pub(super) now: Instant,
    pub(super) log: Vec<String>,
    pub(super) messages: Vec<Submission>,
}

impl Host {
    pub(super) fn new(config: &SessionConfig) -> Self {
        let now = base();
        let session = Session::new(Arc::new(config.clone()), now);
        let mut host = Self { session, input: BytesMut::new(), now, log: Vec::new(), messages: Vec::new() };
        host.flush();
        host
    }

    pub(super) fn send(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        self.session.handle_input(self.now, &mut self.input);
        self.serve();
    }

    /// Serves events until there are none.
    pub(super) fn serve(&mut self) {
        loop {
            self.flush();
            let Some(event) = self.session.poll_event() else { return };
            self.event(event);
            self.session.handle_input(self.now, &mut self.input);
        }
    }

    fn flush(&mut self) {
        if let Some(output) = self.session.poll_output() {
            let text = String::from_utf8(output.to_vec()).unwrap();
            assert!(text.ends_with("\r\n"), "{text:?}");
            self.log.extend(text.split_terminator("\r\n").map(|line| format!("S: {line}")));
        }
    }

    fn event(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::StartTls => {
                self.log.push("E: starttls".to_owned());
                self.session.handle_tls(now);
            }
            Event::Authenticate(login) => {
                let (mechanism, name, password) = (login.mechanism.as_str(), &login.login, login.password.expose());
                self.log.push(format!("E: login {mechanism} {name} {password}"));
                self.session.handle_auth(now, check_login(name, password));
            }
            Event::Mail(mail) => {
                self.log.push(format!("E: mail {}", show_mail(&mail)));
                let sender = mail.reverse_path.map_or(String::new(), |a| a.local().to_owned());
                self.session.handle_answer(now, answer(&sender));
            }
            Event::Recipient(rcpt) => {
                self.log.push(format!("E: rcpt {}", show_rcpt(&rcpt)));
                self.session.handle_answer(now, answer(rcpt.address.local()));
            }
            Event::Message(message) => {
                let text = message.content.body.escape_ascii().to_string();
                let to: Vec<_> = message.recipients.iter().map(|r| r.address.to_string()).collect();
                self.log.push(format!("E: message {} to {}: {text}", message.protocol, to.join(",")));
                let refuse = text.contains("REFUSE");
                let refusal = Reply::new(550, EnhancedCode(5, 7, 1), "No");
                self.messages.push(*message);
                self.session.handle_answer(now, if refuse { Answer::Reply(refusal) } else { Answer::Accept });
            }
            Event::ContentRefused(reply) => self.log.push(format!("E: refused {reply}")),
            Event::Close(reason) => self.log.push(format!("E: close {}", reason.as_str())),
        }
    }
}

/// Some instant; tests only add to it.
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
fn base() -> Instant {
    static BASE: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

fn check_login(name: &str, password: &str) -> AuthAnswer {
    match (name, password) {
        ("user", "pass") => AuthAnswer::Accepted,
        ("later", _) => AuthAnswer::Unavailable,
        ("gone", _) => AuthAnswer::Reply(Reply::new(421, EnhancedCode(4, 7, 0), "Go away")),
        _ => AuthAnswer::Refused,
    }
}

fn answer(local: &str) -> Answer {
    match local {
        "refused" => Answer::Reply(Reply::new(553, EnhancedCode(5, 7, 1), "Not yours")),
        "bad" => Answer::Reply(Reply::new(550, EnhancedCode(5, 1, 1), "Unknown")),
        "gone" => Answer::Reply(Reply::new(421, EnhancedCode(4, 3, 2), "Go away")),
        _ => Answer::Accept,
    }
}

fn show_mail(mail: &MailCommand) -> String {
    let mut text = format!("<{}>", mail.reverse_path.as_ref().map_or("", |a| a.as_str()));
    if let Some(size) = mail.size {
        text += &format!(" SIZE={size}");
    }
    for (on, word) in [(mail.body_8bit, "8BITMIME"), (mail.smtputf8, "SMTPUTF8"), (mail.require_tls, "REQUIRETLS")] {
        if on {
            text = text + " " + word;
        }
    }
    for (value, word) in [(&mail.ret, "RET"), (&mail.envid, "ENVID")] {
        if let Some(value) = value {
            text += &format!(" {word}={value}");
        }
    }
    text
}

fn show_rcpt(rcpt: &RcptCommand) -> String {
    let mut text = format!("<{}>", rcpt.address);
    for (value, word) in [(&rcpt.notify, "NOTIFY"), (&rcpt.orcpt, "ORCPT")] {
        if let Some(value) = value {
            text += &format!(" {word}={value}");
        }
    }
    text
}

/// A listener for trusted clients, as most tests need it.
pub(super) fn trusted() -> SessionConfig {
    SessionConfig { authenticated: true, auth: AuthPolicy::Never, ..SessionConfig::new("mx.test") }
}

/// A submission listener with STARTTLS.
pub(super) fn submission() -> SessionConfig {
    SessionConfig { tls: TlsState::Offered, ..SessionConfig::new("mx.test") }
}

fn octets(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        match bytes.next() {
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'0') => out.push(0),
            Some(b'x') => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            other => out.extend(other),
        }
    }
    out
}

/// Holds the conversation in every chunking. The greeting is not part of it.
#[track_caller]
pub(super) fn check(config: &SessionConfig, transcript: &str) {
    let lines: Vec<&str> = transcript.lines().map(str::trim_start).filter(|l| !l.is_empty()).collect();
    check_steps(config, &lines);
    let mut flights = vec![Vec::new()];
    for line in &lines {
        if let Some(text) = line.strip_prefix("C: ") {
            flights.last_mut().unwrap().extend(octets(&format!("{text}\\r\\n")));
        } else if let Some(text) = line.strip_prefix("C| ") {
            flights.last_mut().unwrap().extend(octets(text));
        } else if *line == "--" {
            flights.push(Vec::new());
        }
    }
    let expect: Vec<&str> = lines.iter().copied().filter(|l| l.starts_with("S:") || l.starts_with("E:")).collect();
    for (i, flight) in flights.iter().enumerate() {
        for at in 0..flight.len() {
            let mut host = Host::new(config);
            flights[..i].iter().for_each(|flight| host.send(flight));
            host.send(&flight[..at]);
            host.send(&flight[at..]);
            flights[i + 1..].iter().for_each(|flight| host.send(flight));
            assert_eq!(&host.log[1..], expect, "flight {i} split at {at}");
        }
    }
    let mut host = Host::new(config);
    flights.iter().flatten().for_each(|octet| host.send(&[*octet]));
    assert_eq!(&host.log[1..], expect, "octet by octet");
}

#[track_caller]
fn check_steps(config: &SessionConfig, lines: &[&str]) {
    let mut host = Host::new(config);
    let mut seen = 1;
    for line in lines {
        if let Some(text) = line.strip_prefix("C: ") {
            assert_eq!(host.log.get(seen), None, "before {line}");
            host.send(&octets(&format!("{text}\\r\\n")));
        } else if let Some(text) = line.strip_prefix("C| ") {
            host.send(&octets(text));
        } else if *line != "--" {
            assert_eq!(host.log.get(seen).map(String::as_str), Some(*line), "after {:?}", &host.log[..seen]);
            seen += 1;
        }
    }
    assert_eq!(host.log.get(seen), None);
}
