//! Checking log-ins, and slowing down those who guess.
//!
//! An answer to a wrong log-in is held back, the longer the more of them came from the client's address or for the
//! log-in name, known or not: 1 s, 2 s, 4 s and so on to 30 s. A right one is answered at once, so that nobody can
//! lock out those who come from another address by guessing.
//!
//! Guessing in parallel does not help either: an address has only so many passwords checked at the same time, so that
//! it cannot keep the threads that check from others, and only so many answers held back. Beyond that only log-ins that
//! succeeded lately are taken from it, and all others get 454. So who guesses from behind a NAT, or a load balancer
//! that sends no PROXY header, does keep out the others behind it that have not logged in lately, for as long as it
//! goes on.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use sluice_limits::{Leases, Penalties, PenaltyRules};
use sluice_mail::{Clock, EnhancedCode, Reply};
use sluice_registry::{AuthOutcome, Grant, Registry};
use sluice_smtp::server::{AuthAnswer, Login};

use crate::telemetry::LoginResult;
use crate::turns::Turns;

/// Answers to one address that are held back at the same time; those whose check has begun come on top. At 30 s each
/// this lets an address guess about once a second.
const MAX_HELD_BACK: u32 = 32;

/// Passwords of one address that are checked at the same time. Its other log-ins wait for their turn, each a session,
/// so no more than an address may have. Others wait behind these few, some 20 ms of a core each.
const MAX_CHECKED: usize = 8;

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
    turns: Turns,
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
            turns: Turns::new(MAX_CHECKED),
        }
    }

    /// Checks `login`; takes its time when it is wrong.
    pub(crate) async fn check(&self, client: IpAddr, login: &Login) -> Passage {
        let client = neighbourhood(client);
        if let Some(passage) = self.at_once(client, login) {
            return passage;
        }
        let turn = self.turns.take(client).await;
        // Others of its line were checked meanwhile, perhaps with the same name and password.
        if let Some(passage) = self.at_once(client, login) {
            return passage;
        }
        let outcome = self.registry.verify(&login.login, login.password.expose()).await;
        drop(turn);
        match outcome {
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

    /// The answer that needs no check, if there is one.
    fn at_once(&self, client: IpAddr, login: &Login) -> Option<Passage> {
        if let Some(grant) = self.registry.recall(&login.login, login.password.expose()) {
            return Some(Passage::Open(grant));
        }
        let full = self.held_back.held(&client) >= MAX_HELD_BACK;
        full.then(|| Passage::Shut(LoginResult::HeldBack, AuthAnswer::Reply(later(RULES.longest))))
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
    use std::pin::pin;

    use futures_util::future::{Either, join_all, poll_immediate, select};
    use sluice_daemon::SystemClock;
    use sluice_registry::memory::MemoryLog;
    use sluice_registry::{AccountRules, VerifyConfig};
    use sluice_smtp::server::{Mechanism, Secret};

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 8));

    fn login(name: &str, password: &str) -> Login {
        Login { mechanism: Mechanism::Plain, login: name.into(), password: Secret::new(password) }
    }

    async fn gate() -> Arc<Gate> {
        gate_with(VerifyConfig::default()).await
    }

    async fn gate_with(config: VerifyConfig) -> Arc<Gate> {
        let clock = Arc::new(SystemClock);
        let registry = Registry::open(MemoryLog::new(), config, clock.clone()).await.unwrap();
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

    #[tokio::test]
    async fn guesses_from_one_address_leave_room_to_check_others() {
        let gate = gate_with(VerifyConfig { parallel: 1, waiting_max: 20, ..VerifyConfig::default() }).await;
        let guesses: Vec<_> = (0..50).map(|i| login(&format!("guess{i}"), "wrong")).collect();
        let guessing = join_all(guesses.iter().map(|guess| gate.check(CLIENT, guess)));
        let other = login("demo", "secret");
        match select(Box::pin(guessing), Box::pin(gate.check(OTHER, &other))).await {
            Either::Right((Passage::Open(_), _)) => {}
            Either::Right((Passage::Shut(result, _), _)) => panic!("{result:?}"),
            Either::Left(_) => panic!("fifty guesses are answered before one right log-in"),
        }
    }

    #[tokio::test]
    async fn guesses_that_waited_meet_the_bound_of_held_back_answers() {
        let gate = gate().await;
        let mut turns = Vec::new();
        for _ in 0..MAX_CHECKED {
            turns.push(gate.turns.take(CLIENT).await);
        }
        let wrong = login("demo", "wrong");
        let mut guess = pin!(gate.check(CLIENT, &wrong));
        assert!(poll_immediate(&mut guess).await.is_none(), "checked out of turn");
        let _held: Vec<_> = (0..MAX_HELD_BACK).filter_map(|_| gate.held_back.take(CLIENT, MAX_HELD_BACK)).collect();
        drop(turns);
        assert!(matches!(guess.await, Passage::Shut(LoginResult::HeldBack, _)));
    }

    #[tokio::test]
    async fn many_sessions_of_one_client_log_in_at_the_same_time() {
        let gate = gate_with(VerifyConfig { parallel: 1, waiting_max: 20, ..VerifyConfig::default() }).await;
        let right = login("demo", "secret");
        let passages = join_all((0..100).map(|_| gate.check(CLIENT, &right))).await;
        assert!(passages.iter().all(|passage| matches!(passage, Passage::Open(_))));
    }

    #[test]
    fn ipv6_clients_are_told_apart_by_their_network() {
        let of = |ip: &str| neighbourhood(ip.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
    }
}
