//! Making signatures.

use mail_auth::common::crypto::{HashOutput, SigningKey};
use mail_auth::common::headers::{HeaderWriter as _, Writable};
use mail_auth::dkim::{Canonicalization, DkimSigner};
use sluice_mail::header::Headers;

use crate::fields;
use crate::key::{Key, Private};

/// Octets that one field of a signature has at most, with RSA of 4096 bits and the longest names.
pub const MAX_FIELD: usize = 2048;

/// A message that cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be signed: {0}")]
pub struct SignError(String);

/// The DKIM-Signature fields of `message` by each of `keys`, in their order, each ended by CRLF: to be put before the
/// message. Relaxed canonicalization of header and body, no `l=`. The message must not change any more, but fields
/// may be added before it.
pub fn sign<'k>(message: &[u8], keys: impl IntoIterator<Item = &'k Key>) -> Result<Vec<u8>, SignError> {
    let names = fields::to_sign(Headers::scan(message).iter().map(|field| field.name().as_bytes()));
    let mut out = Vec::with_capacity(1024);
    for key in keys {
        match &key.private {
            Private::Rsa(private) => one(private, key, &names, message, &mut out)?,
            Private::Ed25519(private) => one(private, key, &names, message, &mut out)?,
        }
    }
    Ok(out)
}

fn one<K: SigningKey>(
    private: &K,
    key: &Key,
    names: &[&'static str],
    message: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), SignError> {
    let signer = DkimSigner::from_key(Borrowed(private))
        .domain(key.domain().as_str())
        .selector(key.selector().as_str())
        .headers(names.iter().copied())
        .header_canonicalization(Canonicalization::Relaxed)
        .body_canonicalization(Canonicalization::Relaxed);
    let signature = signer.sign(message).map_err(|e| SignError(e.to_string()))?;
    signature.write_header(out);
    Ok(())
}

/// A key that stays where it is.
struct Borrowed<'k, K>(&'k K);

impl<K: SigningKey> SigningKey for Borrowed<'_, K> {
    type Hasher = K::Hasher;

    fn sign(&self, input: impl Writable) -> mail_auth::Result<Vec<u8>> {
        self.0.sign(input)
    }

    fn hash(&self, data: impl Writable) -> HashOutput {
        self.0.hash(data)
    }

    fn algorithm(&self) -> mail_auth::common::crypto::Algorithm {
        self.0.algorithm()
    }
}

#[cfg(test)]
mod tests;
