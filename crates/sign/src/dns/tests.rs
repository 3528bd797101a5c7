use super::*;
use crate::{Algorithm, Selector};
use sluice_mail::Domain;

fn key(algorithm: Algorithm) -> Key {
    let selector: Selector = "s1".parse().unwrap();
    Key::generate(Domain::parse("example.org").unwrap(), selector, algorithm, 2048).unwrap().key
}

#[test]
fn what_is_to_be_published_verifies() {
    for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
        let key = key(algorithm);
        assert!(strings(&key).iter().all(|piece| piece.len() <= 255));
        assert_eq!(strings(&key).concat(), record(&key));
        assert_eq!(compare(&key, &[record(&key)]), []);
        let spaced = record(&key).replace(';', " ; ").replace("p=", "p= ");
        assert_eq!(compare(&key, &[spaced]), [], "blanks are free");
        assert!(zone_line(&key).starts_with("s1._domainkey.example.org. 3600 IN TXT ( \"v=DKIM1; k="));
    }
}

#[test]
fn what_differs_is_named() {
    let key = key(Algorithm::Rsa);
    let p = key.public();
    let other = format!("{}AAAA{}", &p[..100], &p[104..]);
    for (record, expect) in [
        (format!("v=DKIM2; p={p}"), "v=DKIM2; expected DKIM1"),
        (format!("p={p}; v=DKIM1"), "v=DKIM1; expected DKIM1, as the first tag"),
        (format!("v=DKIM1; k=ed25519; p={p}"), "k=ed25519; expected rsa"),
        (format!("v=DKIM1; h=sha1; p={p}"), "h=sha1 does not allow sha256"),
        (format!("v=DKIM1; s=other; p={p}"), "s=other does not allow email"),
        ("v=DKIM1; p=".to_owned(), "revoked"),
        ("v=DKIM1; k=rsa".to_owned(), "revoked"),
        (format!("v=DKIM1; p={other}"), "p= is another key: from character 100 on"),
        (format!("v=DKIM1; p={}", &p[..200]), "from character 200 on it is \"its end\""),
        ("hello".to_owned(), "\"hello\" is not tag=value"),
    ] {
        let found: Vec<_> = compare(&key, std::slice::from_ref(&record)).iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found[0].contains(expect), "{record}: {found:?}");
    }
    assert_eq!(compare(&key, &[]), [Difference::Missing]);
    assert_eq!(compare(&key, &["a".into(), "b".into()]), [Difference::Several(2)]);
    assert_eq!(compare(&key, &[format!("k=rsa; h=sha256:sha1; s=*; p={p}")]), []);
}
