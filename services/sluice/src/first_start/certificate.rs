//! A self-signed certificate, for a machine that has no other yet.

use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use sluice_mail::UnixMs;

/// From a day before now, for clients whose clocks are slow.
const SLACK: Duration = Duration::from_secs(86_400);
/// Ten years, leap days not counted.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// X.520 allows no longer common name.
const COMMON_NAME_MAX: usize = 64;

/// PEM texts. Without `Debug`: one of them is a private key.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// A certificate for `hostname`, `localhost` and the loopback addresses, with `key` or with a new one (ECDSA P-256).
pub(super) fn self_signed(hostname: &str, key: Option<&str>, now: UnixMs) -> Result<Pair, rcgen::Error> {
    let key = key.map_or_else(KeyPair::generate, KeyPair::from_pem)?;
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    if hostname != "localhost" {
        names.insert(0, hostname.to_owned());
    }
    let mut params = CertificateParams::new(names)?;
    let common_name = if hostname.len() > COMMON_NAME_MAX { "localhost" } else { hostname };
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(now.0);
    (params.not_before, params.not_after) = (now - SLACK, now + LIFETIME);
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_hostname_gets_a_certificate() {
        let long = format!("{}.example", "a".repeat(63));
        for hostname in ["localhost", "mail.example.org", &long] {
            let pair = self_signed(hostname, None, UnixMs(1_795_464_000_000)).unwrap();
            assert!(pair.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
            assert!(pair.key.starts_with("-----BEGIN PRIVATE KEY-----"));
        }
    }

    #[test]
    fn a_key_that_is_there_is_used_again() {
        let first = self_signed("a.example", None, UnixMs(0)).unwrap();
        let second = self_signed("b.example", Some(&first.key), UnixMs(0)).unwrap();
        assert_eq!(first.key, second.key);
        assert!(self_signed("a.example", Some("no key"), UnixMs(0)).is_err());
    }
}
