//! What the operator ordered, from general to particular: for all mail, for a lane, for a site, for a domain, and
//! for an account. The more particular word holds.

use std::collections::HashMap;
use std::time::Duration;

use sluice_mail::{Domain, Host, Lane, Rate};

use crate::RetrySchedule;

/// Connections to a site at once.
const MAX_SMTP_OUT: u32 = 20;
/// Messages over one connection.
const MAX_MSG_PER_CONNECTION: u32 = 100;
/// How long mail is tried.
const BOUNCE_AFTER: Duration = Duration::from_secs(108 * 3600);

/// What may be ordered. What is left open is for the more general to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// Connections at once; 0 sends nothing.
    pub max_smtp_out: Option<u32>,
    /// Transactions before a connection is closed; 0 is no limit.
    pub max_msg_per_connection: Option<u32>,
    /// Messages in a time; `Some(None)` is no limit.
    pub max_msg_rate: Option<Option<Rate>>,
    /// Connections opened in a time; `Some(None)` is no limit.
    pub max_connect_rate: Option<Option<Rate>>,
    /// The waits between attempts.
    pub retry_after: Option<RetrySchedule>,
    /// When mail is given up.
    pub bounce_after: Option<Duration>,
}

/// All orders but the accounts', as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// For all mail.
    pub general: Directives,
    /// For the transactional lane; only `retry_after` and `bounce_after` are looked at, as connections carry both.
    pub transactional: Directives,
    /// For the bulk lane; as for the transactional one.
    pub bulk: Directives,
    /// By a site's whole name, or by the name of one of its hosts. Of two for one name the later holds.
    pub sites: Vec<(String, Directives)>,
    /// By recipient domain. Of two for one domain the later holds.
    pub domains: Vec<(Domain, Directives)>,
}

/// What mail is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Its lane.
    pub lane: Lane,
    /// The site it goes to; `None` while that is not known.
    pub site: Option<&'a str>,
    /// The domain of its recipients.
    pub domain: &'a Host,
    /// What its account says itself; only `retry_after` and `bounce_after` are looked at.
    pub account: Option<&'a Directives>,
}

/// The limits of one site, for all mail to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteLimits {
    /// Connections at once; 0 sends nothing.
    pub max_smtp_out: u32,
    /// Transactions before a connection is closed; 0 is no limit.
    pub max_msg_per_connection: u32,
    /// Messages in a time.
    pub max_msg_rate: Option<Rate>,
    /// Connections opened in a time.
    pub max_connect_rate: Option<Rate>,
    /// What of these was said of this site by name, and so binds every domain behind it.
    pub said: Said,
}

/// Which limits were ordered by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Of [`SiteLimits::max_smtp_out`].
    pub max_smtp_out: bool,
    /// Of [`SiteLimits::max_msg_rate`].
    pub max_msg_rate: bool,
    /// Of [`SiteLimits::max_connect_rate`].
    pub max_connect_rate: bool,
}

/// The limits that a domain has of its own; what is `None` is its site's to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DomainLimits {
    /// Its number among the domains that have limits, from 0.
    pub place: usize,
    /// Connections at once; 0 sends nothing.
    pub max_smtp_out: Option<u32>,
    /// Transactions before a connection is closed; 0 is no limit.
    pub max_msg_per_connection: Option<u32>,
    /// Messages in a time; `Some(None)` is no limit.
    pub max_msg_rate: Option<Option<Rate>>,
    /// Connections opened in a time; `Some(None)` is no limit.
    pub max_connect_rate: Option<Option<Rate>>,
}

/// The orders, ready to be looked up: a look-up takes a few hashes at most and allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    general: Directives,
    transactional: Directives,
    bulk: Directives,
    schedule: RetrySchedule,
    sites: HashMap<String, Directives>,
    domains: HashMap<Domain, Entry>,
    limited_domains: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    directives: Directives,
    limits: Option<DomainLimits>,
}

impl Policy {
    /// The policy that these rules are.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let Rules { general, transactional, bulk, sites, domains } = rules;
        let mut policy = Self { general, transactional, bulk, ..Self::default() };
        for (name, directives) in sites {
            for name in spellings(&name) {
                policy.sites.insert(name, directives.clone());
            }
        }
        for (domain, directives) in domains {
            let limits = policy.limits_of(&domain, &directives);
            policy.domains.insert(domain, Entry { directives, limits });
        }
        policy
    }

    fn limits_of(&mut self, domain: &Domain, directives: &Directives) -> Option<DomainLimits> {
        let Directives { max_smtp_out, max_msg_per_connection, max_msg_rate, max_connect_rate, .. } = directives;
        let limits = DomainLimits {
            place: 0,
            max_smtp_out: *max_smtp_out,
            max_msg_per_connection: *max_msg_per_connection,
            max_msg_rate: *max_msg_rate,
            max_connect_rate: *max_connect_rate,
        };
        if limits == DomainLimits::default() {
            return None;
        }
        let known = self.domains.get(domain).and_then(|entry| entry.limits.as_ref());
        let place = known.map_or(self.limited_domains, |known| known.place);
        self.limited_domains = self.limited_domains.max(place + 1);
        Some(DomainLimits { place, ..limits })
    }

    /// The waits between attempts.
    #[must_use]
    pub fn retry<'a>(&'a self, scope: &Scope<'a>) -> &'a RetrySchedule {
        self.most_particular(scope, |directives| directives.retry_after.as_ref()).unwrap_or(&self.schedule)
    }

    /// How long after it was accepted mail is given up.
    #[must_use]
    pub fn bounce_after(&self, scope: &Scope<'_>) -> Duration {
        self.most_particular(scope, |directives| directives.bounce_after.as_ref()).copied().unwrap_or(BOUNCE_AFTER)
    }

    /// The limits of the site of this name.
    #[must_use]
    pub fn site_limits(&self, site: &str) -> SiteLimits {
        let own = self.site(site);
        let said = |is: fn(&Directives) -> bool| own.is_some_and(is);
        SiteLimits {
            max_smtp_out: own.and_then(|d| d.max_smtp_out).or(self.general.max_smtp_out).unwrap_or(MAX_SMTP_OUT),
            max_msg_per_connection: own
                .and_then(|d| d.max_msg_per_connection)
                .or(self.general.max_msg_per_connection)
                .unwrap_or(MAX_MSG_PER_CONNECTION),
            max_msg_rate: own.and_then(|d| d.max_msg_rate).or(self.general.max_msg_rate).flatten(),
            max_connect_rate: own.and_then(|d| d.max_connect_rate).or(self.general.max_connect_rate).flatten(),
            said: Said {
                max_smtp_out: said(|d| d.max_smtp_out.is_some()),
                max_msg_rate: said(|d| d.max_msg_rate.is_some()),
                max_connect_rate: said(|d| d.max_connect_rate.is_some()),
            },
        }
    }

    /// The limits that a domain has of its own, if it has any.
    #[must_use]
    pub fn domain_limits(&self, domain: &Host) -> Option<&DomainLimits> {
        self.domain(domain)?.limits.as_ref()
    }

    /// How many domains have limits of their own.
    #[must_use]
    pub fn limited_domains(&self) -> usize {
        self.limited_domains
    }

    fn most_particular<'a, T>(
        &'a self,
        scope: &Scope<'a>,
        of: impl Fn(&'a Directives) -> Option<&'a T>,
    ) -> Option<&'a T> {
        let lane = match scope.lane {
            Lane::Transactional => &self.transactional,
            Lane::Bulk => &self.bulk,
        };
        scope
            .account
            .and_then(&of)
            .or_else(|| self.domain(scope.domain).map(|entry| &entry.directives).and_then(&of))
            .or_else(|| scope.site.and_then(|site| self.site(site)).and_then(&of))
            .or_else(|| of(lane))
            .or_else(|| of(&self.general))
    }

    fn domain(&self, domain: &Host) -> Option<&Entry> {
        if self.domains.is_empty() {
            return None;
        }
        match domain {
            Host::Domain(domain) => self.domains.get(domain),
            Host::Literal(_) => None,
        }
    }

    /// By the whole name, else by the first of its hosts that has an entry, with or without its port.
    fn site(&self, name: &str) -> Option<&Directives> {
        if self.sites.is_empty() {
            return None;
        }
        if name.bytes().any(|b| b.is_ascii_uppercase()) {
            return self.site(&name.to_ascii_lowercase());
        }
        let of_host = |host: &str| self.sites.get(host).or_else(|| self.sites.get(without_port(host)?));
        self.sites.get(name).or_else(|| name.split(',').find_map(of_host))
    }
}

/// As routes name their sites: lower case, no final dots, no blanks; the hosts in the order given, and sorted.
fn spellings(name: &str) -> [String; 2] {
    let hosts = name.split(',').map(|host| host.trim().trim_end_matches('.').to_ascii_lowercase());
    let mut hosts: Vec<_> = hosts.collect();
    let given = hosts.join(",");
    hosts.sort_unstable();
    [given, hosts.join(",")]
}

/// `mx.example.org` of `mx.example.org:2525`, `::1` of `[::1]:25`.
fn without_port(host: &str) -> Option<&str> {
    let (name, _) = host.rsplit_once(':')?;
    match name.strip_prefix('[') {
        Some(address) => address.strip_suffix(']'),
        None => (!name.contains(':')).then_some(name),
    }
}

#[cfg(test)]
mod tests;
