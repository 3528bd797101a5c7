//! `sluice version`.

use std::io::{self, Write};

use serde_json::json;

/// Name and version, for people or for machines.
pub(crate) fn version(as_json: bool, out: &mut dyn Write) -> io::Result<()> {
    let (version, os, arch) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    if as_json {
        writeln!(out, "{}", json!({ "name": "sluice", "version": version, "os": os, "arch": arch }))
    } else {
        writeln!(out, "sluice {version} ({os}, {arch})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_version_in_both_forms() {
        let said = |as_json| {
            let mut out = Vec::new();
            version(as_json, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(said(false).starts_with(concat!("sluice ", env!("CARGO_PKG_VERSION"), " (")));
        let value: serde_json::Value = serde_json::from_str(&said(true)).unwrap();
        assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    }
}
