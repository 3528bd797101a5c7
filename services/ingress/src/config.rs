//! The section `ingress` of the configuration: as it is written, and as it is used.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sluice_daemon::config::{Documented, Key, KeyError, Size, Time};
use sluice_smtp::server::Limits;

use crate::Lifetimes;

/// Listeners at most.
const MAX_LISTENERS: usize = 64;
/// Networks per list at most.
const MAX_NETWORKS: usize = 1_000;
/// Recipients per message at most: the spool takes 1,000 envelopes of one message.
const MAX_RECIPIENTS: usize = 1_000;
/// Octets per message at most.
const MAX_MESSAGE_SIZE: u64 = 1 << 30;

/// The section as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// Where to listen.
    pub listeners: Vec<RawListener>,
    /// Sessions at the same time.
    pub max_sessions: usize,
    /// Sessions at the same time from one client address.
    pub max_sessions_per_ip: u32,
    /// Octets of one message.
    pub max_message_size: Size,
    /// Recipients of one message.
    pub max_recipients: usize,
    /// Octets of all messages that are being received or stored.
    pub max_bytes_in_flight: Size,
    /// Commands that were not understood, per session and message.
    pub max_bad_commands: u32,
    /// Commands per session and message.
    pub max_commands: u32,
    /// Failed log-ins per session.
    pub max_auth_failures: u32,
    /// Wait for a command.
    pub command_timeout: Time,
    /// Wait for the next piece of content.
    pub data_timeout: Time,
    /// Wait for the end of one message's content.
    pub content_timeout: Time,
    /// Wait for a PROXY header, and for a TLS handshake.
    pub handshake_timeout: Time,
    /// Grace for running sessions when the process ends.
    pub drain_timeout: Time,
    /// Threads that sign messages.
    pub signing_threads: usize,
}

/// A listener as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawListener {
    /// Address and port.
    pub address: SocketAddr,
    /// How TLS is used.
    #[serde(default)]
    pub tls: ListenerTls,
    /// Peers that send a PROXY header.
    #[serde(default)]
    pub proxy_protocol_from: Vec<IpNet>,
    /// Clients that need no log-in.
    #[serde(default)]
    pub trusted_networks: Vec<TrustedNetwork>,
    /// No load balancer stands before this listener.
    #[serde(default)]
    pub direct: bool,
    /// AUTH in the clear for clients on this machine.
    #[serde(default)]
    pub auth_without_tls_on_loopback: bool,
}

/// How a listener uses TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerTls {
    /// When the client says STARTTLS.
    #[default]
    StartTls,
    /// From the first octet.
    Implicit,
    /// Not at all.
    None,
}

impl ListenerTls {
    /// The word in configuration and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
            Self::None => "none",
        }
    }
}

/// Clients that may send without a log-in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedNetwork {
    /// Their addresses.
    pub network: IpNet,
    /// As whom they send.
    pub account: Arc<str>,
}

impl Default for RawConfig {
    fn default() -> Self {
        let Limits {
            max_message_size,
            max_recipients,
            max_bad_commands,
            max_commands,
            max_auth_failures,
            command_timeout,
            data_timeout,
            content_timeout,
            ..
        } = Limits::default();
        Self {
            listeners: vec![
                RawListener::on(SocketAddr::from(([127, 0, 0, 1], 2587)), ListenerTls::StartTls),
                RawListener::on(SocketAddr::from(([127, 0, 0, 1], 2465)), ListenerTls::Implicit),
            ],
            max_sessions: 20_000,
            max_sessions_per_ip: 10_000,
            max_message_size: Size(max_message_size),
            max_recipients,
            max_bytes_in_flight: Size::mib(256),
            max_bad_commands,
            max_commands,
            max_auth_failures,
            command_timeout: Time(command_timeout),
            data_timeout: Time(data_timeout),
            content_timeout: Time(content_timeout),
            handshake_timeout: Time::secs(30),
            drain_timeout: Time::secs(60),
            signing_threads: 0,
        }
    }
}

impl RawListener {
    /// A listener without trust and proxies.
    #[must_use]
    pub fn on(address: SocketAddr, tls: ListenerTls) -> Self {
        Self {
            address,
            tls,
            proxy_protocol_from: Vec::new(),
            trusted_networks: Vec::new(),
            direct: false,
            auth_without_tls_on_loopback: false,
        }
    }
}

impl Documented for RawConfig {
    const KEYS: &'static [Key] = &[
        Key::tables("listeners", LISTENER, "Where submissions are taken. At most 64.")
            .or("`127.0.0.1:2587` with STARTTLS, `127.0.0.1:2465` with TLS"),
        Key::new("max_sessions", "number", "Sessions at the same time, per process; more are greeted with 421."),
        Key::new(
            "max_sessions_per_ip",
            "number",
            "Sessions at the same time from one client address; more are greeted with 421.",
        ),
        Key::new(
            "max_message_size",
            "size",
            "Octets of one message, announced as SIZE; larger ones get 552. Its header section may have 1 MiB, more \
             gets 554.",
        ),
        Key::new("max_recipients", "number", "Recipients of one message; more get 452. 100 to 1,000."),
        Key::new(
            "max_bytes_in_flight",
            "size",
            "Octets of all messages being received or stored, per process; above it contents get 452. At least twice \
             `max_message_size`, as a message is there twice while fields are added and taken out.",
        ),
        Key::new(
            "max_bad_commands",
            "number",
            "Commands not understood or out of order since the last message, per session, before 421.",
        ),
        Key::new("max_commands", "number", "Commands since the last message, per session, before 421."),
        Key::new("max_auth_failures", "number", "Failed log-ins per session before 421."),
        Key::new("command_timeout", "time", "How long a session may wait for its next command before 421."),
        Key::new("data_timeout", "time", "How long a session may wait for the next piece of a message."),
        Key::new("content_timeout", "time", "How long the content of one message may take as a whole."),
        Key::new("handshake_timeout", "time", "For a PROXY header, and again for a TLS handshake."),
        Key::new("drain_timeout", "time", "How long running sessions may go on when the process is told to end."),
        Key::new(
            "signing_threads",
            "number",
            "Threads that sign messages (DKIM), 256 at most; 0: one less than the machine has cores, so that one is \
             left for everything else.",
        ),
    ];
}

const LISTENER: &[Key] = &[
    Key::new("address", "address", "Address and port, such as `0.0.0.0:587` or `[::]:587`.").or("required"),
    Key::new(
        "tls",
        "text",
        "`starttls`: encrypted when the client asks; `implicit`: from the first octet; `none`: never.",
    )
    .or("`\"starttls\"`"),
    Key::new(
        "proxy_protocol_from",
        "list of networks",
        "Load balancers: connections from them must begin with a PROXY header (version 1 or 2), from others it is \
         refused. At most 1,000.",
    )
    .or("`[]`"),
    Key::tables(
        "trusted_networks",
        TRUSTED,
        "Clients that may send without a log-in, as the account named. None by default. Needs \
         `proxy_protocol_from`, or `direct = true`: behind a load balancer every client looks internal. At most 1,000.",
    )
    .or("`[]`"),
    Key::new(
        "direct",
        "true or false",
        "Clients connect to this listener themselves, with no load balancer or NAT in between, so that \
         `trusted_networks` may go by the address of the connection.",
    )
    .or("`false`"),
    Key::new("auth_without_tls_on_loopback", "true or false", "Clients on this machine may log in without TLS.")
        .or("`false`"),
];

const TRUSTED: &[Key] = &[
    Key::new("network", "network", "Client addresses, such as `10.1.0.0/16`; never the whole internet.").or("required"),
    Key::new("account", "text", "The id of the account that these clients send as.").or("required"),
];

/// What the section needs to know of the others.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Our name, in greetings and Received fields.
    pub hostname: Arc<str>,
    /// How long delivery is tried, and so the longest life of a message.
    pub lifetimes: Lifetimes,
    /// Whether there is a certificate.
    pub has_certificate: bool,
}

/// The section as it is used: what exists is valid.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) hostname: Arc<str>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) max_sessions: usize,
    pub(crate) max_sessions_per_ip: u32,
    pub(crate) max_bytes_in_flight: u64,
    pub(crate) limits: Limits,
    pub(crate) handshake_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) signing_threads: usize,
}

/// A listener as it is used.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) tls: ListenerTls,
    pub(crate) proxy_protocol_from: Vec<IpNet>,
    pub(crate) trusted_networks: Vec<TrustedNetwork>,
    pub(crate) direct: bool,
    pub(crate) auth_without_tls_on_loopback: bool,
}

impl Config {
    /// Checks the section. Keys of errors are relative to it.
    pub fn new(raw: RawConfig, around: Surroundings) -> Result<Self, KeyError> {
        at_least("max_sessions", raw.max_sessions, 1)?;
        at_least("max_sessions_per_ip", raw.max_sessions_per_ip, 1)?;
        at_least("max_message_size", raw.max_message_size.0, 1_024)?;
        at_most("max_message_size", raw.max_message_size.0, MAX_MESSAGE_SIZE)?;
        // RFC 5321 4.5.3.1.8: a server takes 100 recipients at least.
        at_least("max_recipients", raw.max_recipients, 100)?;
        at_most("max_recipients", raw.max_recipients, MAX_RECIPIENTS)?;
        at_least("max_bad_commands", raw.max_bad_commands, 1)?;
        at_least("max_commands", raw.max_commands, 10)?;
        at_least("max_auth_failures", raw.max_auth_failures, 1)?;
        for (key, time) in [
            ("command_timeout", raw.command_timeout),
            ("data_timeout", raw.data_timeout),
            ("content_timeout", raw.content_timeout),
            ("handshake_timeout", raw.handshake_timeout),
        ] {
            if time < Time::secs(1) || time > Time::hours(24) {
                return Err(KeyError::new(key, "expected a time from 1s to 1d"));
            }
        }
        at_most("signing_threads", raw.signing_threads, 256)?;
        // A message is held twice while it is prepared; with less than that the largest would never be taken.
        if raw.max_bytes_in_flight.0 < 2 * raw.max_message_size.0 {
            return Err(KeyError::new("max_bytes_in_flight", "expected twice max_message_size or more"));
        }
        let listeners = listeners(raw.listeners, around.has_certificate)?;
        let limits = Limits {
            max_message_size: raw.max_message_size.0,
            max_recipients: raw.max_recipients,
            max_bad_commands: raw.max_bad_commands,
            max_commands: raw.max_commands,
            max_auth_failures: raw.max_auth_failures,
            command_timeout: raw.command_timeout.0,
            data_timeout: raw.data_timeout.0,
            content_timeout: raw.content_timeout.0,
            ..Limits::default()
        };
        Ok(Self {
            hostname: around.hostname,
            listeners,
            max_sessions: raw.max_sessions.min(tokio::sync::Semaphore::MAX_PERMITS),
            max_sessions_per_ip: raw.max_sessions_per_ip,
            max_bytes_in_flight: raw.max_bytes_in_flight.0,
            limits,
            handshake_timeout: raw.handshake_timeout.0,
            drain_timeout: raw.drain_timeout.0,
            lifetimes: around.lifetimes,
            signing_threads: match raw.signing_threads {
                0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1)),
                threads => threads,
            },
        })
    }

    /// Where to listen, in the order of the section.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|listener| listener.address)
    }

    /// How long running sessions may go on when the process is told to end.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }
}

fn at_least<T: PartialOrd + std::fmt::Display>(key: &str, value: T, least: T) -> Result<(), KeyError> {
    if value < least { Err(KeyError::new(key, format!("expected {least} or more"))) } else { Ok(()) }
}

fn at_most<T: PartialOrd + std::fmt::Display>(key: &str, value: T, most: T) -> Result<(), KeyError> {
    if value > most { Err(KeyError::new(key, format!("expected {most} or less"))) } else { Ok(()) }
}

fn listeners(raw: Vec<RawListener>, has_certificate: bool) -> Result<Vec<Listener>, KeyError> {
    if raw.is_empty() || raw.len() > MAX_LISTENERS {
        return Err(KeyError::new("listeners", format!("expected 1 to {MAX_LISTENERS} listeners")));
    }
    let mut listeners: Vec<Listener> = Vec::with_capacity(raw.len());
    for (i, raw) in raw.into_iter().enumerate() {
        let section = format!("listeners[{i}]");
        if raw.address.port() != 0 && listeners.iter().any(|other| other.address == raw.address) {
            return Err(KeyError::new("address", "another listener has this address").within(&section));
        }
        listeners.push(listener(raw, has_certificate).map_err(|e| e.within(&section))?);
    }
    Ok(listeners)
}

fn listener(raw: RawListener, has_certificate: bool) -> Result<Listener, KeyError> {
    if raw.tls != ListenerTls::None && !has_certificate {
        let problem = "needs a certificate: set tls.certificate and tls.key, or tls = \"none\" here";
        return Err(KeyError::new("tls", problem));
    }
    for (key, len) in
        [("proxy_protocol_from", raw.proxy_protocol_from.len()), ("trusted_networks", raw.trusted_networks.len())]
    {
        at_most(key, len, MAX_NETWORKS)?;
    }
    if !raw.trusted_networks.is_empty() && raw.proxy_protocol_from.is_empty() && !raw.direct {
        let problem = "needs proxy_protocol_from, or direct = true if clients connect themselves: behind a load \
                       balancer every client looks internal";
        return Err(KeyError::new("trusted_networks", problem));
    }
    for (i, trusted) in raw.trusted_networks.iter().enumerate() {
        let section = format!("trusted_networks[{i}]");
        check_trusted(trusted).map_err(|e| e.within(&section))?;
    }
    Ok(Listener {
        address: raw.address,
        tls: raw.tls,
        proxy_protocol_from: raw.proxy_protocol_from.iter().map(IpNet::trunc).collect(),
        trusted_networks: raw.trusted_networks,
        direct: raw.direct,
        auth_without_tls_on_loopback: raw.auth_without_tls_on_loopback,
    })
}

/// No network that holds most of the internet. The widest private ones are 10.0.0.0/8 and fc00::/7.
fn check_trusted(trusted: &TrustedNetwork) -> Result<(), KeyError> {
    let too_wide = match trusted.network {
        IpNet::V4(network) => network.prefix_len() < 8,
        IpNet::V6(network) => network.prefix_len() < 7,
    };
    if too_wide {
        let problem = "trusts too much of the internet; expected a network of your own, such as 10.1.0.0/16";
        return Err(KeyError::new("network", problem));
    }
    if let IpAddr::V6(ip) = trusted.network.addr()
        && ip.to_ipv4_mapped().is_some()
    {
        return Err(KeyError::new("network", "expected an IPv4 network in IPv4 form"));
    }
    if trusted.account.is_empty() {
        return Err(KeyError::new("account", "expected the id of an account"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
