use super::*;
use sluice_daemon::config::{Layers, undocumented};
use sluice_mail::Lane;
use sluice_queue::{RetrySchedule, Scope};

fn read(text: &str) -> Result<Config, String> {
    let raw: RawConfig = Layers::of_text("t", text).unwrap().read().map_err(|e| e.to_string())?;
    Config::try_from(raw).map_err(|e| e.to_string())
}

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

#[test]
fn every_key_is_documented_and_the_defaults_are_valid() {
    assert_eq!(undocumented::<RawConfig>(), Vec::<String>::new());
    assert_eq!(undocumented::<RawRoute>(), Vec::<String>::new());
    assert_eq!(undocumented::<RawSource>(), Vec::<String>::new());
    assert_eq!(undocumented::<RawDomain>(), Vec::<String>::new());
    assert_eq!(undocumented::<RawSite>(), Vec::<String>::new());
    let config = read("").unwrap();
    let scope = Scope { lane: Lane::Bulk, site: None, domain: &host("example.org"), account: None };
    assert_eq!(config.policy.retry(&scope), &RetrySchedule::default());
    assert_eq!(config.policy.bounce_after(&scope), Duration::from_secs(108 * 3600));
    assert_eq!((config.notify_of_delay_every, config.max_dsn_rate), (None, None));
}

#[test]
fn the_particular_comes_before_the_general() {
    let config = read(
        r#"
        retry_after = ["1m"]
        bounce_after = "1d"
        lanes.transactional = { retry_after = ["2m"], bounce_after = "2d" }
        [[domains]]
        domain = "Slow.Example"
        retry_after = ["3m"]
        bounce_after = "3d"
        [[sites]]
        site = "MX.Example."
        retry_after = ["4m"]
        "#,
    )
    .unwrap();
    for (lane, site, domain, minutes, days) in [
        (Lane::Bulk, "mx.other.example", "other.example", 1, 1),
        (Lane::Transactional, "mx.other.example", "other.example", 2, 2),
        (Lane::Transactional, "mx.example", "other.example", 4, 2),
        (Lane::Transactional, "mx.example", "slow.example", 3, 3),
        (Lane::Bulk, "mx.other.example", "sub.slow.example", 1, 1),
    ] {
        let scope = Scope { lane, site: Some(site), domain: &host(domain), account: None };
        let delay = config.policy.retry(&scope).delay(1, 0.5).as_secs();
        let end = config.policy.bounce_after(&scope).as_secs();
        assert_eq!((delay / 60, end / 86_400), (minutes, days), "{lane} {site} {domain}");
    }
    assert_eq!(config.bounce_after_max, Duration::from_secs(3 * 86_400));
}

#[test]
fn tls_is_the_routes_the_domains_or_the_general_word() {
    let config = read(
        r#"
        [[domains]]
        domain = "strict.example"
        require_starttls = true
        [[domains]]
        domain = "plain.example"
        use_starttls = false
        "#,
    )
    .unwrap();
    let route = |tls, implicit_tls, is_fixed| Route {
        site: "s".into(),
        hops: Vec::new(),
        tls,
        implicit_tls,
        login: None,
        is_fixed,
    };
    for (tls, implicit, is_fixed, domain, mode) in [
        (TlsPolicy::Opportunistic, false, false, "other.example", TlsMode::Opportunistic),
        (TlsPolicy::Opportunistic, false, false, "strict.example", TlsMode::Required),
        (TlsPolicy::Opportunistic, false, false, "plain.example", TlsMode::Off),
        (TlsPolicy::Opportunistic, false, true, "strict.example", TlsMode::Opportunistic),
        (TlsPolicy::None, false, true, "strict.example", TlsMode::Off),
        (TlsPolicy::Verified, false, true, "plain.example", TlsMode::Required),
        (TlsPolicy::Required, true, true, "other.example", TlsMode::Implicit),
    ] {
        assert_eq!(config.tls(&route(tls, implicit, is_fixed), &host(domain)), mode, "{tls:?} {domain}");
    }
}

#[test]
fn a_route_with_a_login_is_verified_unless_told_less() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "s3cret\nnot this\n").unwrap();
    let route = |hosts: &str, more: &str| {
        let path = path.display();
        read(&format!(
            "[[routes]]\ndomain = \"*\"\nhosts = [\"{hosts}\"]\nusername = \"u\"\npassword_file = \"{path}\"\n{more}"
        ))
    };
    for (hosts, more, tls) in [
        ("relay.example:587", "", TlsPolicy::Verified),
        ("relay.example:465", "implicit_tls = true", TlsPolicy::Verified),
        ("relay.example:587", "tls = \"required\"", TlsPolicy::Required),
        ("127.0.0.1:587", "tls = \"none\"", TlsPolicy::None),
    ] {
        let config = route(hosts, more).unwrap();
        let login = config.routes[0].login.as_ref().unwrap();
        assert_eq!((config.routes[0].tls, &*login.username, &*login.password), (tls, "u", "s3cret"), "{more}");
        assert!(!format!("{config:?}").contains("s3cret"));
    }
    for more in ["tls = \"none\"", "tls = \"opportunistic\""] {
        let error = route("relay.example:587", more).unwrap_err();
        assert!(error.starts_with("routes[0].tls: expected \"required\" or \"verified\""), "{error}");
    }
}

#[test]
fn says_which_key_is_wrong() {
    let route = |more: &str| format!("[[routes]]\ndomain = \"*\"\nhosts = [\"a:1\"]\n{more}");
    for (text, key) in [
        ("max_smtp_out = 0".to_owned(), "max_smtp_out"),
        ("retry_after = []".into(), "retry_after"),
        ("bounce_after = \"0s\"".into(), "bounce_after"),
        ("mx_session_limit = 0".into(), "mx_session_limit"),
        ("ehlo_name = \"a b\"".into(), "ehlo_name"),
        ("ca_file = \"/nowhere\"".into(), "ca_file"),
        ("notify_of_delay_every = \"5s\"".into(), "notify_of_delay_every"),
        (route("[[routes]]\ndomain = \"b c\"\nhosts = [\"a:1\"]"), "routes[1].domain"),
        (route("[[routes]]\ndomain = \"*\"\nhosts = [\"a:1\"]"), "routes[1].domain"),
        ("[[routes]]\ndomain = \"*\"\nhosts = []".into(), "routes[0].hosts"),
        ("[[routes]]\ndomain = \"*\"\nhosts = [\"a:1\", \"a\"]".into(), "routes[0].hosts[1]"),
        (route("implicit_tls = true\ntls = \"none\""), "routes[0].tls"),
        (route("username = \"u\""), "routes[0].password_file"),
        (route("password_file = \"p\""), "routes[0].username"),
        (route("username = \"u\"\npassword_file = \"/nowhere\""), "routes[0].password_file"),
        ("[[sources]]\nname = \"a b\"\naddress = \"192.0.2.1\"".into(), "sources[0].name"),
        ("sources = [{name = \"a\", address = \"::1\"}, {name = \"a\", address = \"::2\"}]".into(), "sources[1].name"),
        (
            "sources = [{name = \"a\", address = \"::1\"}, {name = \"b\", address = \"::1\"}]".into(),
            "sources[1].address",
        ),
        ("sources = [{name = \"a\", address = \"::1\", ehlo_name = \"a b\"}]".into(), "sources[0].ehlo_name"),
        ("source_address = \"::1\"\nsources = [{name = \"a\", address = \"::1\"}]".into(), "source_address"),
        ("domains = [{domain = \"a_b c\"}]".into(), "domains[0].domain"),
        ("domains = [{domain = \"a.b\"}, {domain = \"A.B\"}]".into(), "domains[1].domain"),
        ("domains = [{domain = \"a.b\", max_smtp_out = 0}]".into(), "domains[0].max_smtp_out"),
        ("sites = [{site = \"\"}]".into(), "sites[0].site"),
        ("sites = [{site = \"a\"}, {site = \"A.\"}]".into(), "sites[1].site"),
        ("sites = [{site = \"a\", retry_after = [\"0s\"]}]".into(), "sites[0].retry_after"),
        ("lanes.bulk.bounce_after = \"31d\"".into(), "lanes.bulk.bounce_after"),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.starts_with(&format!("{key}: expected")) || error.contains("cannot be read"), "{text}: {error}");
        assert!(error.starts_with(key), "{text}: {error}");
    }
}
