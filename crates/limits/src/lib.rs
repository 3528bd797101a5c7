//! Agreement on how much may be done: rates, counted leases, and the slowing down of those who fail.
//!
//! In one process, in memory. All of it takes `now` as an argument, holds a bounded number of keys, and locks
//! only for the length of one look-up, never across a wait.

mod leases;
mod penalties;
mod rates;

pub use leases::{Lease, Leases};
pub use penalties::{Penalties, PenaltyRules};
pub use rates::{Gcra, Rates};
