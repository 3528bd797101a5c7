//! Readers of what happened: accounting files.
//!
//! Each reader has its own position in the log of events ([`sluice_spool::FateLog`]) and moves it only when what it
//! read is safe elsewhere: a crash repeats, and never loses.

pub mod accounting;
