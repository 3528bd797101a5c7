//! Signatures: DKIM (RFC 6376) by rsa-sha256 and, beside it, ed25519-sha256 (RFC 8463).
//!
//! - [`Key`] is a private key with the name under which receivers find its public half; [`Key::generate`] makes one.
//! - [`KeyRing`] holds the keys that there are and says which of them sign a message.
//! - [`sign`] makes the header fields that go before everything else of the message.
//! - [`dns`] is the public half: the record, its zone-file form, and what differs from what the DNS answers.
//!
//! The arithmetic is `mail-auth`'s. Nothing here waits or does I/O: signing takes the time that it takes, so callers
//! put it on threads of their own.

mod canonical;
pub mod dns;
mod fields;
mod key;
mod key_ring;
mod signer;

pub use key::{Algorithm, Key, KeyError, NewKey, RSA_BITS_MAX, RSA_BITS_MIN, Selector, SelectorError};
pub use key_ring::{Entry, KeyRing, Owner, Validity};
pub use signer::{MAX_FIELD, SignError, sign};
