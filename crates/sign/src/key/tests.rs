use super::*;

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn selector(text: &str) -> Selector {
    text.parse().unwrap()
}

fn read(pem: &str) -> Result<Key, KeyError> {
    Key::from_pem(domain("example.org"), selector("s1"), pem)
}

#[test]
fn new_keys_can_be_read_again_and_say_what_they_are() {
    for (algorithm, bits) in [(Algorithm::Rsa, 2048), (Algorithm::Ed25519, 256)] {
        let new = Key::generate(domain("example.org"), selector("s1"), algorithm, bits).unwrap();
        let again = read(&new.pem).unwrap();
        assert_eq!((again.algorithm(), again.bits()), (algorithm, bits));
        assert_eq!(again.public(), new.key.public());
        assert_eq!(again.name(), "s1._domainkey.example.org");
    }
}

#[test]
fn broken_short_and_other_keys_are_refused_with_the_reason() {
    let short = "-----BEGIN RSA PRIVATE KEY-----\n".to_owned() + SHORT_RSA + "\n-----END RSA PRIVATE KEY-----\n";
    let good = Key::generate(domain("example.org"), selector("s1"), Algorithm::Rsa, 2048).unwrap().pem;
    let broken = good.replacen("MII", "MIJ", 1);
    let cut: String = good.lines().enumerate().filter(|(i, _)| *i != 9).map(|(_, l)| format!("{l}\n")).collect();
    for (pem, expect) in [
        ("", "expected a private key in PEM form"),
        ("hello", "expected a private key in PEM form"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a public key"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "not an encrypted key"),
        (&*short, "an RSA key of 1024 bits"),
        (&*broken, "the private key is broken"),
        (&*cut, "the private key is broken"),
    ] {
        let error = read(pem).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
    assert_eq!(
        Key::generate(domain("example.org"), selector("s"), Algorithm::Rsa, 1024).unwrap_err(),
        KeyError::Bits(1024)
    );
}

#[test]
fn nothing_private_is_in_a_debug_text() {
    let new = Key::generate(domain("example.org"), selector("s1"), Algorithm::Ed25519, 0).unwrap();
    let shown = format!("{new:?} {:?}", new.key);
    let secret = new.pem.lines().nth(1).unwrap();
    assert!(!shown.contains(&secret[..20]) && shown.contains("private part hidden"), "{shown}");
}

#[test]
fn selectors_are_labels() {
    for good in ["s1", "2026-11", "a.b", "K1"] {
        assert_eq!(good.parse::<Selector>().unwrap().as_str(), good.to_ascii_lowercase());
    }
    for bad in ["", ".", "a..b", "-a", "a-", "a_b", "a b", "ü", &"x".repeat(64)] {
        assert_eq!(bad.parse::<Selector>(), Err(SelectorError), "{bad}");
    }
    let long = domain(&format!("{}.{}.{}.{}.org", "a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60)));
    let new = Key::generate(domain("example.org"), selector("s1"), Algorithm::Ed25519, 0).unwrap();
    assert!(matches!(Key::from_pem(long, selector("s1"), &new.pem), Err(KeyError::Name(..))));
}

/// A key of 1024 bits, made for this test.
const SHORT_RSA: &str = "MIICXQIBAAKBgQDGStjY0aDzpIlkuC6OMPXBQRe99OwPJ7ZE62G3AvbkMM1ma+uB\n\
    ixQUTA+VNsdlxMTi6VrR6fr1elWWBTgVrLHszS4VnhgOX5pOdo46msHhUNTP6NTm\n\
    k/stFv6jQXeSR71Pbf74U//dvdYorz75g/YLrQb+xJVpLjVa9o4BKGBWnwIDAQAB\n\
    AoGBAJe7BhtCrQpCSO/ND7K2PBbYnDY6h7dBB/PMuUS0+/64aTOKOPczWPX/DZ18\n\
    ATAaVR3cuiYOCH52Ua8t5zCOqMXUASipnSvmU3XFkI+doc71JJ2CfepWZu2Sf+Zp\n\
    E1qBDpTFDKtCKfyF5+tKLbP+chpQyKH70RG6F6h9DMtZLVqhAkEA+CBsfhtf1xSF\n\
    8voyJA66iyGiFFsxkJkGXeVSRwW0ytbKX7M5ngWHRsFiE6Hteo00yDZxJziA+VWx\n\
    jT7rV6iIQwJBAMyVnFQBt7mDK0c0xRFkH+/jj1FIXoOsS3iQyVi7uZFa9pHu9Pi5\n\
    Gp2xOW/O9jUd+jmvB9LORMCTxP6cNTXksHUCQDrGU2y7x0QHVINtyJrJ8l4qpV31\n\
    DBSYau2q+IZiT6UMo/tvVOKdpKGaBUVpQfuZnzsdykfkFoj5R4mRseWdwkkCQQCb\n\
    LlTBB/iDV/KI9YcR1P/Ap7y7LAi9GgC5OCHyE5sDnZrwQPBCha2htZ9apwLscYuv\n\
    G4v0pA9UgAHqGzTlZ01NAkB9UEhTQUjKdp4FmS8OvLCSj3W+lIgXyz5ly6StEp3d\n\
    TkxCxv1sPJhNz+L+OC0QbEzXGtEWpnY7bCVZJRkqTyQ5";
