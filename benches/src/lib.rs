//! The end-to-end comparison: smtp-source through Sluice, through Debian's Postfix, and straight to smtp-sink, in the
//! same minute on the same machine. It measures and asserts nothing.

pub mod domains;
pub mod signing;
pub mod slow_sink;
pub mod subject;
pub mod table;
pub mod usage;
pub mod waiting;
