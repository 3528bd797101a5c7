//! The `[sandbox]` section.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sluice_daemon::config::{Documented, Key, KeyError, Size};

/// The section as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawConfig {
    /// Where the page and the API are served.
    pub(crate) address: SocketAddr,
    /// Further host names under which the page may be asked for.
    pub(crate) hosts: Vec<String>,
    /// Most messages that are kept.
    pub(crate) max_messages: usize,
    /// Most memory for messages.
    pub(crate) max_bytes: Size,
}

/// The section, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where the page and the API are served.
    pub(crate) address: SocketAddr,
    /// Further host names under which the page may be asked for, in lower case.
    pub(crate) hosts: Vec<String>,
    /// Most messages that are kept; at least one.
    pub(crate) max_messages: usize,
    /// Most memory for messages, in octets.
    pub(crate) max_bytes: usize,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8025)),
            hosts: Vec::new(),
            max_messages: 1_000,
            max_bytes: Size::mib(64),
        }
    }
}

impl Documented for RawConfig {
    const KEYS: &'static [Key] = &[
        Key::new(
            "address",
            "address",
            "Where the sandbox shows its page and its Mailpit API. Whoever can reach it can read and delete every \
             message in it: keep it on loopback. Used with `--sandbox` only, as is the whole section.",
        ),
        Key::new(
            "hosts",
            "list of text",
            "Host names besides `localhost` and IP addresses under which the page may be asked for, such as the name \
             of a container. Others are refused, so that no web page can reach the sandbox by a name of its own.",
        ),
        Key::new("max_messages", "number", "Messages kept in memory at most; the oldest go first."),
        Key::new(
            "max_bytes",
            "size",
            "Memory for messages at most, their searchable text included; the oldest go first. The newest message \
             stays, however large it is.",
        ),
    ];
}

impl TryFrom<RawConfig> for Config {
    type Error = KeyError;

    fn try_from(raw: RawConfig) -> Result<Self, KeyError> {
        if raw.max_messages == 0 {
            return Err(KeyError::new("max_messages", "must be at least 1"));
        }
        let max_bytes = usize::try_from(raw.max_bytes.0).unwrap_or(usize::MAX);
        let hosts = raw.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Ok(Self { address: raw.address, hosts, max_messages: raw.max_messages, max_bytes })
    }
}

#[cfg(test)]
mod tests {
    use sluice_daemon::config::undocumented;

    use super::*;

    #[test]
    fn the_default_is_valid_local_and_documented() {
        let config = Config::try_from(RawConfig::default()).unwrap();
        assert!(config.address.ip().is_loopback() && config.hosts.is_empty());
        assert!(undocumented::<RawConfig>().is_empty());
    }

    #[test]
    fn a_sandbox_that_keeps_nothing_is_refused() {
        let error = Config::try_from(RawConfig { max_messages: 0, ..RawConfig::default() }).unwrap_err();
        assert_eq!(error.key, "max_messages");
    }
}
