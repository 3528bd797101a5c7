//! A delivery against scripted peers on loopback, with the spool in memory.

mod cases;
mod harness;
mod peer;
