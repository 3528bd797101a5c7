//! The verbs that begin nothing: RSET, NOOP, QUIT, VRFY, EXPN, HELP.

use super::{CloseReason, Session};

impl Session {
    pub(super) fn rset(&mut self, args: &str) {
        if !args.is_empty() {
            return self.bad("501 5.5.4 RSET takes no argument");
        }
        self.reset_transaction();
        self.out.line("250 2.0.0 Ready for the next message");
    }

    pub(super) fn noop(&mut self) {
        self.out.line("250 2.0.0 OK, still here");
    }

    pub(super) fn quit(&mut self, args: &str) {
        if !args.is_empty() {
            return self.bad("501 5.5.4 QUIT takes no argument");
        }
        let hostname = self.config.hostname.clone();
        self.out.line_fmt(format_args!("221 2.0.0 {hostname} closing the connection"));
        self.close(CloseReason::Quit);
    }

    /// Says nothing of who exists.
    pub(super) fn vrfy(&mut self, args: &str) {
        if args.is_empty() {
            return self.bad("501 5.5.4 Say VRFY with an address");
        }
        self.out.line("252 2.0.0 Addresses are not verified here; send a message and see");
    }

    pub(super) fn expn(&mut self) {
        self.bad("502 5.5.1 There are no mailing lists here");
    }

    pub(super) fn help(&mut self) {
        self.out.line("214-2.0.0 EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT");
        self.out.line("214 2.0.0 To send: EHLO, STARTTLS, EHLO, AUTH, MAIL FROM:<>, RCPT TO:<>, DATA");
    }
}
