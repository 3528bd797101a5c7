//! Conversations, each with the peer's octets cut at every place, and what must hold under any octets at all.

mod auth;
mod connection;
mod fuzz;
mod script;
mod transaction;
