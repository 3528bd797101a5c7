use sluice_daemon::config::undocumented;

use super::*;

fn config(toml: &str) -> Result<Config, String> {
    let raw: RawConfig = toml::from_str(toml).map_err(|e| e.message().to_owned())?;
    let around = Surroundings {
        hostname: "mx.example.org".into(),
        lifetimes: Duration::from_secs(60).into(),
        has_certificate: true,
    };
    Config::new(raw, around).map_err(|e| e.to_string())
}

const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\n";

#[test]
fn every_key_is_documented() {
    assert_eq!(undocumented::<RawConfig>(), Vec::<String>::new());
}

#[test]
fn defaults_are_valid_and_for_newcomers() {
    let config = config("").unwrap();
    let ports: Vec<_> = config.addresses().map(|a| a.to_string()).collect();
    assert_eq!(ports, ["127.0.0.1:2587", "127.0.0.1:2465"]);
    assert!(config.listeners.iter().all(|l| l.trusted_networks.is_empty() && !l.auth_without_tls_on_loopback));
    assert_eq!((config.limits.max_message_size, config.limits.max_recipients), (25 << 20, 1_000));
}

#[test]
fn reads_a_listener_in_full() {
    let config = config(
        "max_message_size = \"1MiB\"\ncommand_timeout = \"1m\"\n[[listeners]]\naddress = \"[::1]:25\"\ntls = \"none\"\n\
         proxy_protocol_from = [\"10.0.0.7/8\"]\nauth_without_tls_on_loopback = true\n\
         trusted_networks = [{ network = \"192.168.0.0/16\", account = \"demo\" }]\n",
    )
    .unwrap();
    let listener = &config.listeners[0];
    assert_eq!(listener.proxy_protocol_from[0].to_string(), "10.0.0.0/8");
    assert_eq!((listener.tls, &*listener.trusted_networks[0].account), (ListenerTls::None, "demo"));
    assert_eq!(config.limits.command_timeout, Duration::from_secs(60));
}

#[test]
fn refusals_name_the_key() {
    let listener = |more: &str| format!("{LISTENER}{more}");
    let trusted = |network: &str| {
        format!("{LISTENER}direct = true\ntrusted_networks = [{{ network = \"{network}\", account = \"demo\" }}]\n")
    };
    for (toml, expect) in [
        (trusted("0.0.0.0/0"), "listeners[0].trusted_networks[0].network: trusts too much"),
        (trusted("::/0"), "listeners[0].trusted_networks[0].network: trusts too much"),
        (trusted("0.0.0.0/1"), "listeners[0].trusted_networks[0].network: trusts too much"),
        (trusted("::ffff:0.0.0.0/96"), "listeners[0].trusted_networks[0].network: expected an IPv4 network"),
        (
            listener("trusted_networks = [{ network = \"10.0.0.0/8\", account = \"demo\" }]\n"),
            "listeners[0].trusted_networks: needs proxy_protocol_from, or direct = true",
        ),
        (listener("tls = \"maybe\"\n"), "unknown variant"),
        (listener("nonsense = 1\n"), "unknown field `nonsense`"),
        ("nonsense = 1".into(), "unknown field `nonsense`"),
        ("listeners = []".into(), "listeners: expected 1 to 64 listeners"),
        ("max_sessions = 0".into(), "max_sessions: expected 1 or more"),
        ("max_recipients = 99".into(), "max_recipients: expected 100 or more"),
        ("max_recipients = 1001".into(), "max_recipients: expected 1000 or less"),
        ("max_bytes_in_flight = \"51199KiB\"".into(), "max_bytes_in_flight: expected twice max_message_size or more"),
        ("command_timeout = \"0s\"".into(), "command_timeout: expected a time from 1s to 1d"),
        (
            "[[listeners]]\naddress = \"127.0.0.1:25\"\n[[listeners]]\naddress = \"127.0.0.1:25\"\n".into(),
            "listeners[1].address: another listener has this address",
        ),
    ] {
        let error = config(&toml).unwrap_err();
        assert!(error.starts_with(expect), "{toml}\n{error}");
    }
}

#[test]
fn tls_needs_a_certificate() {
    let around =
        || Surroundings { hostname: "x".into(), lifetimes: Duration::from_secs(60).into(), has_certificate: false };
    let error = Config::new(RawConfig::default(), around()).unwrap_err().to_string();
    assert!(error.starts_with("listeners[0].tls: needs a certificate"), "{error}");
    let plain = RawListener::on(([127, 0, 0, 1], 0).into(), ListenerTls::None);
    assert!(Config::new(RawConfig { listeners: vec![plain], ..RawConfig::default() }, around()).is_ok());
}
