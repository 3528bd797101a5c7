use std::time::{Duration, Instant};

use bytes::Bytes;
use sluice_mail::{Address, Domain, ManualClock, UnixMs};

use super::*;
use crate::fjall::FjallLog;
use crate::memory::MemoryLog;
use crate::{Dsn, SenderDomain};

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Instant::now(), UnixMs(0)))
}

async fn open(log: impl ControlLog) -> Registry {
    Registry::open(log, VerifyConfig::default(), clock()).await.unwrap()
}

fn rules() -> AccountRules {
    let domain = Domain::parse("example.org").unwrap();
    AccountRules { sender_domains: vec![SenderDomain { domain, exact: false }], ..AccountRules::default() }
}

fn accepted(outcome: &AuthOutcome) -> Option<&str> {
    match outcome {
        AuthOutcome::Accepted(grant) => Some(&grant.account.id),
        AuthOutcome::Refused | AuthOutcome::Busy => None,
    }
}

#[tokio::test]
async fn an_account_logs_in_until_its_password_changes_or_it_is_deleted() {
    let registry = open(MemoryLog::new()).await;
    registry.create_account("demo", rules(), "first").await.unwrap();
    assert_eq!(accepted(&registry.verify("demo", "first").await), Some("demo"));
    assert_eq!(accepted(&registry.verify("demo", "second").await), None);
    assert_eq!(accepted(&registry.verify("other", "first").await), None);

    let account = registry.set_password("demo", "demo", "second").await.unwrap();
    assert_eq!(account.version, 2);
    assert_eq!(accepted(&registry.verify("demo", "first").await), None, "a remembered success ends with its password");
    assert_eq!(accepted(&registry.verify("demo", "second").await), Some("demo"));

    registry.delete_account("demo").await.unwrap();
    assert_eq!(accepted(&registry.verify("demo", "second").await), None);
    assert!(registry.account("demo").is_none());
    registry.create_account("demo", rules(), "third").await.unwrap();
    assert_eq!(accepted(&registry.verify("demo", "second").await), None);
    assert_eq!(accepted(&registry.verify("demo", "third").await), Some("demo"));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let registry = open(MemoryLog::new()).await;
    registry.create_account("demo", rules(), "secret").await.unwrap();
    let rules_with_bad_pool = AccountRules { pools: vec!["No".into()], ..rules() };
    for (result, words) in [
        (registry.create_account("demo", rules(), "x").await.map(drop), "account demo exists already"),
        (registry.delete_account("none").await, "there is no account none"),
        (registry.set_password("none", "none", "x").await.map(drop), "there is no account none"),
        (registry.set_password("demo", "other", "x").await.map(drop), "there is no credential other of account demo"),
        (registry.set_password("demo", "demo", "").await.map(drop), "password: the password is empty"),
    ] {
        assert_eq!(result.unwrap_err().to_string(), words);
    }
    let Err(RegistryError::Invalid(violations)) = registry.create_account("No", rules_with_bad_pool, "").await else {
        panic!("accepted");
    };
    let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["account.pools[0]", "account_id", "password"], "all at once");
}

#[tokio::test]
async fn rules_change_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(FjallLog::open(folder.path()).unwrap()).await;
    registry.create_account("demo", rules(), "secret").await.unwrap();
    let good = |rules: &mut AccountRules| {
        rules.dsn = Dsn::Off;
        rules.retry_after = Some(vec![Duration::from_secs(60)]);
        Vec::new()
    };
    let updated = registry.update_account("demo", Some(1), good).await.unwrap();
    assert_eq!((updated.before.rules.dsn, updated.after.rules.dsn, updated.after.version), (Dsn::Headers, Dsn::Off, 2));
    let same = registry.update_account("demo", None, good).await.unwrap();
    assert_eq!(same.after.version, 2);

    let bad = |rules: &mut AccountRules| {
        rules.dsn = Dsn::Full;
        rules.retry_after = Some(vec![Duration::from_secs(60), Duration::ZERO]);
        rules.bounce_after = Some(Duration::from_secs(31 * 86_400));
        vec![Violation::new("account.lanes[0]", "none of ours")]
    };
    let Err(RegistryError::Invalid(violations)) = registry.update_account("demo", None, bad).await else {
        panic!("accepted");
    };
    let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["account.lanes[0]", "account.retry_after_ms[1]", "account.bounce_after_ms"]);
    let stale = registry.update_account("demo", Some(1), good).await.unwrap_err();
    assert_eq!(stale, RegistryError::Changed { id: "demo".into(), is: 2, expected: 1 });
    assert!(matches!(registry.update_account("none", None, good).await, Err(RegistryError::NotFound(_))));
    assert_eq!(accepted(&registry.verify("demo", "secret").await), Some("demo"), "the password stays");

    drop(registry);
    let registry = open(FjallLog::open(folder.path()).unwrap()).await;
    let account = registry.account("demo").unwrap();
    assert_eq!((account.rules.dsn, account.version), (Dsn::Off, 2));
}

#[tokio::test]
async fn accounts_are_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(FjallLog::open(folder.path()).unwrap()).await;
    for id in ["b", "a", "c"] {
        registry.create_account(id, rules(), "secret").await.unwrap();
    }
    registry.delete_account("c").await.unwrap();
    drop(registry);
    let registry = open(FjallLog::open(folder.path()).unwrap()).await;
    let view = registry.view();
    assert_eq!(view.accounts_after("").map(|a| &*a.id).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(view.accounts_after("a").map(|a| &*a.id).collect::<Vec<_>>(), ["b"]);
    assert_eq!(accepted(&registry.verify("a", "secret").await), Some("a"));
    assert!(registry.account("b").unwrap().may_send_as(&Address::parse("x@sub.example.org").unwrap()));
}

#[tokio::test]
async fn a_record_of_a_newer_version_stops_the_start() {
    let log = MemoryLog::new();
    log.write("account/a".into(), Some(Bytes::from_static(b"\x07new"))).await.unwrap();
    let error = Registry::open(log, VerifyConfig::default(), clock()).await.unwrap_err();
    assert!(error.to_string().starts_with("the record account/a cannot be read: it was written by a newer"), "{error}");

    let log = MemoryLog::new();
    log.write("policy/x".into(), Some(Bytes::from_static(b"whatever"))).await.unwrap();
    assert!(open(log).await.view().is_empty(), "other kinds of record are passed over");
}

#[tokio::test]
async fn a_known_and_an_unknown_name_take_the_same_work() {
    let registry = Arc::new(open(MemoryLog::new()).await);
    registry.create_account("demo", rules(), "secret").await.unwrap();
    let mut spent = [Duration::ZERO; 2];
    for _ in 0..5 {
        for (login, spent) in ["demo", "nobody"].iter().zip(&mut spent) {
            #[expect(clippy::disallowed_methods, reason = "the test is about time")]
            let before = Instant::now();
            assert_eq!(accepted(&registry.verify(login, "wrong").await), None);
            #[expect(clippy::disallowed_methods, reason = "the test is about time")]
            let took = before.elapsed();
            *spent += took;
        }
    }
    let ratio = spent[0].as_secs_f64() / spent[1].as_secs_f64();
    assert!((0.2..5.0).contains(&ratio), "wrong password {:?}, unknown name {:?}", spent[0], spent[1]);
}
