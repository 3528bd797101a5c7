//! The `[tls]` section: which certificate listeners show.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sluice_daemon::config::{Documented, Key, KeyError};

/// The section as it is written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTls {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// The files of the certificate that listeners show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// PEM, the server's certificate first, then the chain.
    pub(crate) certificate: PathBuf,
    /// PEM.
    pub(crate) key: PathBuf,
    /// Nobody configured them: they are in the data folder, and made when they are not there.
    pub(crate) own: bool,
}

impl Documented for RawTls {
    const KEYS: &'static [Key] = &[
        Key::new(
            "certificate",
            "path",
            "PEM file with the certificate that listeners show, followed by those that lead to a known authority. \
             Read again when it changes.",
        )
        .or("self-signed, made in `data_dir`"),
        Key::new("key", "path", "PEM file with the certificate's private key.").or("made with the certificate"),
    ];
}

impl Certificate {
    pub(crate) fn new(raw: RawTls, base: &Path, data_dir: &Path) -> Result<Self, KeyError> {
        match (raw.certificate, raw.key) {
            (Some(certificate), Some(key)) => {
                Ok(Self { certificate: base.join(certificate), key: base.join(key), own: false })
            }
            (None, None) => {
                Ok(Self { certificate: data_dir.join("certificate.pem"), key: data_dir.join("key.pem"), own: true })
            }
            (Some(_), None) => Err(KeyError::new("key", "expected the path of the certificate's private key")),
            (None, Some(_)) => Err(KeyError::new("certificate", "expected the path of the key's certificate")),
        }
    }
}
