//! AUTH towards a smart host (RFC 4954): PLAIN, or LOGIN where that is all there is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sluice_mail::{Cause, EnhancedCode, Reply};

use super::Login;
use super::reply::RawReply;
use super::session::{Phase, Session};

/// Longest command line with its line end (RFC 4954 4): a longer first response is sent when it is asked for.
const LINE_MAX: usize = 512;

/// What the peer is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthStep {
    /// AUTH PLAIN, mostly with name and password.
    Plain,
    /// Name and password, asked for.
    PlainAsked,
    /// AUTH LOGIN, which it answers by asking for the name.
    Name,
    /// The name, which it answers by asking for the password.
    Password,
    /// The password.
    Word,
}

impl Session {
    /// Logs in where it is to be; then the session is ready.
    pub(super) fn log_in(&mut self) {
        let Some(login) = self.config.login.clone() else { return self.ready() };
        if !self.peer.tls && !self.config.login_in_clear {
            return self.without_login("the session is not encrypted, so no password is sent");
        }
        if self.peer.auth_plain {
            let response = plain(&login);
            let command = format!("AUTH PLAIN {response}");
            let fits = command.len() + 2 <= LINE_MAX;
            self.say(if fits { &command } else { "AUTH PLAIN" }, AuthStep::Plain);
        } else if self.peer.auth_login {
            self.say("AUTH LOGIN", AuthStep::Name);
        } else {
            self.without_login("the peer offers neither AUTH PLAIN nor AUTH LOGIN");
        }
    }

    pub(super) fn on_auth(&mut self, step: AuthStep, reply: RawReply<'_>) {
        let Some(login) = self.config.login.clone() else { return self.ready() };
        match (reply.class(), step) {
            (2, AuthStep::Plain | AuthStep::PlainAsked | AuthStep::Word) => self.ready(),
            (3, AuthStep::Plain) => self.say(&plain(&login), AuthStep::PlainAsked),
            (3, AuthStep::Name) => self.say(&STANDARD.encode(&login.username), AuthStep::Password),
            (3, AuthStep::Password) => self.say(&STANDARD.encode(&login.password), AuthStep::Word),
            (4 | 5, _) => {
                self.break_off(Cause::Reply(without_secrets(reply, &login)));
                if reply.code != 421 {
                    self.out.extend_from_slice(b"QUIT\r\n");
                }
            }
            _ => {
                let words = without_secrets(reply, &login);
                self.break_off(Cause::Protocol(format!("the peer answers AUTH with {words}")));
            }
        }
    }

    fn say(&mut self, line: &str, step: AuthStep) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        self.phase = Phase::Auth(step);
    }

    /// We must log in and cannot.
    fn without_login(&mut self, words: &str) {
        self.phase = Phase::Auth(AuthStep::Plain);
        self.break_off(Cause::Unsupported(EnhancedCode(5, 7, 4), words.into()));
        self.out.extend_from_slice(b"QUIT\r\n");
    }
}

/// The reply, unless it repeats what we said, as some peers do with a command that they do not understand: senders get
/// to read replies.
fn without_secrets(reply: RawReply<'_>, login: &Login) -> Reply {
    let reply = reply.to_reply();
    let secrets = [plain(login), STANDARD.encode(&login.password), login.password.clone()];
    if secrets.iter().any(|secret| !secret.is_empty() && reply.text.contains(secret.as_str())) {
        return Reply { text: "(words that repeat our password)".into(), ..reply };
    }
    reply
}

/// RFC 4616: no other identity, name, password.
fn plain(login: &Login) -> String {
    STANDARD.encode(format!("\0{}\0{}", login.username, login.password))
}
