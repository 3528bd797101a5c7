use super::*;
use crate::Selector;

fn key(domain: &str, selector: &str, algorithm: Algorithm) -> Arc<Key> {
    // RSA keys take long to make, and which one it is does not matter here.
    static PEM: std::sync::LazyLock<[String; 2]> = std::sync::LazyLock::new(|| {
        [Algorithm::Rsa, Algorithm::Ed25519].map(|algorithm| {
            let (domain, selector) = (Domain::parse("x.example").unwrap(), "s".parse().unwrap());
            Key::generate(domain, selector, algorithm, 2048).unwrap().pem
        })
    });
    let pem = &PEM[usize::from(algorithm == Algorithm::Ed25519)];
    let selector: Selector = selector.parse().unwrap();
    Arc::new(Key::from_pem(Domain::parse(domain).unwrap(), selector, pem).unwrap())
}

fn entry(key: Arc<Key>, owner: Option<&str>, from: Option<u64>, until: Option<u64>) -> Entry {
    let owner = owner.map_or(Owner::Everybody, |account| Owner::Account(account.into()));
    Entry { key, owner, validity: Validity { from: from.map(UnixMs), until: until.map(UnixMs) } }
}

fn names(ring: &KeyRing, account: &str, from: &str, now: u64) -> Vec<String> {
    let domain = Domain::parse(from).unwrap();
    ring.pick(account, &domain, UnixMs(now)).iter().map(|key| key.name()).collect()
}

#[test]
fn the_domains_own_key_comes_before_one_above_it() {
    let ring = KeyRing::new([
        entry(key("example.org", "parent", Algorithm::Rsa), None, None, None),
        entry(key("news.example.org", "own", Algorithm::Rsa), None, None, None),
    ]);
    assert_eq!(names(&ring, "a", "news.example.org", 0), ["own._domainkey.news.example.org"]);
    assert_eq!(names(&ring, "a", "deep.news.example.org", 0), ["own._domainkey.news.example.org"]);
    assert_eq!(names(&ring, "a", "shop.example.org", 0), ["parent._domainkey.example.org"]);
    assert!(names(&ring, "a", "example.net", 0).is_empty());
    assert!(names(&ring, "a", "notexample.org", 0).is_empty());
}

#[test]
fn a_new_selector_takes_over_at_its_time_without_a_gap() {
    let ring = KeyRing::new([
        entry(key("example.org", "old", Algorithm::Rsa), None, None, Some(200)),
        entry(key("example.org", "new", Algorithm::Rsa), None, Some(100), None),
    ]);
    let selector = |now| names(&ring, "a", "example.org", now).join(" ");
    for (now, expect) in [(0, "old"), (99, "old"), (100, "new"), (199, "new"), (200, "new"), (u64::MAX, "new")] {
        assert_eq!(selector(now), format!("{expect}._domainkey.example.org"), "{now}");
    }
}

#[test]
fn an_accounts_key_signs_its_own_mail_only_and_before_everybodys() {
    let ring = KeyRing::new([
        entry(key("example.org", "all", Algorithm::Rsa), None, Some(50), None),
        entry(key("example.org", "shop", Algorithm::Rsa), Some("shop"), None, None),
        entry(key("example.org", "ed", Algorithm::Ed25519), Some("shop"), None, None),
    ]);
    assert_eq!(names(&ring, "shop", "example.org", 60), ["shop._domainkey.example.org", "ed._domainkey.example.org"]);
    assert_eq!(names(&ring, "other", "example.org", 60), ["all._domainkey.example.org"]);
    assert!(names(&ring, "other", "example.org", 40).is_empty(), "not yet");
}
