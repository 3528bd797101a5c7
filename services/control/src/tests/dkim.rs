//! `DkimKeys` over the socket.

use sluice_proto::control::dkim_keys_client::DkimKeysClient;
use sluice_sign::{Algorithm, Key};

use super::*;

fn wish(selector: &str) -> api::DkimKey {
    api::DkimKey {
        domain: "Example.ORG".into(),
        selector: selector.into(),
        algorithm: "ed25519".into(),
        ..api::DkimKey::default()
    }
}

fn create(key: api::DkimKey, private_key: &str) -> api::CreateDkimKeyRequest {
    api::CreateDkimKeyRequest { dkim_key: Some(key), private_key: private_key.into() }
}

fn pem() -> String {
    let (domain, selector) = (sluice_mail::Domain::parse("example.org").unwrap(), "any".parse().unwrap());
    Key::generate(domain, selector, Algorithm::Ed25519, 0).unwrap().pem
}

fn name(selector: &str) -> String {
    format!("dkimKeys/{selector}._domainkey.example.org")
}

#[tokio::test]
async fn keys_are_made_listed_retired_and_deleted() {
    let server = server().await;
    let mut client = DkimKeysClient::new(server.channel());
    for selector in ["b", "c", "a"] {
        let made = client.create_dkim_key(create(wish(selector), "")).await.unwrap().into_inner();
        assert_eq!(
            (made.name, made.domain.as_str(), made.selector.as_str()),
            (name(selector), "example.org", selector)
        );
        assert_eq!((made.algorithm.as_str(), made.bits, made.state.as_str()), ("ed25519", 256, "signs"));
        assert_eq!(made.source, "control log");
        assert_eq!(made.record, format!("v=DKIM1; k=ed25519; p={}", made.public_key));
    }
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = api::ListDkimKeysRequest { domain: "example.org".into(), page_size: 2, page_token };
        let page = client.list_dkim_keys(request).await.unwrap().into_inner();
        listed.extend(page.dkim_keys.into_iter().map(|key| key.selector));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ["a", "b", "c"]);
    let other = api::ListDkimKeysRequest { domain: "other.example".into(), ..Default::default() };
    assert!(client.list_dkim_keys(other).await.unwrap().into_inner().dkim_keys.is_empty());

    let delete = |force| api::DeleteDkimKeyRequest { name: name("a"), force };
    let signs = client.delete_dkim_key(delete(false)).await.unwrap_err();
    assert_eq!(signs.code(), Code::FailedPrecondition);
    let later = api::RetireDkimKeyRequest { name: name("a"), at_ms: Some(u64::MAX / 2) };
    assert_eq!(client.retire_dkim_key(later).await.unwrap().into_inner().state, "signs");
    let now = api::RetireDkimKeyRequest { name: name("a"), at_ms: None };
    assert_eq!(client.retire_dkim_key(now).await.unwrap().into_inner().state, "retired");
    client.delete_dkim_key(delete(false)).await.unwrap();
    client.delete_dkim_key(api::DeleteDkimKeyRequest { name: name("b"), force: true }).await.unwrap();
    for gone in ["a", "b"] {
        let get = api::GetDkimKeyRequest { name: name(gone) };
        assert_eq!(client.get_dkim_key(get).await.unwrap_err().code(), Code::NotFound);
    }
    server.end().await;
}

#[tokio::test]
async fn a_key_can_be_given_and_never_comes_back() {
    let server = server().await;
    let mut client = DkimKeysClient::new(server.channel());
    let pem = pem();
    let given = api::DkimKey { algorithm: String::new(), from_ms: Some(u64::MAX / 2), ..wish("s1") };
    let made = client.create_dkim_key(create(given.clone(), &pem)).await.unwrap();
    assert_eq!((made.get_ref().algorithm.as_str(), made.get_ref().state.as_str()), ("ed25519", "not yet"));
    let again = client.create_dkim_key(create(given, &pem)).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    let got = client.get_dkim_key(api::GetDkimKeyRequest { name: name("s1") }).await.unwrap();
    let listed = client.list_dkim_keys(api::ListDkimKeysRequest::default()).await.unwrap();
    let retired = api::RetireDkimKeyRequest { name: name("s1"), at_ms: Some(u64::MAX) };
    let retired = client.retire_dkim_key(retired).await.unwrap();
    let other_kind = client.create_dkim_key(create(api::DkimKey { algorithm: "rsa".into(), ..wish("s2") }, &pem)).await;
    let other_kind = other_kind.unwrap_err();
    assert_eq!(other_kind.message(), "dkim_key.algorithm: the key is ed25519");
    let broken = client.create_dkim_key(create(wish("s2"), &pem.replace("PRIVATE", "OTHER"))).await.unwrap_err();
    assert!(broken.message().starts_with("private_key: expected a private key in PEM form"), "{broken}");
    let said = format!("{made:?} {again:?} {got:?} {listed:?} {retired:?} {other_kind:?} {broken:?}");
    let secret = pem.lines().nth(1).unwrap();
    for at in (0..secret.len() - 12).step_by(4) {
        assert!(!said.contains(&secret[at..at + 12]), "a part of the private key in {said}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_refused_key_names_every_wrong_field() {
    let server = server().await;
    let mut client = DkimKeysClient::new(server.channel());
    let bad = api::DkimKey {
        domain: "not a domain".into(),
        selector: "s_1".into(),
        algorithm: "dsa".into(),
        bits: 1024,
        from_ms: Some(2),
        until_ms: Some(1),
        ..api::DkimKey::default()
    };
    let fields = |status: &tonic::Status| {
        let violations = sluice_proto::field_violations(status.details());
        violations.into_iter().map(|v| v.field).collect::<Vec<_>>()
    };
    let status = client.create_dkim_key(create(bad.clone(), "")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let names = ["domain", "selector", "algorithm", "bits", "until_ms"].map(|name| format!("dkim_key.{name}"));
    assert_eq!(fields(&status), names, "{}", status.message());
    let status = client.create_dkim_key(create(bad, &"x".repeat(20_000))).await.unwrap_err();
    assert!(fields(&status).contains(&"private_key".to_owned()), "{}", status.message());
    for (key, expected) in [
        (api::DkimKey { account: "none".into(), ..wish("s1") }, "dkim_key.account: there is no account none"),
        (
            api::DkimKey { domain: format!("{0}.{0}.{0}.example", "a".repeat(60)), ..wish(&"s".repeat(63)) },
            "is too long a name",
        ),
        (
            api::DkimKey { algorithm: "rsa".into(), bits: 1024, ..wish("s1") },
            "dkim_key.bits: an RSA key of 1024 bits; expected 2048 to 4096",
        ),
    ] {
        let status = client.create_dkim_key(create(key, "")).await.unwrap_err();
        assert!(status.message().contains(expected), "{}", status.message());
    }
    for name in ["", "dkimKeys/x", "s1._domainkey.example.org"] {
        let status = client.get_dkim_key(api::GetDkimKeyRequest { name: name.into() }).await.unwrap_err();
        let expected = "name: expected dkimKeys/{selector}._domainkey.{domain}, got";
        assert!(status.message().starts_with(expected), "{}", status.message());
    }
    let token = api::ListDkimKeysRequest { page_token: "x".into(), ..Default::default() };
    assert!(client.list_dkim_keys(token).await.unwrap_err().message().starts_with("page_token: not one"));
    server.end().await;
}
