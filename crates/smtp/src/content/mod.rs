//! The content of a message as it comes after DATA: dot-unstuffing, its true end, what is wrong with it.

mod receiver;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

pub use receiver::{Defect, Progress, Receiver};

/// A message's content without dot-stuffing: lines that end with CRLF, no bare CR or LF.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// Header, blank line and body.
    pub body: Bytes,
    /// Octets up to and including the blank line that ends the header; all when there is none.
    pub header_len: usize,
    /// The header has octets above 127.
    pub header_8bit: bool,
    /// What follows the header has octets above 127.
    pub body_8bit: bool,
    /// The first line over 998 octets, counted from 1.
    pub long_line: Option<u32>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("octets", &self.body.len())
            .field("header_len", &self.header_len)
            .field("header_8bit", &self.header_8bit)
            .field("body_8bit", &self.body_8bit)
            .field("long_line", &self.long_line)
            .finish()
    }
}
