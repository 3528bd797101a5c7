//! The `[delivery]` section.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sluice_daemon::config::{Documented, Key, KeyError, Size, Time};
use sluice_mail::{Clock, Domain};
use sluice_queue::{Context, Limits, RetrySchedule, SiteLimits};
use sluice_route::{
    FixedRoute, FixedRoutes, HickoryRoutes, Networks, RelayHost, ResolverError, Routes, Settings, TlsPolicy,
};
use sluice_smtp::client::{ClientConfig, Timeouts, TlsMode};
use sluice_spool::Window;

/// Sites known at once, per process.
const MAX_SITES: usize = 100_000;

/// The section as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// Our name in EHLO.
    pub ehlo_name: Option<String>,
    /// The address connections come from.
    pub source_address: Option<IpAddr>,
    /// Whom to ask for MX and address records.
    pub name_servers: Vec<SocketAddr>,
    /// Private networks that the DNS may lead to.
    pub allowed_networks: Vec<IpNet>,
    /// Port of MX hosts.
    pub default_smtp_port: u16,
    /// Static routes.
    pub routes: Vec<RawRoute>,
    /// Connections at once, per site.
    pub max_smtp_out: u32,
    /// Connections at once, of the process.
    pub total_max_smtp_out: u32,
    /// Messages per connection.
    pub max_msg_per_connection: u32,
    /// Connections to a new site at first.
    pub initial_destination_concurrency: u32,
    /// How many windows of failures make a site dead.
    pub failed_cohort_limit: u32,
    /// How long a dead site is left alone.
    pub dead_site_pause: Time,
    /// Waits between attempts.
    pub retry_after: Vec<Time>,
    /// When undelivered mail is given up.
    pub bounce_after: Time,
    /// Whether 5xx greetings give the mail up.
    pub bounce_upon_5xx_greeting: bool,
    /// Addresses tried per attempt.
    pub mx_address_limit: usize,
    /// Sessions tried per attempt.
    pub mx_session_limit: usize,
    /// Whether STARTTLS is used.
    pub use_starttls: bool,
    /// Whether mail goes encrypted or not at all.
    pub require_starttls: bool,
    /// Whether PIPELINING is left unused.
    pub ignore_pipelining: bool,
    /// For the connection to open.
    pub connect_timeout: Time,
    /// For the greeting.
    pub smtp_greeting_timeout: Time,
    /// For EHLO, MAIL and RCPT.
    pub command_timeout: Time,
    /// For the content to make progress.
    pub data_send_timeout: Time,
    /// For the answer to the final dot.
    pub smtp_data_termination_timeout: Time,
    /// How long an unused connection is kept.
    pub connection_idle_timeout: Time,
    /// For running transactions at shutdown.
    pub drain_timeout: Time,
    /// Envelopes in memory.
    pub max_outstanding: usize,
    /// Envelopes to one domain in memory.
    pub max_outstanding_per_domain: usize,
    /// Bodies in memory.
    pub max_outstanding_bytes: Size,
    /// Large bodies being sent.
    pub max_large_bodies: Size,
}

/// One static route as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawRoute {
    /// Recipient domain, or `*`.
    pub domain: String,
    /// `host:port`.
    pub hosts: Vec<String>,
    /// How sessions are protected.
    #[serde(default)]
    pub tls: RawTls,
}

/// The words for [`TlsPolicy`] in the file.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RawTls {
    /// Encrypted when it is offered.
    #[default]
    Opportunistic,
    /// Never encrypted.
    None,
    /// Encrypted or not at all.
    Required,
}

/// The section, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name in EHLO; the process's hostname when `None`.
    pub ehlo_name: Option<Arc<str>>,
    /// The address connections come from.
    pub source_address: Option<IpAddr>,
    /// What the DNS resolver is told.
    pub dns: Settings,
    /// Static routes.
    pub routes: Vec<FixedRoute>,
    /// Of connections.
    pub limits: Limits,
    /// Waits between attempts.
    pub retry: RetrySchedule,
    /// When undelivered mail is given up. For whoever accepts mail: an envelope carries its own time.
    pub bounce_after: Duration,
    /// What judging failures depends on.
    pub judgement: Context,
    /// Addresses tried per attempt; at least 1.
    pub mx_address_limit: usize,
    /// Sessions tried per attempt; at least 1.
    pub mx_session_limit: usize,
    /// For routes that say nothing else.
    pub tls: TlsMode,
    /// Whether PIPELINING is used.
    pub pipelining: bool,
    /// For the connection to open.
    pub connect_timeout: Duration,
    /// Of a session.
    pub timeouts: Timeouts,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// For running transactions at shutdown.
    pub drain_timeout: Duration,
    /// What may be in memory per shard.
    pub window: Window,
    /// Octets of bodies over 64 KiB that may be in memory at once.
    pub max_large_bodies: u64,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            ehlo_name: None,
            source_address: None,
            name_servers: Vec::new(),
            allowed_networks: Vec::new(),
            default_smtp_port: 25,
            routes: Vec::new(),
            max_smtp_out: 20,
            total_max_smtp_out: 1000,
            max_msg_per_connection: 100,
            initial_destination_concurrency: 5,
            failed_cohort_limit: 1,
            dead_site_pause: Time::mins(5),
            retry_after: [300, 600, 1200, 2400, 4000].map(Time::secs).to_vec(),
            bounce_after: Time::hours(108),
            bounce_upon_5xx_greeting: true,
            mx_address_limit: 5,
            mx_session_limit: 2,
            use_starttls: true,
            require_starttls: false,
            ignore_pipelining: false,
            connect_timeout: Time::secs(30),
            smtp_greeting_timeout: Time::mins(5),
            command_timeout: Time::mins(5),
            data_send_timeout: Time::mins(3),
            smtp_data_termination_timeout: Time::mins(10),
            connection_idle_timeout: Time::secs(5),
            drain_timeout: Time::mins(1),
            max_outstanding: 10_000,
            max_outstanding_per_domain: 2_000,
            max_outstanding_bytes: Size::mib(32),
            max_large_bodies: Size::mib(64),
        }
    }
}

impl Documented for RawConfig {
    const KEYS: &'static [Key] = &[
        Key::new("ehlo_name", "text", "Our name in EHLO. It should resolve to the address that connections come from, and back.")
            .or("`hostname`"),
        Key::new("source_address", "address", "The local address that connections come from. Peers of the other IP family are reached from the system's choice.")
            .or("the system's choice"),
        Key::new("name_servers", "list of addresses", "DNS servers with their ports, such as `[\"127.0.0.1:53\"]`. Empty: those of `/etc/resolv.conf`."),
        Key::new("allowed_networks", "list of networks", "Private networks that the DNS may lead to. All others (loopback, RFC 1918, link-local, ULA and the like) are never connected to, so that nobody can point a domain's MX at your own machines. Static routes are not bound by this."),
        Key::new("default_smtp_port", "number", "Port of the hosts that MX records name."),
        Key::tables("routes", ROUTE_KEYS, "Static routes: mail for a domain goes to these hosts instead of its MX hosts."),
        Key::new("max_smtp_out", "number", "Connections at once to one site (the set of a domain's most preferred MX hosts). 1 to 10000."),
        Key::new("total_max_smtp_out", "number", "Connections at once of the whole process. The fewer are left, the fewer one site may have, so that slow sites cannot take them all."),
        Key::new("max_msg_per_connection", "number", "Messages after which a connection is closed; 0 is no limit."),
        Key::new("initial_destination_concurrency", "number", "Connections that a site unknown so far begins with. Each window full of successes adds one, each failed connection takes away its share."),
        Key::new("failed_cohort_limit", "number", "How many windows full of failed connections, without a success between, make a site dead."),
        Key::new("dead_site_pause", "time", "How long nothing is tried at a dead site; then one connection tries whether it lives again."),
        Key::new("retry_after", "list of times", "The waits after the first, second, … failed attempt; the last repeats. Each is moved by up to 10 % either way. 1 to 30 times of `1s` to `7d`."),
        Key::new("bounce_after", "time", "How long after it was accepted undelivered mail is given up, unless the message says otherwise."),
        Key::new("bounce_upon_5xx_greeting", "true or false", "Whether mail is given up when every host that was tried greets with 5xx. Otherwise it is tried again."),
        Key::new("mx_address_limit", "number", "Addresses of MX hosts tried per attempt, at most."),
        Key::new("mx_session_limit", "number", "Of them, those that let us connect, at most."),
        Key::new("use_starttls", "true or false", "Whether sessions are encrypted when the host offers it. Certificates are not verified; a host whose handshake fails is spoken to in the clear. Static routes have their own word, `tls`."),
        Key::new("require_starttls", "true or false", "Whether mail is sent encrypted or not at all. For all mail without a static route."),
        Key::new("ignore_pipelining", "true or false", "Whether commands are sent one by one although the host offers PIPELINING."),
        Key::new("connect_timeout", "time", "How long a connection may take to open, per address."),
        Key::new("smtp_greeting_timeout", "time", "How long the greeting may take. RFC 5321 asks for 5 minutes at least."),
        Key::new("command_timeout", "time", "How long the answers to EHLO, MAIL and RCPT may take, each. RFC 5321 asks for 5 minutes at least."),
        Key::new("data_send_timeout", "time", "How long the content may make no progress. RFC 5321 asks for 3 minutes at least."),
        Key::new("smtp_data_termination_timeout", "time", "How long the answer to a message may take. RFC 5321 asks for 10 minutes at least; less makes duplicates."),
        Key::new("connection_idle_timeout", "time", "How long an unused connection is kept for the next message."),
        Key::new("drain_timeout", "time", "How long transactions may go on at shutdown. What is not decided then is tried again after the next start, also when the host has taken it already."),
        Key::new("max_outstanding", "number", "Envelopes in memory on their way, at most. The rest waits on disk."),
        Key::new("max_outstanding_per_domain", "number", "Of them, those to one domain, so that a slow one cannot hold up the others."),
        Key::new("max_outstanding_bytes", "size", "Bodies of up to 64 KiB in memory on their way, at most."),
        Key::new("max_large_bodies", "size", "Bodies over 64 KiB in memory while they are sent, at most. A single larger one is sent alone."),
    ];
}

const ROUTE_KEYS: &[Key] = &[
    Key::new("domain", "text", "The recipient domain, or `*` for all that have no route of their own.").or("required"),
    Key::new(
        "hosts",
        "list of text",
        "`host:port` of each host, in the order they are tried. Names are resolved by the system.",
    )
    .or("required"),
    Key::new(
        "tls",
        "`\"opportunistic\"`, `\"none\"` or `\"required\"`",
        "Encrypted when it is offered, never, or always. Certificates are not verified.",
    )
    .or("`\"opportunistic\"`"),
];

impl TryFrom<RawConfig> for Config {
    type Error = KeyError;

    fn try_from(raw: RawConfig) -> Result<Self, KeyError> {
        let retry = RetrySchedule::new(raw.retry_after.iter().map(|t| t.0).collect());
        let routes = raw.routes.iter().enumerate().map(|(i, route)| read_route(i, route)).collect::<Result<_, _>>()?;
        within("max_smtp_out", raw.max_smtp_out, 10_000)?;
        within("total_max_smtp_out", raw.total_max_smtp_out, 100_000)?;
        within("initial_destination_concurrency", raw.initial_destination_concurrency, 10_000)?;
        within("failed_cohort_limit", raw.failed_cohort_limit, 1000)?;
        let count = |key, n: usize, max| within(key, u32::try_from(n).unwrap_or(u32::MAX), max).map(|()| n);
        let window = Window {
            max_items: count("max_outstanding", raw.max_outstanding, 1_000_000)?,
            max_bytes: usize::try_from(raw.max_outstanding_bytes.0).unwrap_or(usize::MAX).max(64 << 10),
            max_items_per_domain: count("max_outstanding_per_domain", raw.max_outstanding_per_domain, 1_000_000)?,
        };
        Ok(Self {
            ehlo_name: raw.ehlo_name.as_deref().map(read_ehlo_name).transpose()?,
            source_address: raw.source_address,
            dns: Settings {
                name_servers: raw.name_servers.clone(),
                port: raw.default_smtp_port,
                networks: Networks::new(raw.allowed_networks.clone()),
            },
            routes,
            limits: limits(&raw),
            retry: retry.map_err(|e| KeyError::new("retry_after", e))?,
            bounce_after: raw.bounce_after.0,
            judgement: Context { bounce_upon_5xx_greeting: raw.bounce_upon_5xx_greeting },
            mx_address_limit: count("mx_address_limit", raw.mx_address_limit, 100)?,
            mx_session_limit: count("mx_session_limit", raw.mx_session_limit, 100)?,
            tls: match (raw.require_starttls, raw.use_starttls) {
                (true, _) => TlsMode::Required,
                (false, true) => TlsMode::Opportunistic,
                (false, false) => TlsMode::Off,
            },
            pipelining: !raw.ignore_pipelining,
            connect_timeout: raw.connect_timeout.0,
            timeouts: timeouts(&raw),
            idle_timeout: raw.connection_idle_timeout.0,
            drain_timeout: raw.drain_timeout.0,
            window,
            max_large_bodies: raw.max_large_bodies.0.clamp(1 << 20, 64 << 30),
        })
    }
}

impl Config {
    /// Where mail goes by this config: static routes, and the DNS for the rest, which is not set up when a route for
    /// all mail leaves nothing to ask it.
    pub fn routes(&self, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Routes>, ResolverError> {
        let has_default = self.routes.iter().any(|route| route.domain.is_none());
        let rest: Option<Arc<dyn Routes>> = match has_default {
            true => None,
            false => Some(Arc::new(HickoryRoutes::new(self.dns.clone(), clock.clone())?)),
        };
        Ok(Arc::new(FixedRoutes::new(self.routes.clone(), rest, clock.clone())))
    }

    /// What a session over a route of this policy is told.
    pub(crate) fn session(&self, hostname: &Arc<str>, policy: TlsPolicy) -> ClientConfig {
        ClientConfig {
            helo_name: self.ehlo_name.clone().unwrap_or_else(|| hostname.clone()),
            tls: match policy {
                TlsPolicy::Opportunistic => self.tls,
                TlsPolicy::None => TlsMode::Off,
                TlsPolicy::Required => TlsMode::Required,
            },
            pipelining: self.pipelining,
            timeouts: self.timeouts,
        }
    }
}

fn limits(raw: &RawConfig) -> Limits {
    Limits {
        site: SiteLimits {
            max_smtp_out: raw.max_smtp_out,
            max_msg_per_connection: raw.max_msg_per_connection,
            initial_destination_concurrency: raw.initial_destination_concurrency,
            failed_cohort_limit: raw.failed_cohort_limit,
            dead_site_pause: raw.dead_site_pause.0,
            max_queued: raw.max_outstanding_per_domain.saturating_mul(2),
        },
        total_max_smtp_out: raw.total_max_smtp_out,
        max_sites: MAX_SITES,
    }
}

fn timeouts(raw: &RawConfig) -> Timeouts {
    let command = raw.command_timeout.0;
    Timeouts {
        greeting: raw.smtp_greeting_timeout.0,
        ehlo: command,
        mail: command,
        rcpt: command,
        block: raw.data_send_timeout.0,
        dot: raw.smtp_data_termination_timeout.0,
        ..Timeouts::default()
    }
}

fn within(key: &str, n: u32, max: u32) -> Result<(), KeyError> {
    if (1..=max).contains(&n) { Ok(()) } else { Err(KeyError::new(key, format!("expected 1 to {max}"))) }
}

fn read_ehlo_name(text: &str) -> Result<Arc<str>, KeyError> {
    let host = sluice_mail::Host::parse(text)
        .map_err(|e| KeyError::new("ehlo_name", format!("expected a host name or an address literal: {e}")))?;
    Ok(host.to_string().into())
}

fn read_route(place: usize, raw: &RawRoute) -> Result<FixedRoute, KeyError> {
    let wrong = |key: &str, problem: String| KeyError::new(format!("routes[{place}].{key}"), problem);
    let domain = match raw.domain.as_str() {
        "*" => None,
        name => Some(Domain::parse(name).map_err(|e| wrong("domain", format!("expected a domain or \"*\": {e}")))?),
    };
    if raw.hosts.is_empty() {
        return Err(wrong("hosts", "expected at least one host:port".into()));
    }
    let host = |(i, text): (usize, &String)| {
        text.parse::<RelayHost>().map_err(|e| wrong(&format!("hosts[{i}]"), e.to_string()))
    };
    let hosts = raw.hosts.iter().enumerate().map(host).collect::<Result<_, _>>()?;
    let tls = match raw.tls {
        RawTls::Opportunistic => TlsPolicy::Opportunistic,
        RawTls::None => TlsPolicy::None,
        RawTls::Required => TlsPolicy::Required,
    };
    Ok(FixedRoute { domain, hosts, tls })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_daemon::config::undocumented;

    fn read(change: impl FnOnce(&mut RawConfig)) -> Result<Config, String> {
        let mut raw = RawConfig::default();
        change(&mut raw);
        Config::try_from(raw).map_err(|e| e.to_string())
    }

    #[test]
    fn every_key_is_documented_and_the_defaults_are_valid() {
        assert_eq!(undocumented::<RawConfig>(), Vec::<String>::new());
        assert_eq!(read(|_| {}).unwrap().retry, RetrySchedule::default());
    }

    #[test]
    fn says_which_key_is_wrong() {
        let route = |domain: &str, hosts: &[&str]| RawRoute {
            domain: domain.into(),
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            tls: RawTls::None,
        };
        for (change, key) in [
            (Box::new(|c: &mut RawConfig| c.max_smtp_out = 0) as Box<dyn FnOnce(&mut RawConfig)>, "max_smtp_out"),
            (Box::new(|c| c.retry_after = vec![]), "retry_after"),
            (Box::new(|c| c.mx_session_limit = 0), "mx_session_limit"),
            (Box::new(|c| c.ehlo_name = Some("a b".into())), "ehlo_name"),
            (Box::new(move |c| c.routes = vec![route("*", &["a:1"]), route("b c", &["a:1"])]), "routes[1].domain"),
            (Box::new(move |c| c.routes = vec![route("*", &[])]), "routes[0].hosts"),
            (Box::new(move |c| c.routes = vec![route("*", &["a:1", "a"])]), "routes[0].hosts[1]"),
        ] {
            let error = read(change).unwrap_err();
            assert!(error.starts_with(&format!("{key}:")), "{error}");
        }
    }
}
