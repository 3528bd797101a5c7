use std::time::{Duration, Instant};

use sluice_mail::ManualClock;
use sluice_sign::KeyError;

use super::*;
use crate::fjall::FjallLog;
use crate::memory::MemoryLog;
use crate::{AccountRules, ControlLog, Registry, RegistryError, VerifyConfig};

const START: UnixMs = UnixMs(1_000_000);
const HOUR: Duration = Duration::from_secs(3600);

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Instant::now(), START))
}

async fn open(log: impl ControlLog, clock: &Arc<ManualClock>) -> Result<Registry, RegistryError> {
    Registry::open(log, VerifyConfig::default(), Arc::clone(clock) as Arc<dyn sluice_mail::Clock>).await
}

fn name(selector: &str) -> DkimName {
    DkimName { domain: Domain::parse("example.org").unwrap(), selector: selector.parse().unwrap() }
}

fn new(selector: &str, from: Option<UnixMs>) -> NewDkimKey {
    let DkimName { domain, selector } = name(selector);
    let key = Key::generate(domain, selector, Algorithm::Ed25519, 0).unwrap();
    NewDkimKey { key, owner: Owner::Everybody, validity: Validity { from, until: None } }
}

/// The selector that signs mail from example.org at `at`.
fn signs(registry: &Registry, at: UnixMs) -> Option<String> {
    let domain = Domain::parse("example.org").unwrap();
    registry.keys().pick("demo", &domain, at).first().map(|key| key.selector().to_string())
}

fn shown(registry: &Registry, at: UnixMs) -> Vec<String> {
    let text = |key: &DkimKey| format!("{} {}", key.entry.key.selector(), key.state(at).as_str());
    registry.dkim_keys().iter().map(text).collect()
}

#[tokio::test]
async fn a_new_selector_takes_over_without_a_gap() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let registry = open(FjallLog::open(folder.path()).unwrap(), &clock).await.unwrap();
    assert!(registry.keys().is_empty());
    let change = START.plus(HOUR);
    registry.add_dkim_key(new("old", None)).await.unwrap();
    registry.add_dkim_key(new("new", Some(change))).await.unwrap();
    let before = UnixMs(change.0 - 1);
    let rotation = |registry: &Registry| [before, change].map(|at| signs(registry, at).unwrap());
    assert_eq!(rotation(&registry), ["old", "new"]);
    assert_eq!(shown(&registry, before), ["new not yet", "old signs"]);

    let retired = registry.retire_dkim_key(&name("old"), change.plus(HOUR)).await.unwrap();
    assert_eq!((retired.before.until, retired.key.entry.validity.until), (None, Some(change.plus(HOUR))));
    assert_eq!(rotation(&registry), ["old", "new"]);
    assert_eq!(shown(&registry, change.plus(HOUR)), ["new signs", "old retired"]);

    drop(registry);
    let registry = open(FjallLog::open(folder.path()).unwrap(), &clock).await.unwrap();
    assert_eq!(rotation(&registry), ["old", "new"], "the same after a restart");
    assert_eq!(registry.dkim_key(&name("old")).unwrap().source, DkimSource::Log { created: START });
}

#[tokio::test]
async fn what_signs_is_neither_deleted_by_mistake_nor_brought_back() {
    let clock = clock();
    let registry = open(MemoryLog::new(), &clock).await.unwrap();
    registry.add_dkim_key(new("s1", None)).await.unwrap();
    let error = registry.delete_dkim_key(&name("s1"), false).await.unwrap_err();
    assert_eq!(error, RegistryError::Signs(name("s1")));
    registry.retire_dkim_key(&name("s1"), START.plus(HOUR)).await.unwrap();
    registry.retire_dkim_key(&name("s1"), START.plus(2 * HOUR)).await.unwrap();
    clock.advance(3 * HOUR);
    let back = registry.retire_dkim_key(&name("s1"), START.plus(4 * HOUR)).await.unwrap_err();
    assert!(back.to_string().contains("at_ms: its time is over already"), "{back}");
    registry.delete_dkim_key(&name("s1"), false).await.unwrap();
    assert_eq!(
        registry.delete_dkim_key(&name("s1"), false).await.unwrap_err().to_string(),
        format!("there is no key {}", name("s1"))
    );
    registry.add_dkim_key(new("s1", None)).await.unwrap();
    registry.delete_dkim_key(&name("s1"), true).await.unwrap();
    assert!(registry.keys().is_empty() && registry.dkim_keys().is_empty());
}

#[tokio::test]
async fn a_key_of_a_file_signs_instead_of_the_one_of_its_name() {
    let registry = open(MemoryLog::new(), &clock()).await.unwrap();
    let added = registry.add_dkim_key(new("s1", None)).await.unwrap();
    let of_file = LogKey::new(new("s1", None), START).entry;
    let only_file = LogKey::new(new("s2", None), START).entry;
    let overridden = registry.set_file_keys(vec![of_file.clone(), only_file]).await;
    assert_eq!(overridden, [name("s1")]);
    assert_eq!(shown(&registry, START), ["s1 signs", "s1 overridden", "s2 signs"]);
    let public = |registry: &Registry| {
        let ring = registry.keys();
        let found = ring.entries().find(|entry| entry.key.selector().as_str() == "s1").map(|e| e.key.public());
        found.unwrap()
    };
    assert_eq!(public(&registry), of_file.key.public());

    for error in [
        registry.retire_dkim_key(&name("s2"), START).await.map(drop).unwrap_err(),
        registry.delete_dkim_key(&name("s2"), true).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error, RegistryError::FromFile(name("s2")));
    }
    let again = registry.add_dkim_key(new("s2", None)).await.unwrap_err();
    assert_eq!(again.to_string(), format!("key {} exists already", name("s2")));

    assert!(registry.set_file_keys(Vec::new()).await.is_empty());
    assert_eq!(public(&registry), added.entry.key.public(), "the file's is gone, the log's signs again");
    registry.set_file_keys(vec![of_file]).await;
    registry.delete_dkim_key(&name("s1"), false).await.unwrap();
    assert_eq!(shown(&registry, START), ["s1 signs"], "the log's does not sign, so it goes without force");
}

#[tokio::test]
async fn all_that_is_wrong_is_named() {
    let registry = open(MemoryLog::new(), &clock()).await.unwrap();
    let mut bad = new("s1", Some(START));
    (bad.owner, bad.validity.until) = (Owner::Account("none".into()), Some(START));
    let error = registry.add_dkim_key(bad).await.unwrap_err();
    let words = "dkim_key.account: there is no account none; dkim_key.until_ms: expected a time after from_ms";
    assert_eq!(error.to_string(), words);
    registry.create_account("shop", AccountRules::default(), "secret").await.unwrap();
    let good = NewDkimKey { owner: Owner::Account("shop".into()), ..new("s1", None) };
    registry.add_dkim_key(good).await.unwrap();
    assert_eq!(signs(&registry, START), None, "another account's key does not sign");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_stops_the_start_and_is_named() {
    let key = LogKey::new(new("s1", None), START);
    let pem = key.pem.to_string();
    let good = key.encode();
    let with = |change: &dyn Fn(&mut wire::DkimKey)| {
        let mut record = wire::DkimKey::decode(unframed(&good).unwrap()).unwrap();
        change(&mut record);
        framed(&record)
    };
    let newer = Bytes::from([&[9][..], &good[1..]].concat());
    for (at, record, words) in [
        ("dkim/example.org/s1", newer, "a newer version of Sluice"),
        ("dkim/example.org/s1", good.slice(..good.len() - 5), "it is damaged"),
        ("dkim/example.org/s2", good.clone(), "it is the record of another key"),
        ("dkim/not a domain/s1", good.clone(), "it is damaged"),
        ("dkim/example.org/s1", with(&|r| r.algorithm = "rsa".into()), "the private key is of another algorithm"),
        ("dkim/example.org/s1", with(&|r| r.pem = "nonsense".into()), "expected a private key in PEM form"),
    ] {
        let log = MemoryLog::new();
        log.write(at.into(), Some(record)).await.unwrap();
        let error = open(log, &clock()).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("the record {at} cannot be read: ")) && error.contains(words), "{error}");
        assert!(!error.contains(&pem[40..60]), "nothing private in {error}");
    }
    let log = MemoryLog::new();
    log.write("dkim/example.org/s1".into(), Some(good)).await.unwrap();
    assert_eq!(signs(&open(log, &clock()).await.unwrap(), START).unwrap(), "s1");
}

#[tokio::test]
async fn there_is_a_bound() {
    let log = MemoryLog::new();
    let pem = new("s0", None).key.pem;
    for n in 0..DKIM_KEYS_MAX {
        let name = name(&format!("s{n}"));
        let key = Key::from_pem(name.domain.clone(), name.selector.clone(), &pem).unwrap();
        let key = NewKey { pem: pem.clone(), key };
        let key = NewDkimKey { key, owner: Owner::Everybody, validity: Validity::default() };
        log.write(name.log_key(), Some(LogKey::new(key, START).encode())).await.unwrap();
    }
    let registry = open(log, &clock()).await.unwrap();
    assert_eq!(registry.add_dkim_key(new("more", None)).await.unwrap_err(), RegistryError::TooManyKeys);
    registry.delete_dkim_key(&name("s7"), true).await.unwrap();
    registry.add_dkim_key(new("more", None)).await.unwrap();
}

#[test]
fn nothing_private_is_in_debug_texts() {
    let new = new("s1", None);
    let secret = new.key.pem.lines().nth(1).unwrap()[10..40].to_owned();
    let mut shown = format!("{new:?}");
    let key = LogKey::new(new, START);
    let told = DkimKey { entry: key.entry.clone(), source: DkimSource::File, is_overridden: false };
    shown.push_str(&format!("{key:?} {told:?}"));
    assert!(shown.contains("s1._domainkey.example.org") && !shown.contains(&secret), "{shown}");
    let broken = Key::from_pem(told.entry.key.domain().clone(), "s1".parse().unwrap(), &secret).unwrap_err();
    assert!(matches!(broken, KeyError::NotPem) && !broken.to_string().contains(&secret));
}

#[test]
fn names_are_read_back() {
    for text in ["s1._domainkey.example.org", "a.b._domainkey.xn--bcher-kva.example"] {
        let name = DkimName::parse(text).unwrap();
        assert_eq!(name.to_string(), text);
        assert_eq!(DkimName::of_log_key(&name.log_key()).unwrap().unwrap(), name);
    }
    for text in ["s1.example.org", "._domainkey.example.org", "s1._domainkey.", "s_1._domainkey.a.example"] {
        assert!(DkimName::parse(text).is_none(), "{text}");
    }
    assert!(DkimName::of_log_key("account/x").is_none());
}
