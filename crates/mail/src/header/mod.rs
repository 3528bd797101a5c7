//! Reading a message's header section: its fields, the addresses of `From`, dates.
//!
//! What is read here decides who may send as whom, so reading is strict: whatever two readers could take
//! differently is reported instead of guessed. Nothing here ever rewrites a header.
//!
//! ```
//! use sluice_mail::header::{Headers, parse_mailboxes};
//!
//! let headers = Headers::scan(b"From: Ann <ann@example.org>\r\nSubject: a\r\n b\r\n\r\n");
//! assert!(headers.defect().is_none());
//! let from = headers.named("from").next().unwrap();
//! assert_eq!(parse_mailboxes(&from.text().unwrap()).unwrap()[0].as_str(), "ann@example.org");
//! assert_eq!(headers.named("Subject").next().unwrap().text().unwrap(), "a b");
//! ```

pub mod date;
mod fields;
mod mailbox;

pub use fields::{Defect, DefectKind, Field, Fields, Headers, MAX_FIELDS, unfold};
pub use mailbox::{MAX_MAILBOXES, MailboxError, parse_mailboxes};
