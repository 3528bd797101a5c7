use std::fs;

use sluice_daemon::config::undocumented;

use super::*;

mod dkim;

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn sources(path: &Path) -> Sources {
    Sources { path: path.to_owned(), named: true, environment: Vec::new(), overrides: Vec::new() }
}

fn flag(key: &str, value: &str) -> Override {
    Override { key: key.into(), value: value.into(), origin: "--set" }
}

#[test]
fn the_reference_is_up_to_date() {
    let path = format!("{ROOT}/docs/configuration.md");
    let written = fs::read_to_string(&path).unwrap_or_default();
    let command = "cargo run -p sluice -- config-reference >docs/configuration.md";
    assert!(written == reference(), "{path} is not what the code says; write it anew: {command}");
}

#[test]
fn every_key_is_documented() {
    assert_eq!(undocumented::<RawConfig>(), [""; 0]);
    assert_eq!(undocumented::<RawTls>(), [""; 0]);
    assert_eq!(undocumented::<RawSpool>(), [""; 0]);
    assert_eq!(undocumented::<sluice_ingress::RawConfig>(), [""; 0]);
    assert_eq!(undocumented::<sluice_delivery::RawConfig>(), [""; 0]);
    assert_eq!(undocumented::<RawDkim>(), [""; 0]);
    assert_eq!(undocumented::<RawAccounting>(), [""; 0]);
    assert_eq!(undocumented::<sluice_control::RawConfig>(), [""; 0]);
    assert_eq!(undocumented::<AdminConfig>(), [""; 0]);
    assert_eq!(undocumented::<LogConfig>(), [""; 0]);
    assert_eq!(undocumented::<sandbox::RawConfig>(), [""; 0]);
}

#[test]
fn the_example_configurations_are_good() {
    let mut read = 0;
    for entry in fs::read_dir(format!("{ROOT}/deploy/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            sources(&path).load().unwrap_or_else(|e| panic!("{e}"));
            read += 1;
        }
    }
    assert!(read >= 2);
}

#[test]
fn the_defaults_are_good() {
    let config = sources(Path::new("sluice.toml")).load_text("").unwrap();
    assert_eq!(config.data_dir, Path::new("sluice-data"));
    assert_eq!(config.control_socket, Path::new("sluice-data/control.sock"));
    assert!(config.certificate.own && config.certificate.key == Path::new("sluice-data/key.pem"));
    let addresses: Vec<_> = config.ingress.addresses().map(|a| a.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1:2587", "127.0.0.1:2465"]);
    assert_eq!(config.listeners.len(), addresses.len());
}

#[test]
fn paths_are_meant_from_the_file_and_flags_from_the_working_folder() {
    let text = "data_dir = \"d\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"/k.pem\"\n[control]\nsocket = \"s\"";
    let mut from = sources(Path::new("/etc/sluice/sluice.toml"));
    let config = from.load_text(text).unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/sluice/d"));
    assert_eq!(config.certificate.certificate, Path::new("/etc/sluice/c.pem"));
    assert_eq!(config.certificate.key, Path::new("/k.pem"));
    assert_eq!(config.control_socket, Path::new("/etc/sluice/s"));
    let here = std::env::current_dir().unwrap();
    for value in ["e", "\"e\""] {
        from.overrides = vec![flag("data_dir", value)];
        assert_eq!(from.load_text(text).unwrap().data_dir, here.join("e"));
    }
}

#[test]
fn environment_goes_over_the_file_and_flags_over_both() {
    let mut from = sources(Path::new("sluice.toml"));
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    from.environment = vec![variable("SLUICE_HOSTNAME", "env.example"), variable("SLUICE_LOG__LEVEL", "warn")];
    from.overrides = vec![flag("log.level", "debug")];
    let config = from.load_text("hostname = \"file.example\"\n[log]\nlevel = \"error\"\nformat = \"json\"").unwrap();
    assert_eq!((&*config.hostname, config.log.level.as_str()), ("env.example", "debug"));
    assert_eq!(config.log.format, sluice_daemon::LogFormat::Json);
}

#[test]
fn what_makes_no_sense_is_named_with_its_place() {
    for (text, expect) in [
        ("hostname = \"not a name\"", "sluice.toml line 1: hostname = \"not a name\": expected a name such as"),
        ("data_dir = \"\"", "sluice.toml line 1: data_dir = \"\": expected the path of a folder"),
        ("\n[tls]\nkey = \"k\"", "sluice.toml line 2: tls.certificate: expected the path of the key's certificate"),
        ("[log]\nlevel = \"a=b=c\"", "sluice.toml line 2: log.level = \"a=b=c\": expected error, warn, info"),
        (
            "[spool]\nsegment_bytes = \"1MiB\"",
            "sluice.toml line 2: spool.segment_bytes = \"1MiB\": expected a multiple",
        ),
        ("[spool]\nmax_bytes = \"1MiB\"", "sluice.toml line 2: spool.max_bytes = \"1MiB\": expected 256MiB or more"),
        ("[ingress]\nmax_recipients = 5", "sluice.toml line 2: ingress.max_recipients = 5: expected 100 or more"),
        ("[delivery]\nretry_after = []", "sluice.toml line 2: delivery.retry_after = []: "),
        ("[accounting]\nrecords = []", "sluice.toml line 2: accounting.records = []: expected one or more of"),
        ("[sandbox]\nmax_messages = 0", "sluice.toml line 2: sandbox.max_messages = 0: must be at least 1"),
    ] {
        let error = sources(Path::new("sluice.toml")).load_text(text).unwrap_err().to_string();
        assert!(error.starts_with(expect), "{error}");
    }
}

#[test]
fn a_named_file_must_be_there() {
    let mut from = sources(Path::new("/nowhere/sluice.toml"));
    assert!(from.load().unwrap_err().to_string().starts_with("/nowhere/sluice.toml: cannot be read: "));
    from.named = false;
    from.load().unwrap();
}

#[test]
fn addresses_that_collide_are_told_with_both_keys() {
    let listener = |address: &str| format!("[[ingress.listeners]]\naddress = \"{address}\"\ntls = \"none\"\n");
    for (text, words) in [
        (
            listener("127.0.0.1:25") + &listener("0.0.0.0:25"),
            "ingress.listeners[1].address = \"0.0.0.0:25\": expected an address of its own: ingress.listeners[0].address",
        ),
        (listener("0.0.0.0:9925"), "expected an address of its own: ingress.listeners[0].address = \"0.0.0.0:9925\""),
    ] {
        let error = sources(Path::new("sluice.toml")).load_text(&text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
