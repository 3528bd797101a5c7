//! Who may send, and what signs it: accounts, credentials and DKIM keys, kept in a control log and looked up in memory.
//!
//! [`ControlLog`] is the port to the log: [`memory`] and [`fjall`] are its implementations, [`contract`] the behaviour
//! that both must show. [`Registry`] is the view that the rest of Sluice asks: look-ups never lock and never touch
//! the disk; [`Registry::verify`] checks passwords off the async threads.

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub mod contract;
pub mod fjall;
pub mod memory;

mod account;
mod dkim;
mod password;
mod record;
mod registry;
mod registry_dkim;
mod verify;
mod view;

pub use account::{Account, AccountRules, Credential, DEFAULT_POOL, Dsn, SenderDomain, Violation};
pub use dkim::{DKIM_KEYS_MAX, DkimKey, DkimName, DkimSource, DkimState, NewDkimKey};
pub use password::{PasswordError, PasswordHash, generate_password};
pub use record::RecordError;
pub use registry::{Registry, RegistryError, Updated};
pub use registry_dkim::Retired;
pub use verify::{AuthOutcome, Grant, VerifyConfig};
pub use view::View;

/// A place in the control log. Later writes have greater ones; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

/// What a key holds since some offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was written.
    pub offset: Offset,
    /// Such as `account/demo`.
    pub key: String,
    /// The record; `None`: the key was deleted.
    pub value: Option<Bytes>,
}

/// Why the control log did not do as it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Another process has it open.
    #[error("the control log at {0} is in use by another process")]
    Locked(String),
    /// It cannot be read or written: the system's words.
    #[error("the control log failed: {0}")]
    Failed(String),
}

/// The compacted log of the control plane: for each key the latest record, in the order of writing. One entry per
/// key ever written is kept, deletions included, so a reader that fell behind misses nothing.
pub trait ControlLog: Send + Sync + 'static {
    /// Sets `key` to `value`, or deletes it; durable when it returns.
    fn write(&self, key: String, value: Option<Bytes>) -> BoxFuture<'_, Result<Offset, LogError>>;

    /// The entries after `after` that are still their key's latest, oldest first, `max` at most.
    fn read(&self, after: Offset, max: usize) -> BoxFuture<'_, Result<Vec<Entry>, LogError>>;
}
