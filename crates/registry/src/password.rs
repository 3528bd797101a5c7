//! Passwords: hashed with argon2id, never kept, never shown.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::{PasswordHash as Phc, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::Rng;
use rand::distr::Alphanumeric;

/// Longest password in octets.
const PASSWORD_MAX: usize = 512;
/// Letters and digits of a generated password: 142 bits.
const GENERATED_LEN: usize = 24;

/// The argon2id hash of a password as a PHC string. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Arc<str>);

/// Why a password cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// There is none.
    #[error("the password is empty")]
    Empty,
    /// Too long.
    #[error("the password is longer than {PASSWORD_MAX} octets")]
    TooLong,
    /// SASL PLAIN cannot carry it, or a line-based client cannot type it.
    #[error("the password has a control character in it")]
    Control,
    /// The hash could not be made, or is none.
    #[error("the password hash is not an argon2id PHC string")]
    NoHash,
}

impl PasswordHash {
    /// Hashes `password` with a fresh salt. Takes some 20 ms of CPU and 19 MiB of memory: not for async threads.
    pub fn of(password: &str) -> Result<Self, PasswordError> {
        match password {
            "" => return Err(PasswordError::Empty),
            p if p.len() > PASSWORD_MAX => return Err(PasswordError::TooLong),
            p if p.chars().any(char::is_control) => return Err(PasswordError::Control),
            _ => {}
        }
        let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(|_| PasswordError::NoHash)?;
        let hash = hasher().hash_password(password.as_bytes(), &salt).map_err(|_| PasswordError::NoHash)?;
        Ok(Self(hash.to_string().into()))
    }

    /// Reads a PHC string, as it was stored.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        let hash = Phc::new(text).map_err(|_| PasswordError::NoHash)?;
        let ours = hash.algorithm == Algorithm::Argon2id.ident() && hash.hash.is_some();
        if ours { Ok(Self(text.into())) } else { Err(PasswordError::NoHash) }
    }

    /// Whether `password` is the one. As costly as [`Self::of`], and always so.
    #[must_use]
    pub fn matches(&self, password: &str) -> bool {
        Phc::new(&self.0).is_ok_and(|hash| hasher().verify_password(password.as_bytes(), &hash).is_ok())
    }

    /// The PHC string, for storing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// A password of letters and digits that nobody guesses and no shell misreads.
#[must_use]
pub fn generate_password() -> String {
    rand::rng().sample_iter(Alphanumeric).take(GENERATED_LEN).map(char::from).collect()
}

/// OWASP's choice for argon2id: 19 MiB, two passes, one lane.
fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_its_own_password_only() {
        let hash = PasswordHash::of("correct horse").unwrap();
        assert!(hash.matches("correct horse") && !hash.matches("Correct horse") && !hash.matches(""));
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_ne!(hash, PasswordHash::of("correct horse").unwrap(), "a fresh salt each time");
        assert_eq!(PasswordHash::parse(hash.expose()).unwrap(), hash);
        assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
    }

    #[test]
    fn refuses_what_cannot_be_a_password_or_a_hash() {
        for (password, error) in [
            ("", PasswordError::Empty),
            ("a\0b", PasswordError::Control),
            ("a\nb", PasswordError::Control),
            (&"a".repeat(513), PasswordError::TooLong),
        ] {
            assert_eq!(PasswordHash::of(password).unwrap_err(), error);
        }
        for text in ["", "secret", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ", "$scrypt$ln=1$c2FsdHNhbHQ$aGFzaGhhc2g"]
        {
            assert_eq!(PasswordHash::parse(text).unwrap_err(), PasswordError::NoHash, "{text}");
        }
    }

    #[test]
    fn generated_passwords_need_no_quoting() {
        let password = generate_password();
        assert!(password.len() == 24 && password.bytes().all(|b| b.is_ascii_alphanumeric()), "{password}");
        assert_ne!(password, generate_password());
    }
}
