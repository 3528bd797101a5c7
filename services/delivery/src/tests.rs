//! A delivery against scripted peers on loopback, with the spool in memory.

mod bounces;
mod cases;
mod harness;
mod peer;
mod sessions;
