//! `[[dkim.keys]]`.

use std::os::unix::fs::PermissionsExt;

use sluice_mail::UnixMs;
use sluice_sign::Owner;

use super::*;

/// A folder with a good key, a broken one, a too short one, a public one, and one that everybody may read.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (domain, selector) = (Domain::parse("a.example").unwrap(), "s".parse().unwrap());
    let good = sluice_sign::Key::generate(domain, selector, sluice_sign::Algorithm::Ed25519, 0).unwrap().pem;
    let short = include_str!("short.pem");
    for (name, text, mode) in [
        ("good.pem", good.as_str(), 0o600),
        ("group.pem", &good, 0o640),
        ("open.pem", &good, 0o644),
        ("broken.pem", &good.replace("PRIVATE", "WHATEVER"), 0o600),
        ("short.pem", short, 0o600),
        ("long.pem", &"x".repeat(20_000), 0o600),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}

fn key(selector: &str, file: &str, more: &str) -> String {
    format!("[[dkim.keys]]\ndomain = \"a.example\"\nselector = \"{selector}\"\nfile = \"{file}\"\n{more}\n")
}

#[test]
fn keys_are_read_from_their_files() {
    let folder = folder();
    let from = sources(&folder.path().join("sluice.toml"));
    let times = "account = \"shop\"\nfrom = \"2026-12-01\"\nuntil = \"2026-12-02T00:00:00Z\"";
    let config = from.load_text(&(key("s1", "good.pem", "") + &key("s2", "group.pem", times))).unwrap();
    let names: Vec<_> = config.dkim_keys.iter().map(|entry| entry.key.name()).collect();
    assert_eq!(names, ["s1._domainkey.a.example", "s2._domainkey.a.example"]);
    assert_eq!(config.dkim_keys[0].owner, Owner::Everybody);
    assert_eq!(config.dkim_keys[1].owner, Owner::Account("shop".into()));
    let validity = config.dkim_keys[1].validity;
    assert_eq!((validity.from, validity.until), (Some(UnixMs(1_796_083_200_000)), Some(UnixMs(1_796_169_600_000))));
}

#[test]
fn a_key_that_cannot_sign_is_named_with_its_place() {
    let folder = folder();
    let path = folder.path().join("sluice.toml");
    let from = sources(&path);
    for (text, place, problem) in [
        (
            key("s1", "none.pem", ""),
            "line 4: dkim.keys[0].file = \"none.pem\"",
            "none.pem: cannot be read: No such file",
        ),
        (
            key("s1", "open.pem", ""),
            "line 4: dkim.keys[0].file",
            "everybody may read it: take that away with `chmod o-rwx`",
        ),
        (key("s1", "broken.pem", ""), "line 4: dkim.keys[0].file", "expected a private key in PEM form"),
        (key("s1", "short.pem", ""), "line 4: dkim.keys[0].file", "an RSA key of 1024 bits; expected 2048 to 4096"),
        (key("s1", "long.pem", ""), "line 4: dkim.keys[0].file", "is longer than 16384 octets"),
        (key("s_1", "good.pem", ""), "line 3: dkim.keys[0].selector", "expected a selector: "),
        (key("s1", "good.pem", "from = \"soon\""), "line 5: dkim.keys[0].from", "expected a time such as"),
        (
            key("s1", "good.pem", "from = \"2026-12-02\"\nuntil = \"2026-12-01\""),
            "line 6: dkim.keys[0].until",
            "expected a time after from",
        ),
        (
            key("s1", "good.pem", "") + &key("S1", "good.pem", ""),
            "dkim.keys[1].selector",
            "expected another selector: keys[0] has this one for a.example",
        ),
    ] {
        let error = from.load_text(&text).unwrap_err().to_string();
        let begins = format!("{} {place}", path.display());
        let named = error.starts_with(&begins) || error.contains(place);
        assert!(named && error.contains(problem), "{error}");
    }
}
