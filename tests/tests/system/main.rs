//! What a user of Sluice notices, seen from outside: the program as a child process, and real programs around it.

mod accounting;
mod accounts;
mod clients;
mod content;
mod crashes;
mod dkim;
mod dkim_keys;
mod dns;
mod first_start;
mod fixture;
mod life;
mod limits;
mod misbehaving;
mod postfix;
mod proxies;
mod queue;
mod refusals;
mod returns;
mod sandbox;
mod watching;

/// What every test returns.
type TestResult = anyhow::Result<()>;
