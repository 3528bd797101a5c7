//! Decisions about waiting mail: what a failure means, when to try again, which envelope goes next, over how many
//! connections and how fast, and what the operator ordered for it.
//!
//! Pure: no I/O, no clock, no randomness of its own. Time and random numbers are arguments, so that every
//! decision can be replayed in a test. A file per decision.

mod dispatcher;
mod judge;
mod policy;
mod schedule;
mod walk;

pub use dispatcher::{Action, ConnId, Dispatcher, Diverted, Feedback, Job, Limits, Next, Reconnect, Stats};
pub use judge::{Context, judge, reply_of, speaks_of_site};
pub use policy::{Directives, DomainLimits, Policy, Rules, Said, Scope, SiteLimits};
pub use schedule::{RetrySchedule, ScheduleError};
pub use walk::{try_next_host, worth_a_fresh_connection};
