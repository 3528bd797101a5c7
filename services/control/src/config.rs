//! The section `[control]` of the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sluice_daemon::config::{Documented, Key};

/// The section as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// Path of the Unix socket; `None`: `control.sock` in the data folder.
    pub socket: Option<PathBuf>,
}

impl Documented for RawConfig {
    const KEYS: &'static [Key] = &[Key::new(
        "socket",
        "path",
        "Unix socket on which the command line speaks to the server. Only its owner may open it (mode 0600); whoever \
         can is the operator. At most 100 octets, as the system allows no longer ones.",
    )
    .or("`control.sock` in `data_dir`")];
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_key_is_documented() {
        assert!(sluice_daemon::config::undocumented::<super::RawConfig>().is_empty());
    }
}
