//! The `[delivery]` section as it stands in the file.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sluice_daemon::config::{Rate, Size, Time};

/// The section as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// Our name in EHLO.
    pub ehlo_name: Option<String>,
    /// The address connections come from.
    pub source_address: Option<IpAddr>,
    /// Addresses to send from, each with a name.
    pub sources: Vec<RawSource>,
    /// Whom to ask for MX and address records.
    pub name_servers: Vec<SocketAddr>,
    /// Networks that the DNS must not lead to.
    pub prohibited_hosts: Vec<IpNet>,
    /// Of those, what it may lead to.
    pub allowed_networks: Vec<IpNet>,
    /// Port of MX hosts.
    pub default_smtp_port: u16,
    /// Static routes.
    pub routes: Vec<RawRoute>,
    /// What holds for single recipient domains.
    pub domains: Vec<RawDomain>,
    /// What holds for single sites.
    pub sites: Vec<RawSite>,
    /// What holds for the lanes.
    pub lanes: RawLanes,
    /// Connections at once, per site.
    pub max_smtp_out: u32,
    /// Connections at once, of the process.
    pub total_max_smtp_out: u32,
    /// Messages per connection.
    pub max_msg_per_connection: u32,
    /// Messages in a time, per site.
    pub max_msg_rate: Rate,
    /// Connections in a time, per site.
    pub max_connect_rate: Rate,
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
    /// Whether mail of 8 bits is given up at hosts without 8BITMIME.
    pub bounce_8bit: bool,
    /// How often a sender is told that mail waits; 0 is never.
    pub notify_of_delay_every: Time,
    /// Reports in a time, per account.
    pub max_dsn_rate: Rate,
    /// Addresses tried per attempt.
    pub mx_address_limit: usize,
    /// Sessions tried per attempt.
    pub mx_session_limit: usize,
    /// Whether STARTTLS is used.
    pub use_starttls: bool,
    /// Whether mail goes encrypted or not at all.
    pub require_starttls: bool,
    /// Whom certificates are to be from, where they are verified.
    pub ca_file: Option<PathBuf>,
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
    pub tls: Option<RawTls>,
    /// Whether TLS begins with the connection.
    #[serde(default)]
    pub implicit_tls: bool,
    /// Log-in name.
    #[serde(default)]
    pub username: Option<String>,
    /// The file that the password stands in.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// The words for how sessions are protected.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RawTls {
    /// Encrypted when it is offered.
    Opportunistic,
    /// Never encrypted.
    None,
    /// Encrypted or not at all.
    Required,
    /// Encrypted, with a certificate that proves the host's name, or not at all.
    Verified,
}

/// An address to send from as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawSource {
    /// What it is called.
    pub name: String,
    /// The address.
    pub address: IpAddr,
    /// The name in EHLO that belongs to it.
    #[serde(default)]
    pub ehlo_name: Option<String>,
}

/// What holds for one recipient domain, as it stands in the file. What is not there is as for all.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawDomain {
    /// Which.
    pub domain: String,
    /// Connections at once.
    #[serde(default)]
    pub max_smtp_out: Option<u32>,
    /// Messages per connection.
    #[serde(default)]
    pub max_msg_per_connection: Option<u32>,
    /// Messages in a time.
    #[serde(default)]
    pub max_msg_rate: Option<Rate>,
    /// Connections in a time.
    #[serde(default)]
    pub max_connect_rate: Option<Rate>,
    /// Waits between attempts.
    #[serde(default)]
    pub retry_after: Option<Vec<Time>>,
    /// When undelivered mail is given up.
    #[serde(default)]
    pub bounce_after: Option<Time>,
    /// Whether STARTTLS is used.
    #[serde(default)]
    pub use_starttls: Option<bool>,
    /// Whether mail goes encrypted or not at all.
    #[serde(default)]
    pub require_starttls: Option<bool>,
}

/// What holds for one site, as it stands in the file. What is not there is as for all.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawSite {
    /// A site's whole name, or the name of an MX host.
    pub site: String,
    /// Connections at once.
    #[serde(default)]
    pub max_smtp_out: Option<u32>,
    /// Messages per connection.
    #[serde(default)]
    pub max_msg_per_connection: Option<u32>,
    /// Messages in a time.
    #[serde(default)]
    pub max_msg_rate: Option<Rate>,
    /// Connections in a time.
    #[serde(default)]
    pub max_connect_rate: Option<Rate>,
    /// Waits between attempts.
    #[serde(default)]
    pub retry_after: Option<Vec<Time>>,
}

/// What holds for each lane, as it stands in the file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLanes {
    /// Receipts, password resets.
    pub transactional: RawLane,
    /// Campaigns.
    pub bulk: RawLane,
}

/// What holds for one lane, as it stands in the file. What is not there is as for all.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLane {
    /// Waits between attempts.
    pub retry_after: Option<Vec<Time>>,
    /// When undelivered mail is given up.
    pub bounce_after: Option<Time>,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            ehlo_name: None,
            source_address: None,
            sources: Vec::new(),
            name_servers: Vec::new(),
            prohibited_hosts: sluice_route::prohibited_by_default(),
            allowed_networks: Vec::new(),
            default_smtp_port: 25,
            routes: Vec::new(),
            domains: Vec::new(),
            sites: Vec::new(),
            lanes: RawLanes::default(),
            max_smtp_out: 20,
            total_max_smtp_out: 1000,
            max_msg_per_connection: 100,
            max_msg_rate: Rate(None),
            max_connect_rate: Rate(None),
            initial_destination_concurrency: 5,
            failed_cohort_limit: 1,
            dead_site_pause: Time::mins(5),
            retry_after: [300, 600, 1200, 2400, 4000].map(Time::secs).to_vec(),
            bounce_after: Time::hours(108),
            bounce_upon_5xx_greeting: true,
            bounce_8bit: false,
            notify_of_delay_every: Time::secs(0),
            max_dsn_rate: Rate(None),
            mx_address_limit: 5,
            mx_session_limit: 2,
            use_starttls: true,
            require_starttls: false,
            ca_file: None,
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
