//! Checking log-ins, and slowing down those who guess.
//!
//! An answer to a wrong log-in is held back, the longer the more of them came from the client's address or for the
//! log-in name, known or not: 1 s, 2 s, 4 s and so on to 30 s. A right one is answered at once, so that nobody can
//! lock another out by guessing. An address may have only so many answers held back at the same time, so guessing in
//! parallel does not help either; beyond that only log-ins that succeeded lately are taken from it, which matters
//! where all clients come from the one address of a load balancer.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use sluice_limits::{Leases, Penalties, PenaltyRules};
use sluice_mail::{Clock, EnhancedCode, Reply};
use sluice_registry::{AuthOutcome, Grant, Registry};
use sluice_smtp::server::{AuthAnswer, Login};

use crate::telemetry::LoginResult;

/// Answers to one address that are held back at the same time.
const MAX_HELD_BACK: u32 = 32;

const RULES: PenaltyRules = PenaltyRules {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    forgive_after: Duration::from_secs(60),
    max_keys: 20_000,
};

/// Shared by all sessions.
pub(crate) struct Gate {
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    by_address: Penalties<IpAddr>,
    by_login: Penalties<String>,
    held_back: Arc<Leases<IpAddr>>,
}

/// What became of a log-in.
pub(crate) enum Passage {
    /// It is they.
    Open(Grant),
    /// Not so: to be answered like this.
    Shut(LoginResult, AuthAnswer),
}

impl Gate {
    pub(crate) fn new(registry: Arc<Registry>, clock: Arc<dyn Clock>) -> Self {
        Self {
            registry,
            clock,
            by_address: Penalties::new(RULES),
            by_login: Penalties::new(RULES),
            held_back: Leases::new(),
        }
    }

    /// Checks `login`; takes its time when it is wrong.
    pub(crate) async fn check(&self, client: IpAddr, login: &Login) -> Passage {
        let client = neighbourhood(client);
        if let Some(grant) = self.registry.recall(&login.login, login.password.expose()) {
            return Passage::Open(grant);
        }
        if self.held_back.held(&client) >= MAX_HELD_BACK {
            return Passage::Shut(LoginResult::HeldBack, AuthAnswer::Reply(later(RULES.longest)));
        }
        match self.registry.verify(&login.login, login.password.expose()).await {
            AuthOutcome::Accepted(grant) => Passage::Open(grant),
            AuthOutcome::Busy => Passage::Shut(LoginResult::Busy, AuthAnswer::Unavailable),
            AuthOutcome::Refused => {
                let _held_back = self.held_back.take(client, u32::MAX);
                let now = self.clock.now();
                let delay = self.by_address.fail(now, &client).max(self.by_login.fail(now, &login.login));
                tokio::time::sleep(delay).await;
                Passage::Shut(LoginResult::Refused, AuthAnswer::Refused)
            }
        }
    }
}

fn later(wait: Duration) -> Reply {
    let words = format!("too many failed log-ins from your address; try again in {} seconds", wait.as_secs());
    Reply::new(454, EnhancedCode(4, 7, 0), words)
}

/// Who counts as one client: an IPv4 address, or the /64 that an IPv6 host can choose its addresses from.
pub(crate) fn neighbourhood(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use sluice_daemon::SystemClock;
    use sluice_registry::memory::MemoryLog;
    use sluice_registry::{AccountRules, VerifyConfig};
    use sluice_smtp::server::{Mechanism, Secret};

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn login(name: &str, password: &str) -> Login {
        Login { mechanism: Mechanism::Plain, login: name.into(), password: Secret::new(password) }
    }

    async fn gate() -> Arc<Gate> {
        let clock = Arc::new(SystemClock);
        let registry = Registry::open(MemoryLog::new(), VerifyConfig::default(), clock.clone()).await.unwrap();
        registry.create_account("demo", AccountRules::default(), "secret").await.unwrap();
        Arc::new(Gate::new(Arc::new(registry), clock))
    }

    #[tokio::test]
    async fn guessing_in_parallel_is_stopped_and_locks_no_known_client_out() {
        let gate = gate().await;
        assert!(matches!(gate.check(CLIENT, &login("demo", "secret")).await, Passage::Open(_)));
        let held: Vec<_> = (0..MAX_HELD_BACK).filter_map(|_| gate.held_back.take(CLIENT, MAX_HELD_BACK)).collect();
        for guess in [login("demo", "wrong"), login("nobody", "wrong")] {
            match gate.check(CLIENT, &guess).await {
                Passage::Shut(LoginResult::HeldBack, AuthAnswer::Reply(reply)) => {
                    assert!(reply.to_string().starts_with("454 4.7.0 too many failed log-ins"), "{reply}");
                }
                Passage::Shut(..) | Passage::Open(_) => panic!("the guess was looked at"),
            }
        }
        assert!(matches!(gate.check(CLIENT, &login("demo", "secret")).await, Passage::Open(_)));
        drop(held);
        assert_eq!(gate.held_back.held(&CLIENT), 0);
    }

    #[test]
    fn ipv6_clients_are_told_apart_by_their_network() {
        let of = |ip: &str| neighbourhood(ip.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
    }
}
