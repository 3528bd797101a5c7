//! A private key, and the name under which its public half is published.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::common::crypto::{Ed25519Key, RsaKey, Sha256};
use mail_auth::dkim::generate::DkimKeyPair;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};
use sluice_mail::Domain;

/// The shortest RSA key that signs. Receivers distrust shorter ones (RFC 8301), and the big three refuse them.
pub const RSA_BITS_MIN: usize = 2048;
/// The longest: its record still fits into one UDP answer, and signing takes eight times as long as with 2048.
pub const RSA_BITS_MAX: usize = 4096;
/// Longest selector in octets.
const SELECTOR_MAX: usize = 63;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// rsa-sha256, which every receiver verifies.
    Rsa,
    /// ed25519-sha256 (RFC 8463), which some verify: a second signature only.
    Ed25519,
}

impl Algorithm {
    /// `rsa-sha256` or `ed25519-sha256`, the words of the signature's `a=`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }

    /// `rsa` or `ed25519`, the words of the record's `k=`.
    #[must_use]
    pub fn key_type(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Reads the words of [`Self::as_str`] and [`Self::key_type`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Rsa, Self::Ed25519].into_iter().find(|a| a.as_str() == word || a.key_type() == word)
    }
}

/// The first labels of the name under which a public key is published: letters, digits, hyphens and dots, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Arc<str>);

/// The text is no selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a selector has 1 to {SELECTOR_MAX} letters, digits and hyphens, such as s2026a; labels may be joined by dots")]
pub struct SelectorError;

impl Selector {
    /// The text, lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let label = |l: &str| {
            let inner = l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            !l.is_empty() && inner && !l.starts_with('-') && !l.ends_with('-')
        };
        let good = text.len() <= SELECTOR_MAX && text.split('.').all(label);
        if good { Ok(Self(text.to_ascii_lowercase().into())) } else { Err(SelectorError) }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no key to sign with. Says nothing of what the text holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM block with a private key.
    #[error(
        "expected a private key in PEM form, which begins with \"-----BEGIN PRIVATE KEY-----\" or \"-----BEGIN RSA PRIVATE KEY-----\""
    )]
    NotPem,
    /// A PEM block of another kind, or an encrypted one.
    #[error("expected an RSA or Ed25519 private key that is not encrypted, not {0}")]
    Unsupported(&'static str),
    /// The key does not parse, or its parts do not fit each other.
    #[error("the private key is broken: {0}")]
    Broken(String),
    /// Too short or too long.
    #[error("an RSA key of {0} bits; expected {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    Bits(usize),
    /// The name under which receivers would look is too long for the DNS.
    #[error("{0}._domainkey.{1} is too long a name: the DNS allows 253 octets")]
    Name(Selector, Domain),
}

/// A key that was made just now.
pub struct NewKey {
    /// The private key as PEM (PKCS #8 or PKCS #1): the only place where it can be read.
    pub pem: String,
    /// What signs.
    pub key: Key,
}

pub(crate) enum Private {
    Rsa(RsaKey<Sha256>),
    Ed25519(Ed25519Key),
}

/// A private key under its domain and selector. Cannot be turned back into text.
pub struct Key {
    domain: Domain,
    selector: Selector,
    public: Vec<u8>,
    bits: usize,
    pub(crate) private: Private,
}

impl Key {
    /// The key in `pem`, for signatures of `domain` under `selector`.
    pub fn from_pem(domain: Domain, selector: Selector, pem: &str) -> Result<Self, KeyError> {
        if selector.as_str().len() + "._domainkey.".len() + domain.as_str().len() > 253 {
            return Err(KeyError::Name(selector, domain));
        }
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| not_a_key(pem))?;
        if let PrivateKeyDer::Pkcs8(pkcs8) = &der
            && let Ok(key) = Ed25519Key::from_pkcs8_maybe_unchecked_der(pkcs8.secret_pkcs8_der())
        {
            let public = key.public_key();
            return Ok(Self { domain, selector, public, bits: 256, private: Private::Ed25519(key) });
        }
        let bits = rsa_bits(&der);
        if let Some(bits) = bits.filter(|bits| !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(bits)) {
            return Err(KeyError::Bits(bits));
        }
        let key = RsaKey::from_key_der(der).map_err(|e| KeyError::Broken(e.to_string()))?;
        let public = key.public_key();
        let bits = public_bits(&public).unwrap_or_default();
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(KeyError::Bits(bits));
        }
        Ok(Self { domain, selector, public: subject_public_key_info(&public), bits, private: Private::Rsa(key) })
    }

    /// A new key. Takes a second or more for RSA. `bits` is not looked at for Ed25519.
    pub fn generate(domain: Domain, selector: Selector, algorithm: Algorithm, bits: usize) -> Result<NewKey, KeyError> {
        let (pair, label) = match algorithm {
            Algorithm::Rsa if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) => return Err(KeyError::Bits(bits)),
            Algorithm::Rsa => (DkimKeyPair::generate_rsa(bits), "RSA PRIVATE KEY"),
            Algorithm::Ed25519 => (DkimKeyPair::generate_ed25519(), "PRIVATE KEY"),
        };
        let pair = pair.map_err(|e| KeyError::Broken(e.to_string()))?;
        let pem = pem(label, pair.private_key());
        Ok(NewKey { key: Self::from_pem(domain, selector, &pem)?, pem })
    }

    /// What it signs for, the signature's `d=`.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The signature's `s=`.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.private {
            Private::Rsa(_) => Algorithm::Rsa,
            Private::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Its length: that of the modulus for RSA.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// The public half as it is published: base 64 of a SubjectPublicKeyInfo for RSA, of the 32 octets for Ed25519.
    #[must_use]
    pub fn public(&self) -> String {
        STANDARD.encode(&self.public)
    }

    /// The name under which receivers look for it, without a final dot.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain.as_str())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {} of {} bits, private part hidden)", self.name(), self.algorithm().as_str(), self.bits)
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewKey({:?})", self.key)
    }
}

fn not_a_key(pem: &str) -> KeyError {
    let kinds = [
        ("BEGIN ENCRYPTED PRIVATE KEY", "an encrypted key"),
        ("Proc-Type: 4,ENCRYPTED", "an encrypted key"),
        ("BEGIN PUBLIC KEY", "a public key"),
        ("BEGIN CERTIFICATE", "a certificate"),
        ("BEGIN OPENSSH PRIVATE KEY", "an OpenSSH key"),
    ];
    let kind = kinds.into_iter().find(|(mark, _)| pem.contains(mark));
    kind.map_or(KeyError::NotPem, |(_, kind)| KeyError::Unsupported(kind))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).unwrap_or_default());
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// The length of the modulus of a private RSA key, so that a short one can be told from a broken one.
fn rsa_bits(der: &PrivateKeyDer<'_>) -> Option<usize> {
    let pkcs1 = |der: &PrivatePkcs1KeyDer<'_>| Some(der.secret_pkcs1_der().to_vec());
    let pkcs8 = |der: &PrivatePkcs8KeyDer<'_>| {
        let (inner, _) = element(der.secret_pkcs8_der(), 0x30)?;
        let (_, rest) = element(inner, 0x02)?;
        let (_, rest) = element(rest, 0x30)?;
        element(rest, 0x04).map(|(key, _)| key.to_vec())
    };
    let key = match der {
        PrivateKeyDer::Pkcs1(der) => pkcs1(der)?,
        PrivateKeyDer::Pkcs8(der) => pkcs8(der)?,
        PrivateKeyDer::Sec1(_) | _ => return None,
    };
    let (inner, _) = element(&key, 0x30)?;
    let (_, rest) = element(inner, 0x02)?;
    integer_bits(rest)
}

/// The length of the modulus in an RSAPublicKey.
fn public_bits(der: &[u8]) -> Option<usize> {
    element(der, 0x30).and_then(|(inner, _)| integer_bits(inner))
}

fn integer_bits(der: &[u8]) -> Option<usize> {
    let (number, _) = element(der, 0x02)?;
    let first = number.iter().position(|b| *b != 0)?;
    Some((number.len() - first) * 8 - number[first].leading_zeros() as usize)
}

/// The content of a DER element of this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let len = (octets.len() <= 4).then(|| octets.iter().fold(0usize, |n, b| n << 8 | usize::from(*b)))?;
        (len, rest)
    };
    if found == tag { rest.split_at_checked(len) } else { None }
}

/// An RSAPublicKey with the algorithm's name around it, the form that receivers expect (RFC 6376 3.6.1).
fn subject_public_key_info(rsa: &[u8]) -> Vec<u8> {
    // AlgorithmIdentifier { rsaEncryption, NULL }
    const RSA: [u8; 15] = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let mut bits = vec![0];
    bits.extend_from_slice(rsa);
    let mut inner = RSA.to_vec();
    inner.extend(tagged(0x03, &bits));
    tagged(0x30, &inner)
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut out = vec![tag];
    if len < 0x80 {
        out.push(len as u8);
    } else {
        let octets: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
        out.push(0x80 | octets.len() as u8);
        out.extend(octets);
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests;
