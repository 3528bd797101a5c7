//! Whether another host of the domain's list is worth trying in the same attempt.

use sluice_mail::{Cause, Failure, Stage};

/// Whether the next host may be tried in this attempt after `failure`: when the host or the way to it is what
/// failed, and the peer cannot have the message. A reply to MAIL, RCPT or the message holds for its other
/// hosts as well, except 421; and nothing is tried again at once after content was sent.
#[must_use]
pub fn try_next_host(failure: &Failure) -> bool {
    match failure.stage {
        Stage::Connect | Stage::Greeting | Stage::Ehlo | Stage::StartTls | Stage::Auth | Stage::Rset => true,
        Stage::Mail | Stage::Rcpt | Stage::Data => is_loss_of_session(&failure.cause),
        Stage::Resolve | Stage::Body | Stage::Dot => false,
    }
}

/// Whether a reused connection failed in a way that a peer shows when it hung up while nobody spoke: then the
/// envelope was not tried at all and starts on a fresh connection.
#[must_use]
pub fn worth_a_fresh_connection(failure: &Failure) -> bool {
    match failure.stage {
        Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Rset => is_loss_of_session(&failure.cause),
        Stage::Resolve
        | Stage::Connect
        | Stage::Greeting
        | Stage::Ehlo
        | Stage::StartTls
        | Stage::Auth
        | Stage::Body
        | Stage::Dot => false,
    }
}

fn is_loss_of_session(cause: &Cause) -> bool {
    match cause {
        Cause::Reply(reply) => reply.code == 421,
        Cause::Closed | Cause::Io(_) => true,
        Cause::Timeout
        | Cause::Tls(_)
        | Cause::Protocol(_)
        | Cause::NoSuchHost(..)
        | Cause::Dns(_)
        | Cause::Unsupported(..)
        | Cause::Prohibited(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_mail::Reply;

    fn said(code: u16) -> Cause {
        Cause::Reply(Reply { code, enhanced: None, text: String::new() })
    }

    #[test]
    fn another_host_only_when_the_host_failed_and_cannot_have_the_message() {
        for (stage, cause, next, fresh) in [
            (Stage::Resolve, Cause::Dns("SERVFAIL".into()), false, false),
            (Stage::Connect, Cause::Io("refused".into()), true, false),
            (Stage::Connect, Cause::Timeout, true, false),
            (Stage::Greeting, said(554), true, false),
            (Stage::Greeting, Cause::Closed, true, false),
            (Stage::Ehlo, said(421), true, false),
            (Stage::StartTls, Cause::Tls("handshake".into()), true, false),
            (Stage::Mail, said(451), false, false),
            (Stage::Mail, said(421), true, true),
            (Stage::Mail, Cause::Closed, true, true),
            (Stage::Mail, Cause::Timeout, false, false),
            (Stage::Rcpt, said(450), false, false),
            (Stage::Rcpt, said(550), false, false),
            (Stage::Data, Cause::Io("reset".into()), true, true),
            (Stage::Body, Cause::Closed, false, false),
            (Stage::Dot, Cause::Closed, false, false),
            (Stage::Dot, said(421), false, false),
        ] {
            let failure = Failure::new(stage, cause);
            assert_eq!(try_next_host(&failure), next, "{failure}");
            assert_eq!(worth_a_fresh_connection(&failure), fresh, "{failure}");
        }
    }
}
