//! Making signatures.

use mail_auth::common::crypto::SigningKey;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::{Canonicalization, Signature};
use sluice_mail::UnixMs;
use sluice_mail::header::Headers;

use crate::canonical::{self, Body};
use crate::fields;
use crate::key::{Key, Private};

/// Octets that one field of a signature has at most, with RSA of 4096 bits and the longest names.
pub const MAX_FIELD: usize = 2048;

/// How a field ends whose last line was just full.
const FOLDED_END: &[u8] = b"\r\n\t;\r\n";

/// A message that cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be signed: {0}")]
pub struct SignError(String);

/// The DKIM-Signature fields of `message` by each of `keys`, in their order, each ended by CRLF: to be put before the
/// message. They say that it was signed `at` that time. Relaxed canonicalization of header and body, no `l=`. The
/// message must not change any more, but fields may be added before it.
pub fn sign<'k>(message: &[u8], keys: impl IntoIterator<Item = &'k Key>, at: UnixMs) -> Result<Vec<u8>, SignError> {
    let headers = Headers::scan(message);
    let covered = fields::covered(&headers);
    let mut canonical = Vec::with_capacity(2048);
    for field in &covered.fields {
        canonical::write_field(field, &mut canonical);
    }
    let signature = Signature {
        v: 1,
        h: covered.names.into_iter().map(str::to_owned).collect(),
        t: at.0 / 1000,
        ch: Canonicalization::Relaxed,
        cb: Canonicalization::Relaxed,
        ..Signature::default()
    };
    let mut draft = Draft { canonical, body: &message[headers.len()..], signature };
    let mut out = Vec::with_capacity(1024);
    for key in keys {
        match &key.private {
            Private::Rsa(private) => draft.finish(private, key, &mut out)?,
            Private::Ed25519(private) => draft.finish(private, key, &mut out)?,
        }
    }
    Ok(out)
}

/// What the signatures of a message have in common.
struct Draft<'a> {
    /// The covered fields.
    canonical: Vec<u8>,
    body: &'a [u8],
    signature: Signature,
}

impl Draft<'_> {
    /// Appends the signature of `key`, whose private half is `private`.
    fn finish<K: SigningKey>(&mut self, private: &K, key: &Key, out: &mut Vec<u8>) -> Result<(), SignError> {
        let Self { canonical, body, signature } = self;
        // Every algorithm hashes with SHA-256.
        if signature.bh.is_empty() {
            signature.bh = private.hash(Body(body)).as_ref().to_vec();
        }
        signature.a = private.algorithm();
        signature.d = key.domain().as_str().to_owned();
        signature.s = key.selector().as_str().to_owned();
        signature.b.clear();
        let fields = canonical.len();
        // The signature covers itself, as it is without its `b=`.
        signature.write(canonical, false);
        let signed = private.sign(canonical.as_slice());
        canonical.truncate(fields);
        signature.b = signed.map_err(|e| SignError(e.to_string()))?;
        signature.write_header(out);
        unfold_end(out);
        Ok(())
    }
}

/// Takes away a fold between the value of `b=` and the semicolon after it. It counts for nothing (RFC 6376 3.7 deletes
/// the blanks around the value), but there are verifiers that keep it and then do not find what was signed.
fn unfold_end(field: &mut Vec<u8>) {
    if field.ends_with(FOLDED_END) {
        field.truncate(field.len() - FOLDED_END.len());
        field.extend_from_slice(b";\r\n");
    }
}

#[cfg(test)]
mod tests;
