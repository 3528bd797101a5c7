//! The words of Sluice: addresses, domains, envelopes, queue ids, replies, failures.
//!
//! Pure: no I/O, no clock, no randomness. Every other crate speaks in these types, so that the same
//! noun means the same thing in code, on the wire, in metrics and in the docs.

pub mod header;

mod address;
mod clock;
mod domain;
mod envelope;
mod failure;
mod fate;
mod queue_id;
mod rate;
mod reply;

pub use address::{Address, AddressError, Host};
pub use clock::{Clock, ManualClock, UnixMs};
pub use domain::{Domain, DomainError};
pub use envelope::{BodyFlags, Envelope, Lane, Outcome, Recipient, Shard, Trouble};
pub use failure::{Blame, Cause, Failure, Stage, Verdict};
pub use fate::{About, Attempt, AttemptInfo, AttemptResult, Event, Fate, FateKind, RecipientResult, Tried};
pub use queue_id::{QueueId, QueueIdError};
pub use rate::{Rate, RateError};
pub use reply::{EnhancedCode, Reply};
