//! From octets to commands: what [`Session::handle_input`] does while it is the client's turn.

use std::time::Instant;

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::auth::AUTH_LINE_MAX;
use super::line::{self, LineError, Scan};
use super::secret::wipe;
use super::{Phase, Question, Session};

impl Session {
    /// Takes one thing from the input; `false` when more octets or the host's answer are needed first.
    pub(super) fn take(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        if self.event.is_some() {
            return false;
        }
        match &self.phase {
            Phase::Command | Phase::Auth(_) => self.take_line(now, input),
            Phase::Skip { auth } => {
                let auth = *auth;
                self.skip_line(auth, input)
            }
            Phase::Content => self.take_content(input),
            Phase::Asked(Question::Tls) => {
                Self::discard_plaintext(input);
                false
            }
            Phase::Asked(Question::Login | Question::Mail(_) | Question::Recipient(_) | Question::Message) => false,
            Phase::Closed => {
                input.clear();
                false
            }
        }
    }

    fn take_line(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        let max = self.config.limits.max_line;
        let in_auth = matches!(self.phase, Phase::Auth(_));
        let auth = in_auth || input.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"));
        let (len, text) = match line::scan(input, if auth { AUTH_LINE_MAX.max(max) } else { max }) {
            Scan::Partial => return false,
            Scan::Endless => {
                self.phase = Phase::Skip { auth };
                return true;
            }
            Scan::Line(len, text) => (len, text),
        };
        match (std::mem::replace(&mut self.phase, Phase::Command), text) {
            (Phase::Auth(step), Ok(text)) => self.auth_line(step, text),
            (_, Ok(text)) => self.command(now, text),
            (_, Err(error)) => self.line_refused(error, auth),
        }
        if auth {
            wipe(&mut input[..len]);
        }
        input.advance(len);
        if matches!(self.phase, Phase::Asked(Question::Tls)) {
            Self::discard_plaintext(input);
        }
        self.at_boundary();
        true
    }

    fn skip_line(&mut self, auth: bool, input: &mut BytesMut) -> bool {
        let Some(lf) = memchr(b'\n', input) else {
            input.clear();
            return false;
        };
        input.advance(lf + 1);
        self.phase = Phase::Command;
        self.line_refused(LineError::TooLong, auth);
        self.at_boundary();
        true
    }

    fn line_refused(&mut self, error: LineError, auth: bool) {
        self.counts.commands = self.counts.commands.saturating_add(1);
        self.bad(if auth && error == LineError::TooLong { "500 5.5.6 The line is too long" } else { error.reply() });
    }
}
