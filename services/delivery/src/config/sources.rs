//! Addresses to send from.

use std::net::IpAddr;
use std::sync::Arc;

use sluice_daemon::config::KeyError;
use sluice_mail::Host;

use super::RawConfig;

/// Most sources.
const SOURCES_MAX: usize = 1_000;
/// Longest name of a source, in octets.
const NAME_MAX: usize = 63;

/// An address to send from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What it is called in logs and accounting files.
    pub name: Arc<str>,
    /// The local address that connections come from.
    pub address: IpAddr,
    /// Our name in EHLO when we come from it; as for all when `None`.
    pub ehlo_name: Option<Arc<str>>,
}

/// The sources of the section: the list, or the single `source_address`.
pub(super) fn read(raw: &RawConfig) -> Result<Arc<[Source]>, KeyError> {
    if let (Some(_), false) = (raw.source_address, raw.sources.is_empty()) {
        return Err(KeyError::new("source_address", "expected none, as delivery.sources lists the addresses"));
    }
    if raw.sources.len() > SOURCES_MAX {
        return Err(KeyError::new("sources", format!("expected {SOURCES_MAX} at most")));
    }
    if let Some(address) = raw.source_address {
        let name = address.to_string().into();
        return Ok(Arc::new([Source { name, address, ehlo_name: None }]));
    }
    let mut sources: Vec<Source> = Vec::with_capacity(raw.sources.len());
    for (place, source) in raw.sources.iter().enumerate() {
        let wrong = |key: &str, problem: String| KeyError::new(format!("sources[{place}].{key}"), problem);
        if !is_name(&source.name) {
            return Err(wrong("name", format!("expected 1 to {NAME_MAX} of a-z A-Z 0-9 . _ : -")));
        }
        if let Some(other) = sources.iter().position(|s| *s.name == *source.name) {
            return Err(wrong("name", format!("expected another name: sources[{other}] is called so")));
        }
        if let Some(other) = sources.iter().position(|s| s.address == source.address) {
            return Err(wrong("address", format!("expected another address: sources[{other}] has it")));
        }
        let name = |name: &String| ehlo_name(&format!("sources[{place}].ehlo_name"), name);
        sources.push(Source {
            name: source.name.as_str().into(),
            address: source.address,
            ehlo_name: source.ehlo_name.as_ref().map(name).transpose()?,
        });
    }
    Ok(sources.into())
}

fn is_name(name: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_letter)
}

pub(super) fn ehlo_name(key: &str, text: &str) -> Result<Arc<str>, KeyError> {
    let host = Host::parse(text)
        .map_err(|e| KeyError::new(key, format!("expected a host name or an address literal: {e}")))?;
    Ok(host.to_string().into())
}
