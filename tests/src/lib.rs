//! The harness of the system tests, of the crash proof and of the benchmark: Sluice as a child process, the real
//! programs around it (Postfix, smtp-sink, smtp-source, swaks, curl), and SMTP by hand on both ends.
//!
//! Every child runs on loopback with ports and a folder of its own, is stopped by its process id, and dies with its
//! handle. Every wait is for an event and has a deadline.

pub mod aiosmtpd;
pub mod certificate;
pub mod crash;
pub mod dkim;
pub mod dns;
pub mod generator;
pub mod http;
pub mod ledger;
pub mod mailbox;
pub mod ports;
pub mod postfix;
pub mod process;
pub mod random;
pub mod returns;
pub mod sink;
pub mod sluice;
pub mod smtp;
pub mod smtp_sink;
pub mod toxiproxy;
pub mod wait;
