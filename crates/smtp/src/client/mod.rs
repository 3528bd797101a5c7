//! The client's session: one connection to a peer, from its greeting to its end, any number of transactions on it.
//!
//! A pure machine. Octets of the peer go in by [`Session::handle_input`], octets for it come out of
//! [`Session::poll_output`], what happened out of [`Session::poll_event`]; time-outs go both ways by
//! [`Session::poll_timeout`] and [`Session::handle_timeout`]. The shell that drives it does, after each call of a
//! `handle_*` and of `begin`, `release_content` or `quit`:
//!
//! 1. poll events until there is none,
//! 2. poll output until there is none, and write it.
//!
//! ## A transaction
//! [`Session::begin`] takes a transaction, at any time from [`Session::new`] on; the session holds two at most,
//! the one under way and the one after it. Each ends in exactly one [`Event::Done`] with a result for every
//! recipient, also when the connection breaks; [`Event::Closed`] is the last event of all.
//!
//! Where the peer offers PIPELINING, MAIL, all RCPT and DATA leave in one [`Output::Bytes`]. Content is never
//! given out before [`Session::release_content`] named its transaction: that is the gate behind which the shell
//! makes sure that the outcome of the transaction before is durable and that it still may send. So a connection
//! has one undecided transaction at most.
//!
//! On [`Output::Content`] the shell writes the [`Stuffed`] body, then what [`Session::poll_trailer`] gives, then
//! calls [`Session::handle_content_sent`], and only then feeds further input. The trailer holds the commands of
//! the next transaction, when it was begun already, so that a busy connection costs one write and one read for
//! each message (RFC 2920 3.1 allows them in the group of the final dot).
//!
//! ```
//! use std::time::Instant;
//! use sluice_mail::{Address, BodyFlags};
//! use sluice_smtp::client::{ClientConfig, Event, Output, Session, Transaction};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[expect(clippy::disallowed_methods, reason = "an example")]
//! let now = Instant::now();
//! let mut session = Session::new(ClientConfig::new("mail.example.org"), now);
//! let id = session.begin(now, Transaction {
//!     mail_from: Some(Address::parse("ann@example.org")?),
//!     recipients: vec![Address::parse("bob@example.net")?],
//!     size: 5,
//!     flags: BodyFlags::default(),
//! }).map_err(|_| "busy")?;
//! session.handle_input(now, b"220 mx.example.net\r\n");
//! assert_eq!(session.poll_output(), Some(Output::Bytes(b"EHLO mail.example.org\r\n".to_vec())));
//! session.handle_input(now, b"250-mx.example.net\r\n250 PIPELINING\r\n");
//! let Some(Output::Bytes(commands)) = session.poll_output() else { panic!() };
//! assert_eq!(commands, b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n");
//! session.handle_input(now, b"250 ok\r\n250 ok\r\n354 go on\r\n");
//! assert_eq!(session.poll_output(), None);
//! session.release_content(now, id);
//! assert_eq!(session.poll_output(), Some(Output::Content(id)));
//! // Here the shell writes the content with its final dot.
//! session.handle_content_sent(now);
//! session.handle_input(now, b"250 2.0.0 kept\r\n");
//! assert!(matches!(session.poll_event(), Some(Event::Ready(_))));
//! let Some(Event::Done(result)) = session.poll_event() else { panic!() };
//! assert!(result.id == id && result.results[0].is_ok());
//! # Ok(())
//! # }
//! ```

mod auth;
mod capabilities;
mod commands;
mod config;
mod data;
mod ehlo;
mod greeting;
mod reply;
mod session;
mod stuff;
#[cfg(test)]
mod tests;
mod tls;
mod transaction;

pub use capabilities::Capabilities;
pub use config::{ClientConfig, Login, Timeouts, TlsMode};
pub use reply::MAX_REPLY;
pub use session::{Event, Output, Session};
pub use stuff::{Stuffed, stuff};
pub use transaction::{Transaction, TransactionId, TransactionResult};
