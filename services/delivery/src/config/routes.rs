//! Static routes, with how they are protected and who we are there.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use sluice_daemon::config::KeyError;
use sluice_mail::Domain;
use sluice_route::{FixedRoute, Login, RelayHost, TlsPolicy};

use super::{RawRoute, RawTls};

/// Longest log-in name and longest password, in octets.
const SECRET_MAX: usize = 1_000;

/// The routes of the section.
pub(super) fn read(raw: &[RawRoute], base: &Path) -> Result<Vec<FixedRoute>, KeyError> {
    let mut places: HashMap<Option<Domain>, usize> = HashMap::new();
    let mut routes = Vec::with_capacity(raw.len());
    for (place, raw) in raw.iter().enumerate() {
        let route = read_route(raw, base).map_err(|e| e.within(&format!("routes[{place}]")))?;
        if let Some(other) = places.insert(route.domain.clone(), place) {
            let problem = format!("expected another domain: routes[{other}] is for it");
            return Err(KeyError::new(format!("routes[{place}].domain"), problem));
        }
        routes.push(route);
    }
    Ok(routes)
}

fn read_route(raw: &RawRoute, base: &Path) -> Result<FixedRoute, KeyError> {
    let domain = match raw.domain.as_str() {
        "*" => None,
        name => {
            let domain = Domain::parse(name);
            Some(domain.map_err(|e| KeyError::new("domain", format!("expected a domain or \"*\": {e}")))?)
        }
    };
    if raw.hosts.is_empty() {
        return Err(KeyError::new("hosts", "expected at least one host:port"));
    }
    let host = |(i, text): (usize, &String)| {
        text.parse::<RelayHost>().map_err(|e| KeyError::new(format!("hosts[{i}]"), e.to_string()))
    };
    let hosts = raw.hosts.iter().enumerate().map(host).collect::<Result<_, _>>()?;
    let login = login(raw, base)?;
    let tls = protection(raw, login.is_some())?;
    Ok(FixedRoute { tls, implicit_tls: raw.implicit_tls, login, ..FixedRoute::new(domain, hosts) })
}

/// How sessions are protected: by default well enough for what they carry.
fn protection(raw: &RawRoute, has_login: bool) -> Result<TlsPolicy, KeyError> {
    let tls = match (raw.tls, has_login, raw.implicit_tls) {
        (Some(tls), ..) => tls,
        (None, true, _) => RawTls::Verified,
        (None, false, true) => RawTls::Required,
        (None, false, false) => RawTls::Opportunistic,
    };
    let policy = match tls {
        RawTls::Opportunistic => TlsPolicy::Opportunistic,
        RawTls::None => TlsPolicy::None,
        RawTls::Required => TlsPolicy::Required,
        RawTls::Verified => TlsPolicy::Verified,
    };
    let is_certain = matches!(tls, RawTls::Required | RawTls::Verified);
    if raw.implicit_tls && !is_certain {
        return Err(KeyError::new("tls", "expected \"required\" or \"verified\", as implicit_tls is on"));
    }
    if has_login && !is_certain && !raw.hosts.iter().all(|host| is_loopback(host)) {
        let problem = "expected \"required\" or \"verified\", as the password would cross the network in the clear";
        return Err(KeyError::new("tls", problem));
    }
    Ok(policy)
}

fn is_loopback(host: &str) -> bool {
    host.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}

fn login(raw: &RawRoute, base: &Path) -> Result<Option<Arc<Login>>, KeyError> {
    let (username, path) = match (&raw.username, &raw.password_file) {
        (None, None) => return Ok(None),
        (Some(username), Some(path)) => (username, base.join(path)),
        (Some(_), None) => {
            return Err(KeyError::new("password_file", "expected the path of a file, as username is set"));
        }
        (None, Some(_)) => return Err(KeyError::new("username", "expected a name, as password_file is set")),
    };
    if username.is_empty() || username.len() > SECRET_MAX || username.contains('\0') {
        return Err(KeyError::new("username", format!("expected 1 to {SECRET_MAX} octets")));
    }
    let wrong = |problem: String| KeyError::new("password_file", problem);
    let text = std::fs::read_to_string(&path).map_err(|e| wrong(format!("{} cannot be read: {e}", path.display())))?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() || password.len() > SECRET_MAX || password.contains('\0') {
        return Err(wrong(format!("expected 1 to {SECRET_MAX} octets in the first line of {}", path.display())));
    }
    Ok(Some(Arc::new(Login { username: username.as_str().into(), password: password.into() })))
}
