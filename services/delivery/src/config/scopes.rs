//! What holds for all mail, for a lane, a site or a recipient domain.

use std::collections::HashMap;
use std::time::Duration;

use sluice_daemon::config::{KeyError, Rate, Time};
use sluice_mail::Domain;
use sluice_queue::{Directives, RetrySchedule, Rules};
use sluice_smtp::client::TlsMode;

use super::{RawConfig, RawDomain, RawLane, RawSite, within};

/// Most entries in `domains` and in `sites`.
const SCOPES_MAX: usize = 100_000;
/// The longest time that mail may wait.
const BOUNCE_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest name of a site, in octets.
const SITE_NAME_MAX: usize = 4_096;

/// The directives of all scopes.
pub(super) fn rules(raw: &RawConfig) -> Result<Rules, KeyError> {
    within("max_smtp_out", raw.max_smtp_out, 10_000)?;
    Ok(Rules {
        general: Directives {
            max_smtp_out: Some(raw.max_smtp_out),
            max_msg_per_connection: Some(raw.max_msg_per_connection),
            max_msg_rate: Some(raw.max_msg_rate.0),
            max_connect_rate: Some(raw.max_connect_rate.0),
            retry_after: retry(Some(&raw.retry_after))?,
            bounce_after: bounce_after(Some(raw.bounce_after))?,
        },
        transactional: lane(&raw.lanes.transactional).map_err(|e| e.within("lanes.transactional"))?,
        bulk: lane(&raw.lanes.bulk).map_err(|e| e.within("lanes.bulk"))?,
        sites: each("sites", "site", &raw.sites, site)?,
        domains: each("domains", "domain", &raw.domains, domain)?,
    })
}

/// The longest time that any mail may wait by these rules.
pub(super) fn bounce_after_max(rules: &Rules) -> Duration {
    let lanes = [&rules.general, &rules.transactional, &rules.bulk];
    let all = lanes.into_iter().chain(rules.domains.iter().map(|(_, directives)| directives));
    all.filter_map(|directives| directives.bounce_after).max().unwrap_or_default()
}

/// The domains with a word of their own on TLS.
pub(super) fn tls_by_domain(raw: &RawConfig) -> Result<HashMap<Domain, TlsMode>, KeyError> {
    let mut modes = HashMap::new();
    for (place, raw_domain) in raw.domains.iter().enumerate() {
        if raw_domain.use_starttls.is_none() && raw_domain.require_starttls.is_none() {
            continue;
        }
        let domain = name_of(raw_domain).map_err(|e| e.within(&format!("domains[{place}]")))?;
        let required = raw_domain.require_starttls.unwrap_or(raw.require_starttls && raw_domain.use_starttls.is_none());
        let mode = tls_mode(required, raw_domain.use_starttls.unwrap_or(raw.use_starttls));
        modes.insert(domain, mode);
    }
    Ok(modes)
}

pub(super) fn tls_mode(required: bool, used: bool) -> TlsMode {
    match (required, used) {
        (true, _) => TlsMode::Required,
        (false, true) => TlsMode::Opportunistic,
        (false, false) => TlsMode::Off,
    }
}

/// Reads each entry of a list; a name may stand there once.
fn each<R, N: Clone + Eq + std::hash::Hash>(
    list: &str,
    key: &str,
    raw: &[R],
    read: impl Fn(&R) -> Result<(N, Directives), KeyError>,
) -> Result<Vec<(N, Directives)>, KeyError> {
    if raw.len() > SCOPES_MAX {
        return Err(KeyError::new(list, format!("expected {SCOPES_MAX} at most")));
    }
    let mut places: HashMap<N, usize> = HashMap::with_capacity(raw.len());
    let mut entries = Vec::with_capacity(raw.len());
    for (place, raw) in raw.iter().enumerate() {
        let (name, directives) = read(raw).map_err(|e| e.within(&format!("{list}[{place}]")))?;
        if let Some(other) = places.insert(name.clone(), place) {
            let problem = format!("expected another {key}: {list}[{other}] is for it");
            return Err(KeyError::new(format!("{list}[{place}].{key}"), problem));
        }
        entries.push((name, directives));
    }
    Ok(entries)
}

fn domain(raw: &RawDomain) -> Result<(Domain, Directives), KeyError> {
    let directives = Directives {
        max_smtp_out: connections(raw.max_smtp_out)?,
        max_msg_per_connection: raw.max_msg_per_connection,
        max_msg_rate: rate(raw.max_msg_rate),
        max_connect_rate: rate(raw.max_connect_rate),
        retry_after: retry(raw.retry_after.as_deref())?,
        bounce_after: bounce_after(raw.bounce_after)?,
    };
    Ok((name_of(raw)?, directives))
}

fn name_of(raw: &RawDomain) -> Result<Domain, KeyError> {
    Domain::parse(&raw.domain).map_err(|e| KeyError::new("domain", format!("expected a domain: {e}")))
}

fn site(raw: &RawSite) -> Result<(String, Directives), KeyError> {
    let name = raw.site.trim_end_matches('.').to_ascii_lowercase();
    if name.is_empty() || name.len() > SITE_NAME_MAX || name.contains(char::is_whitespace) {
        return Err(KeyError::new("site", "expected the name of an MX host, or of a site as in the log"));
    }
    let directives = Directives {
        max_smtp_out: connections(raw.max_smtp_out)?,
        max_msg_per_connection: raw.max_msg_per_connection,
        max_msg_rate: rate(raw.max_msg_rate),
        max_connect_rate: rate(raw.max_connect_rate),
        retry_after: retry(raw.retry_after.as_deref())?,
        bounce_after: None,
    };
    Ok((name, directives))
}

fn lane(raw: &RawLane) -> Result<Directives, KeyError> {
    let retry_after = retry(raw.retry_after.as_deref())?;
    Ok(Directives { retry_after, bounce_after: bounce_after(raw.bounce_after)?, ..Directives::default() })
}

fn connections(n: Option<u32>) -> Result<Option<u32>, KeyError> {
    n.map(|n| within("max_smtp_out", n, 10_000).map(|()| n)).transpose()
}

fn rate(rate: Option<Rate>) -> Option<Option<sluice_mail::Rate>> {
    rate.map(|rate| rate.0)
}

fn retry(times: Option<&[Time]>) -> Result<Option<RetrySchedule>, KeyError> {
    let schedule = times.map(|times| RetrySchedule::new(times.iter().map(|time| time.0).collect()));
    schedule.transpose().map_err(|e| KeyError::new("retry_after", format!("expected 1 to 30 times of 1s to 7d: {e}")))
}

fn bounce_after(time: Option<Time>) -> Result<Option<Duration>, KeyError> {
    match time {
        Some(Time(time)) if time.is_zero() || time > BOUNCE_AFTER_MAX => {
            Err(KeyError::new("bounce_after", "expected a time of up to 30d, and more than 0s"))
        }
        other => Ok(other.map(|time| time.0)),
    }
}
