//! The `[delivery]` section: as it stands in the file, what there is to say about each key, and what it means.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sluice_daemon::config::KeyError;
use sluice_mail::{Clock, Domain, Host, Lane, Rate};
use sluice_queue::{Context, Limits, Policy, Scope};
use sluice_route::{
    FixedRoute, FixedRoutes, HickoryRoutes, Networks, ResolverError, Route, Routes, Settings, TlsPolicy,
};
use sluice_smtp::client::{ClientConfig, Timeouts, TlsMode};
use sluice_spool::Window;

mod keys;
mod raw;
mod routes;
mod scopes;
mod sources;
#[cfg(test)]
mod tests;

pub use raw::{RawConfig, RawDomain, RawLane, RawLanes, RawRoute, RawSite, RawSource, RawTls};
pub use sources::Source;

/// Sites known at once, per process.
const MAX_SITES: usize = 100_000;
/// Senders are told of delays no more often than this.
const DELAY_NOTICE_MIN: Duration = Duration::from_secs(60);

/// The section, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name in EHLO; the process's hostname when `None`.
    pub ehlo_name: Option<Arc<str>>,
    /// Addresses to send from; empty: the system's choice.
    pub sources: Arc<[Source]>,
    /// What the DNS resolver is told.
    pub dns: Settings,
    /// Static routes.
    pub routes: Vec<FixedRoute>,
    /// Of connections.
    pub limits: Limits,
    /// Limits and retries of sites, domains and lanes. Also for whoever accepts mail: an envelope carries the time when
    /// it is given up.
    pub policy: Arc<Policy>,
    /// The longest time that any mail may wait.
    pub bounce_after_max: Duration,
    /// What judging failures depends on.
    pub judgement: Context,
    /// Whether mail of 8 bits is given up at a host without 8BITMIME.
    pub bounce_8bit: bool,
    /// How often a sender is told that mail waits; `None` is never.
    pub notify_of_delay_every: Option<Duration>,
    /// Reports (DSN) in a time, per account that has no limit of its own; `None` is no limit.
    pub max_dsn_rate: Option<Rate>,
    /// Addresses tried per attempt; at least 1.
    pub mx_address_limit: usize,
    /// Sessions tried per attempt; at least 1.
    pub mx_session_limit: usize,
    /// For routes that say nothing else.
    pub tls: TlsMode,
    /// For the routes of these domains, unless they are static ones.
    pub(crate) tls_by_domain: HashMap<Domain, TlsMode>,
    /// The authorities whose certificates are believed; `None`: the system's.
    pub ca_file: Option<PathBuf>,
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

impl TryFrom<RawConfig> for Config {
    type Error = KeyError;

    /// Paths are meant from the working folder.
    fn try_from(raw: RawConfig) -> Result<Self, KeyError> {
        Self::new(raw, Path::new(""))
    }
}

impl Config {
    /// Checks the section. Its paths are meant from `base`; files of passwords are read.
    pub fn new(raw: RawConfig, base: &Path) -> Result<Self, KeyError> {
        let count = |key, n: usize, max| within(key, u32::try_from(n).unwrap_or(u32::MAX), max).map(|()| n);
        let window = Window {
            max_items: count("max_outstanding", raw.max_outstanding, 1_000_000)?,
            max_bytes: usize::try_from(raw.max_outstanding_bytes.0).unwrap_or(usize::MAX).max(64 << 10),
            max_items_per_domain: count("max_outstanding_per_domain", raw.max_outstanding_per_domain, 1_000_000)?,
        };
        let rules = scopes::rules(&raw)?;
        Ok(Self {
            ehlo_name: raw.ehlo_name.as_deref().map(|name| sources::ehlo_name("ehlo_name", name)).transpose()?,
            sources: sources::read(&raw)?,
            dns: Settings {
                name_servers: raw.name_servers.clone(),
                port: raw.default_smtp_port,
                networks: Networks::new(raw.prohibited_hosts.clone(), raw.allowed_networks.clone()),
            },
            routes: routes::read(&raw.routes, base)?,
            limits: limits(&raw)?,
            bounce_after_max: scopes::bounce_after_max(&rules),
            policy: Arc::new(Policy::new(rules)),
            judgement: Context { bounce_upon_5xx_greeting: raw.bounce_upon_5xx_greeting },
            bounce_8bit: raw.bounce_8bit,
            notify_of_delay_every: delay_notices(&raw)?,
            max_dsn_rate: raw.max_dsn_rate.0,
            mx_address_limit: count("mx_address_limit", raw.mx_address_limit, 100)?,
            mx_session_limit: count("mx_session_limit", raw.mx_session_limit, 100)?,
            tls: scopes::tls_mode(raw.require_starttls, raw.use_starttls),
            tls_by_domain: scopes::tls_by_domain(&raw)?,
            ca_file: raw.ca_file.as_deref().map(|path| ca_file(&base.join(path))).transpose()?,
            pipelining: !raw.ignore_pipelining,
            connect_timeout: raw.connect_timeout.0,
            timeouts: timeouts(&raw),
            idle_timeout: raw.connection_idle_timeout.0,
            drain_timeout: raw.drain_timeout.0,
            window,
            max_large_bodies: raw.max_large_bodies.0.clamp(1 << 20, 64 << 30),
        })
    }

    /// Where mail goes by this config: static routes, and the DNS for the rest, which is not set up when a route for
    /// all mail leaves nothing to ask it. The DNS never leads to `own_listeners`.
    pub fn routes(
        &self,
        clock: &Arc<dyn Clock>,
        own_listeners: Vec<SocketAddr>,
    ) -> Result<Arc<dyn Routes>, ResolverError> {
        let has_default = self.routes.iter().any(|route| route.domain.is_none());
        let rest: Option<Arc<dyn Routes>> = match has_default {
            true => None,
            false => {
                let mut settings = self.dns.clone();
                settings.networks = settings.networks.with_own(own_listeners);
                Some(Arc::new(HickoryRoutes::new(settings, clock.clone())?))
            }
        };
        Ok(Arc::new(FixedRoutes::new(self.routes.clone(), rest, clock.clone())))
    }

    /// How long delivery is tried, for mail of accounts that have no time of their own.
    pub fn lifetimes(&self) -> impl Fn(Lane, &Host) -> Duration + Send + Sync + use<> {
        let policy = Arc::clone(&self.policy);
        move |lane, domain| policy.bounce_after(&Scope { lane, site: None, domain, account: None })
    }

    /// How a session over this route with mail for this domain is protected.
    pub(crate) fn tls(&self, route: &Route, domain: &Host) -> TlsMode {
        match route.tls {
            TlsPolicy::Opportunistic if route.is_fixed => self.tls,
            TlsPolicy::Opportunistic => {
                domain.domain().and_then(|domain| self.tls_by_domain.get(domain)).copied().unwrap_or(self.tls)
            }
            TlsPolicy::None => TlsMode::Off,
            TlsPolicy::Required | TlsPolicy::Verified if route.implicit_tls => TlsMode::Implicit,
            TlsPolicy::Required | TlsPolicy::Verified => TlsMode::Required,
        }
    }

    /// What every session is told.
    pub(crate) fn session(&self, hostname: &Arc<str>) -> ClientConfig {
        ClientConfig {
            pipelining: self.pipelining,
            timeouts: self.timeouts,
            bounce_8bit: self.bounce_8bit,
            ..ClientConfig::new(self.ehlo_name.clone().unwrap_or_else(|| hostname.clone()))
        }
    }
}

fn limits(raw: &RawConfig) -> Result<Limits, KeyError> {
    within("total_max_smtp_out", raw.total_max_smtp_out, 100_000)?;
    within("initial_destination_concurrency", raw.initial_destination_concurrency, 10_000)?;
    within("failed_cohort_limit", raw.failed_cohort_limit, 1000)?;
    Ok(Limits {
        total_max_smtp_out: raw.total_max_smtp_out,
        max_sites: MAX_SITES,
        initial_destination_concurrency: raw.initial_destination_concurrency,
        failed_cohort_limit: raw.failed_cohort_limit,
        dead_site_pause: raw.dead_site_pause.0,
        max_queued: raw.max_outstanding_per_domain.saturating_mul(2),
    })
}

fn ca_file(path: &Path) -> Result<PathBuf, KeyError> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(e) => Err(KeyError::new("ca_file", format!("{} cannot be read: {e}", path.display()))),
    }
}

fn delay_notices(raw: &RawConfig) -> Result<Option<Duration>, KeyError> {
    match raw.notify_of_delay_every.0 {
        Duration::ZERO => Ok(None),
        every if every < DELAY_NOTICE_MIN => {
            Err(KeyError::new("notify_of_delay_every", "expected 0s (never) or a time of 1m at least"))
        }
        every => Ok(Some(every)),
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

fn within(key: impl Into<String>, n: u32, max: u32) -> Result<(), KeyError> {
    if (1..=max).contains(&n) { Ok(()) } else { Err(KeyError::new(key, format!("expected 1 to {max}"))) }
}
