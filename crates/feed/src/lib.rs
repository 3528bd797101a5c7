//! Readers of what happened: accounting files.
