//! A delivery against scripted peers on loopback, with the spool in memory.

mod bounces;
mod cases;
mod harness;
mod limits;
mod peer;
mod sessions;
