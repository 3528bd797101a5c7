//! A message that is ready but for its signatures.

use bytes::Bytes;
use sluice_mail::{BodyFlags, UnixMs};
use sluice_sign::SignError;
use sluice_smtp::server::{MailCommand, RcptCommand};
use sluice_spool::NewMessage;

use super::signing::Signing;
use super::{Facts, control, envelopes};

/// A message and its envelope. Signing it changes nothing that was there: signatures go into room that was left before
/// it.
pub(crate) struct Prepared {
    pub(super) mail: MailCommand,
    pub(super) recipients: Vec<RcptCommand>,
    pub(super) wishes: control::Wishes,
    pub(super) flags: BodyFlags,
    /// Room for signatures, then the message.
    pub(super) message: Vec<u8>,
    /// Where the message begins.
    pub(super) start: usize,
    /// When it came, which its signatures tell.
    pub(super) at: UnixMs,
    pub(super) signing: Signing,
}

impl Prepared {
    /// Which keys sign it, and what is to be told of that.
    pub(crate) fn signing(&self) -> &Signing {
        &self.signing
    }

    /// Puts the signatures before it. Takes as long as the arithmetic takes: not for an async thread.
    pub(crate) fn sign(&mut self) -> Result<(), SignError> {
        let keys = std::mem::take(&mut self.signing.keys);
        let fields = sluice_sign::sign(&self.message[self.start..], keys.iter().map(AsRef::as_ref), self.at)?;
        match self.start.checked_sub(fields.len()) {
            Some(start) => {
                self.message[start..self.start].copy_from_slice(&fields);
                self.start = start;
            }
            // Never: the room is for the longest there can be.
            None => {
                self.message.splice(0..self.start, fields);
                self.start = 0;
            }
        }
        Ok(())
    }

    /// The message as it is kept.
    pub(crate) fn finish(self, facts: &Facts<'_>) -> NewMessage {
        let body = Bytes::from(self.message).slice(self.start..);
        let common = envelopes::Common { wishes: self.wishes, flags: self.flags, body: &body };
        let envelopes = envelopes::split(self.mail, self.recipients, &common, facts);
        NewMessage { envelopes, body }
    }
}
