use serde::Deserialize;

use super::super::Time;
use super::*;

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Whole {
    hostname: String,
    ingress: Section,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Section {
    max_recipients: usize,
    timeout: Time,
    names: Vec<String>,
    listeners: Vec<Listener>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Listener {
    address: std::net::SocketAddr,
    #[serde(default)]
    tls: Tls,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Tls {
    #[default]
    None,
    Starttls,
}

const FILE: &str = r#"
hostname = "a.example"
[ingress]
max_recipients = 10
names = ["x"]
[[ingress.listeners]]
address = "127.0.0.1:2587"
"#;

fn vars(vars: &[(&str, &str)]) -> Vec<(String, String)> {
    vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn later_layers_win() {
    let mut layers = Layers::of_text("s.toml", FILE).unwrap();
    let env = [
        ("SLUICE_HOSTNAME", "b.example"),
        ("SLUICE_INGRESS__MAX_RECIPIENTS", "20"),
        ("SLUICE_INGRESS__NAMES", r#"["y", "z"]"#),
        ("SLUICE_INGRESS__LISTENERS__0__TLS", "starttls"),
        ("SLUICE_PORT_2587_TCP", "tcp://10.0.0.1:2587"),
        ("SLUICE_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ];
    layers.overlay_env(vars(&env), &["hostname"]).unwrap();
    layers.overlay("ingress.max_recipients", "30", "--set").unwrap();
    layers.overlay("ingress.listeners[1].address", "127.0.0.1:2465", "--set").unwrap();
    layers.overlay("ingress.timeout", "1d12h", "--set").unwrap();
    let whole: Whole = layers.read().unwrap();
    assert_eq!(whole.hostname, "b.example");
    assert_eq!((whole.ingress.max_recipients, whole.ingress.timeout), (30, Time::hours(36)));
    assert_eq!(whole.ingress.names, ["y", "z"]);
    let listeners: Vec<_> = whole.ingress.listeners.iter().map(|l| (l.address.port(), &l.tls)).collect();
    assert_eq!(listeners, [(2587, &Tls::Starttls), (2465, &Tls::None)]);
}

#[test]
fn an_error_names_place_key_value_and_what_was_expected() {
    for (text, expect) in [
        (
            "\n[ingress]\nmax_recipients = \"many\"",
            r#"s.toml line 3: ingress.max_recipients = "many": expected a whole number, not negative"#,
        ),
        (
            "[ingress]\nmax_recipient = 1",
            "s.toml line 2: ingress.max_recipient: there is no such key; did you mean max_recipients?",
        ),
        ("color = 1", "s.toml line 1: color: there is no such key; known here: hostname, ingress"),
        ("[ingress]\nlisteners = 5", "s.toml line 2: ingress.listeners = 5: expected a list"),
        (
            "[ingress]\ntimeout = 5",
            "s.toml line 2: ingress.timeout = 5: expected a time such as \"30s\", \"5m\" or \"1d12h\" \
             (units w, d, h, m, s, ms; largest first)",
        ),
        (
            "[[ingress.listeners]]\naddress = \"127.0.0.1:1\"\n[[ingress.listeners]]\naddress = \"here\"",
            "s.toml line 4: ingress.listeners[1].address = \"here\": expected an address and port such as \
             \"127.0.0.1:2587\"",
        ),
        (
            "[[ingress.listeners]]\naddress = \"127.0.0.1:1\"\ntls = \"yes\"",
            "s.toml line 3: ingress.listeners[0].tls = \"yes\": unknown variant yes, expected none or starttls",
        ),
        ("[[ingress.listeners]]\ntls = \"none\"", "s.toml line 1: ingress.listeners[0]: missing field address"),
        ("[ingress\n", "s.toml line 1: unclosed table, expected `]`"),
        ("hostname = 1\nhostname = 2", "s.toml line 2: duplicate key"),
    ] {
        let error = Layers::of_text("s.toml", text).and_then(|l| l.read::<Whole>()).unwrap_err();
        assert_eq!(error.to_string(), expect);
    }
}

#[test]
fn an_error_in_an_overlay_names_the_overlay() {
    let mut layers = Layers::of_text("s.toml", FILE).unwrap();
    layers.overlay_env(vars(&[("SLUICE_INGRESS__MAX_RECIPIENTS", "lots")]), &[]).unwrap();
    assert_eq!(
        layers.read::<Whole>().unwrap_err().to_string(),
        "environment variable SLUICE_INGRESS__MAX_RECIPIENTS: ingress.max_recipients = \"lots\": \
         expected a whole number, not negative"
    );
    let past_end = layers.overlay("ingress.listeners.7.tls", "none", "--set").unwrap_err();
    assert_eq!(past_end.to_string(), "--set: ingress.listeners.7.tls = none: ingress.listeners has only 1 entries");
    assert!(layers.overlay("ingress..x", "1", "--set").is_err());
}

#[test]
fn a_complaint_about_meaning_is_located_too() {
    let layers = Layers::of_text("s.toml", FILE).unwrap();
    let error = layers.locate(KeyError::new("max_recipients", "at least 100 (RFC 5321)").within("ingress"));
    assert_eq!(error.to_string(), "s.toml line 4: ingress.max_recipients = 10: at least 100 (RFC 5321)");
}
