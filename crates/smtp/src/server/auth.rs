//! AUTH PLAIN and AUTH LOGIN (RFC 4954).

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::secret::wipe;
use super::{AuthAnswer, AuthPolicy, CloseReason, Event, Login, Mechanism, Phase, Question, Secret, Session};

/// Octets of a line of the exchange, its CRLF included (RFC 4954 4).
pub(super) const AUTH_LINE_MAX: usize = 12_288;

/// Padding may be missing, as small devices leave it out; nothing hangs on it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const LOGIN_MAX: usize = 255;
const REFUSED: &str = "535 5.7.8 Authentication failed: wrong name or password";
const BAD_BASE64: &str = "501 5.5.2 That is no base64";

/// What the next line of the client will be.
#[derive(Clone, Debug)]
pub(super) enum AuthStep {
    /// PLAIN's one message.
    Plain,
    /// LOGIN's name.
    LoginName,
    /// LOGIN's password, for this name.
    LoginPassword(String),
}

impl Session {
    pub(super) fn auth(&mut self, args: &str) {
        if self.config.auth == AuthPolicy::Never {
            return self.bad("502 5.5.1 AUTH is not offered on this port");
        }
        if !self.offers_auth() {
            return self.bad(if self.offers_starttls() {
                "538 5.7.11 AUTH needs encryption: say STARTTLS first"
            } else {
                "538 5.7.11 AUTH needs encryption, use the port with TLS"
            });
        }
        if self.hello.is_none() {
            return self.bad("503 5.5.1 Say EHLO first");
        }
        if self.logged_in {
            return self.bad("503 5.5.1 Already authenticated");
        }
        if self.transaction.is_some() {
            return self.bad("503 5.5.1 A message is already begun; AUTH comes before MAIL");
        }
        self.begin_auth(args);
    }

    fn begin_auth(&mut self, args: &str) {
        let mut words = args.split_ascii_whitespace();
        let (mechanism, initial) = (words.next().unwrap_or(""), words.next());
        if mechanism.is_empty() || words.next().is_some() {
            return self.bad("501 5.5.4 Say AUTH PLAIN or AUTH LOGIN");
        }
        let (step, challenge) = if mechanism.eq_ignore_ascii_case("PLAIN") {
            (AuthStep::Plain, "334 ")
        } else if mechanism.eq_ignore_ascii_case("LOGIN") {
            (AuthStep::LoginName, "334 VXNlcm5hbWU6")
        } else {
            return self.bad("504 5.5.4 Unknown mechanism; PLAIN and LOGIN are offered");
        };
        match initial {
            None => self.challenge(step, challenge),
            // RFC 4954 4: an initial response without octets.
            Some("=") => self.auth_response(step, ""),
            Some(response) => self.auth_response(step, response),
        }
    }

    fn challenge(&mut self, step: AuthStep, line: &str) {
        self.out.line(line);
        self.phase = Phase::Auth(step);
    }

    /// Serves the client's line after a challenge.
    pub(super) fn auth_line(&mut self, step: AuthStep, line: &str) {
        match line {
            "*" => self.bad("501 5.7.0 Authentication cancelled"),
            response => self.auth_response(step, response),
        }
    }

    fn auth_response(&mut self, step: AuthStep, response: &str) {
        let Ok(mut octets) = BASE64.decode(response) else {
            return self.bad(BAD_BASE64);
        };
        match step {
            AuthStep::Plain => self.plain(&octets),
            AuthStep::LoginName => match std::str::from_utf8(&octets) {
                Ok(name) => self.challenge(AuthStep::LoginPassword(name.to_owned()), "334 UGFzc3dvcmQ6"),
                Err(_) => self.bad("501 5.5.2 The name is not UTF-8"),
            },
            AuthStep::LoginPassword(name) => match std::str::from_utf8(&octets) {
                Ok(password) => self.ask_for_login(Mechanism::Login, &name, password),
                Err(_) => self.login_failed(REFUSED),
            },
        }
        wipe(&mut octets);
    }

    /// RFC 4616: `[authzid] NUL authcid NUL passwd`.
    fn plain(&mut self, octets: &[u8]) {
        let Ok(text) = std::str::from_utf8(octets) else {
            return self.bad("501 5.5.2 The response is not UTF-8");
        };
        let mut parts = text.split('\0');
        let (Some(identity), Some(login), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return self.bad("501 5.5.2 PLAIN is: identity, NUL, name, NUL, password");
        };
        if !identity.is_empty() && identity != login {
            return self.login_failed("535 5.7.8 Authentication failed: nobody can act for another identity");
        }
        self.ask_for_login(Mechanism::Plain, login, password);
    }

    fn ask_for_login(&mut self, mechanism: Mechanism, login: &str, password: &str) {
        if login.is_empty() || login.len() > LOGIN_MAX || login.chars().any(char::is_control) {
            return self.login_failed(REFUSED);
        }
        let login = Login { mechanism, login: login.to_owned(), password: Secret::new(password) };
        self.event = Some(Event::Authenticate(login));
        self.phase = Phase::Asked(Question::Login);
    }

    pub(super) fn login_answered(&mut self, answer: AuthAnswer) {
        match answer {
            AuthAnswer::Accepted => {
                self.logged_in = true;
                self.out.line("235 2.7.0 Authenticated");
            }
            AuthAnswer::Refused => self.login_failed(REFUSED),
            AuthAnswer::Reply(reply) if !reply.is_positive() => {
                self.out.reply(&reply);
                match reply.code {
                    421 => self.close(CloseReason::Refused),
                    code if code / 100 == 5 => self.count_failed_login(),
                    _ => {}
                }
            }
            AuthAnswer::Unavailable | AuthAnswer::Reply(_) => {
                self.out.line("454 4.7.0 Cannot verify that now; try again later");
            }
        }
    }

    fn login_failed(&mut self, line: &str) {
        self.out.line(line);
        self.count_failed_login();
    }

    fn count_failed_login(&mut self) {
        self.counts.failed_logins += 1;
        if self.counts.failed_logins >= self.config.limits.max_auth_failures {
            self.give_up("4.7.0", "Too many failed authentications", CloseReason::AuthFailures);
        }
    }
}
