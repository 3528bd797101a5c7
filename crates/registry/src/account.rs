//! Accounts and credentials as the rest of Sluice sees them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluice_mail::{Address, Domain, Lane};

use crate::PasswordHash;

/// The pool of an account that names none.
pub const DEFAULT_POOL: &str = "default";

/// Most entries in each list of an account's rules.
const LIST_MAX: usize = 1_000;
/// Longest account id and pool name in octets.
const NAME_MAX: usize = 63;
/// Waits that an account's `retry_after` may list.
const RETRIES_MAX: usize = 30;
/// The shortest and the longest time in `retry_after` and `bounce_after`, but for [`LIFETIME_MAX`].
const TIME_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest that an account's mail may be tried.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Who may send, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// 1 to 63 of `a-z 0-9 . _ -`, beginning with a letter or digit.
    pub id: Arc<str>,
    /// What it may do.
    pub rules: AccountRules,
    /// How it logs in; at least one.
    pub credentials: Vec<Arc<Credential>>,
    /// Grows by one with every write.
    pub version: u64,
}

/// What an account may do. `Default` may do nothing but log in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountRules {
    /// Domains that it may send from.
    pub sender_domains: Vec<SenderDomain>,
    /// Whole addresses that it may send from besides.
    pub sender_addresses: Vec<Address>,
    /// Lanes that it may use, the first by default. Empty: only the transactional one.
    pub lanes: Vec<Lane>,
    /// Pools that it may use, the first by default. Empty: only [`DEFAULT_POOL`].
    pub pools: Vec<Arc<str>>,
    /// Messages a minute; `None`: no limit.
    pub max_messages_per_minute: Option<NonZeroU32>,
    /// Recipients a minute; `None`: no limit.
    pub max_recipients_per_minute: Option<NonZeroU32>,
    /// Sessions at the same time; `None`: no limit of its own.
    pub max_sessions: Option<NonZeroU32>,
    /// Lines over 998 octets pass unchanged instead of being refused.
    pub allow_long_lines: bool,
    /// The Received field names the client's address.
    pub show_client_address: bool,
    /// What a sender gets back when mail cannot be delivered.
    pub dsn: Dsn,
    /// Reports (DSNs) an hour; above it only the event is written. `None`: no limit of its own.
    pub max_dsns_per_hour: Option<NonZeroU32>,
    /// The waits after the first, second, … failed attempt, the last one repeated: 1 to 30 of 1 s to 7 d each.
    /// `None`: as configured for delivery.
    pub retry_after: Option<Vec<Duration>>,
    /// How long delivery is tried, 1 s to 30 d; `None`: as configured for delivery.
    pub bounce_after: Option<Duration>,
    /// Mail whose From domain no DKIM key fits is refused.
    pub require_dkim: bool,
    /// Mail that comes with a DKIM-Signature is left at that; else it is signed in addition.
    pub leave_signed: bool,
}

/// What a sender gets back when mail cannot be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dsn {
    /// A report (DSN) with the message's header section.
    #[default]
    Headers,
    /// A report with the whole message.
    Full,
    /// Nothing: only events tell.
    Off,
}

impl Dsn {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Headers, Self::Full, Self::Off];

    /// The word in commands and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Full => "full",
            Self::Off => "off",
        }
    }

    /// Reads the words of [`Self::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dsn| dsn.as_str() == word)
    }
}

/// A domain that an account may send from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderDomain {
    /// The domain.
    pub domain: Domain,
    /// Only this one, not those below it.
    pub exact: bool,
}

/// A way to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Unique among all accounts; compared octet by octet.
    pub login: Arc<str>,
    /// What the password must match.
    pub password: PasswordHash,
    /// Used instead of the account's default pool.
    pub pool: Option<Arc<str>>,
    /// Used instead of the account's default lane.
    pub lane: Option<Lane>,
}

/// A field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// As in the API: `account.sender_domains[0].domain`.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Violation {
    /// `problem` with `field`.
    pub fn new(field: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }
}

impl Account {
    /// Whether mail may be from `address`. A domain covers those below it unless it is exact. Whole addresses are
    /// compared with quoting resolved and without regard to the case of ASCII letters in the local part, which is
    /// what people expect of their own address; an address literal matches only as part of a whole address.
    #[must_use]
    pub fn may_send_as(&self, address: &Address) -> bool {
        let host = address.host();
        let by_domain = host.domain().is_some_and(|domain| {
            let covers = |s: &SenderDomain| if s.exact { *domain == s.domain } else { domain.is_within(&s.domain) };
            self.rules.sender_domains.iter().any(covers)
        });
        let same = |other: &Address| {
            other.host() == host && other.local_unquoted().eq_ignore_ascii_case(&address.local_unquoted())
        };
        by_domain || self.rules.sender_addresses.iter().any(same)
    }

    /// The lane of a message that asks for none.
    #[must_use]
    pub fn default_lane(&self) -> Lane {
        self.rules.lanes.first().copied().unwrap_or_default()
    }

    /// Whether the account may use `lane`.
    #[must_use]
    pub fn may_use_lane(&self, lane: Lane) -> bool {
        lane == self.default_lane() || self.rules.lanes.contains(&lane)
    }

    /// The pool of a message that asks for none; `None`: [`DEFAULT_POOL`].
    #[must_use]
    pub fn default_pool(&self) -> Option<&Arc<str>> {
        self.rules.pools.first()
    }

    /// Whether the account may use `pool`.
    #[must_use]
    pub fn may_use_pool(&self, pool: &str) -> bool {
        if self.rules.pools.is_empty() { pool == DEFAULT_POOL } else { self.rules.pools.iter().any(|p| **p == *pool) }
    }

    /// The credential called `login`.
    #[must_use]
    pub fn credential(&self, login: &str) -> Option<&Arc<Credential>> {
        self.credentials.iter().find(|c| *c.login == *login)
    }
}

impl AccountRules {
    /// What breaks a bound: names of pools, lengths of lists, times. Fields are named as in the API.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let lists = [
            ("account.sender_domains", self.sender_domains.len()),
            ("account.sender_addresses", self.sender_addresses.len()),
            ("account.pools", self.pools.len()),
        ];
        let long = lists.iter().filter(|(_, len)| *len > LIST_MAX);
        found.extend(long.map(|(field, len)| Violation::new(*field, format!("at most {LIST_MAX}, here are {len}"))));
        let odd = self.pools.iter().enumerate().filter(|(_, pool)| !is_name(pool));
        found.extend(odd.map(|(i, pool)| Violation::new(format!("account.pools[{i}]"), bad_name("pool", pool))));
        found.extend(self.wrong_times());
        found
    }

    fn wrong_times(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let waits = self.retry_after.as_deref();
        if let Some(n) = waits.map(<[_]>::len).filter(|n| !(1..=RETRIES_MAX).contains(n)) {
            found.push(Violation::new("account.retry_after_ms", format!("1 to {RETRIES_MAX} times, here are {n}")));
        }
        for (i, wait) in waits.unwrap_or_default().iter().enumerate() {
            if !(TIME_MIN..=WAIT_MAX).contains(wait) {
                let problem = format!("{wait:?} is not between 1 s and 7 days");
                found.push(Violation::new(format!("account.retry_after_ms[{i}]"), problem));
            }
        }
        if let Some(wrong) = self.bounce_after.filter(|t| !(TIME_MIN..=LIFETIME_MAX).contains(t)) {
            let problem = format!("{wrong:?} is not between 1 s and 30 days");
            found.push(Violation::new("account.bounce_after_ms", problem));
        }
        found
    }
}

/// What is wrong with `id` as an account's id.
pub(crate) fn check_account_id(id: &str) -> Result<(), Violation> {
    if is_name(id) { Ok(()) } else { Err(Violation::new("account_id", bad_name("account id", id))) }
}

fn bad_name(what: &str, name: &str) -> String {
    format!("{name:?} is no {what}: 1 to {NAME_MAX} of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(allowed)
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(domains: &[(&str, bool)], addresses: &[&str]) -> Account {
        let domain = |(d, exact): &(&str, bool)| SenderDomain { domain: Domain::parse(d).unwrap(), exact: *exact };
        let rules = AccountRules {
            sender_domains: domains.iter().map(domain).collect(),
            sender_addresses: addresses.iter().map(|a| Address::parse(a).unwrap()).collect(),
            ..AccountRules::default()
        };
        Account { id: "a".into(), rules, credentials: Vec::new(), version: 1 }
    }

    #[test]
    fn sends_as_its_domains_and_addresses_only() {
        let account = account(
            &[("example.org", false), ("exact.example", true), ("bücher.example", false)],
            &["Solo@other.example", "a@[192.0.2.1]"],
        );
        for (address, allowed) in [
            ("x@example.org", true),
            ("x@news.EXAMPLE.org", true),
            ("x@badexample.org", false),
            ("x@example.org.evil.example", false),
            ("x@exact.example", true),
            ("x@sub.exact.example", false),
            ("x@xn--bcher-kva.example", true),
            ("solo@other.example", true),
            ("\"SOLO\"@OTHER.example", true),
            ("solo2@other.example", false),
            ("solo@sub.other.example", false),
            ("a@[192.0.2.1]", true),
            ("b@[192.0.2.1]", false),
            ("a@[192.0.2.2]", false),
        ] {
            assert_eq!(account.may_send_as(&Address::parse(address).unwrap()), allowed, "{address}");
        }
        assert!(!self::account(&[], &[]).may_send_as(&Address::parse("a@example.org").unwrap()));
    }

    #[test]
    fn lanes_and_pools_have_defaults() {
        let mut account = account(&[], &[]);
        assert_eq!(account.default_lane(), Lane::Transactional);
        assert!(account.may_use_lane(Lane::Transactional) && !account.may_use_lane(Lane::Bulk));
        assert!(account.may_use_pool("default") && !account.may_use_pool("other"));
        assert_eq!(account.default_pool(), None);
        account.rules.lanes = vec![Lane::Bulk];
        account.rules.pools = vec!["p1".into(), "p2".into()];
        assert_eq!(account.default_lane(), Lane::Bulk);
        assert!(account.may_use_lane(Lane::Bulk) && !account.may_use_lane(Lane::Transactional));
        assert!(account.may_use_pool("p2") && !account.may_use_pool("default"));
        assert_eq!(account.default_pool().unwrap().as_ref(), "p1");
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "demo", "a.b_c-d", "0x", &"a".repeat(63)] {
            assert!(check_account_id(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", ".a", "a b", "a/b", "ä", &"a".repeat(64)] {
            assert!(check_account_id(bad).is_err(), "{bad}");
        }
        let rules = AccountRules { pools: vec!["ok".into(), "No Good".into()], ..AccountRules::default() };
        let fields: Vec<_> = rules.violations().into_iter().map(|v| v.field).collect();
        assert_eq!(fields, ["account.pools[1]"]);
    }

    #[test]
    fn times_are_bounded() {
        let secs = |secs: &[u64]| Some(secs.iter().copied().map(Duration::from_secs).collect::<Vec<_>>());
        let (week, month) = (7 * 86_400, 30 * 86_400);
        for (retry_after, bounce_after, expected) in [
            (None, None, vec![]),
            (secs(&[1, week]), Some(1), vec![]),
            (secs(&[1; 30]), Some(month), vec![]),
            (secs(&[]), Some(0), vec!["account.retry_after_ms", "account.bounce_after_ms"]),
            (secs(&[1; 31]), None, vec!["account.retry_after_ms"]),
            (secs(&[0, 1, week + 1]), None, vec!["account.retry_after_ms[0]", "account.retry_after_ms[2]"]),
            (None, Some(month + 1), vec!["account.bounce_after_ms"]),
        ] {
            let bounce_after = bounce_after.map(Duration::from_secs);
            let rules = AccountRules { retry_after, bounce_after, ..AccountRules::default() };
            let fields: Vec<_> = rules.violations().into_iter().map(|v| v.field).collect();
            assert_eq!(fields, expected);
        }
    }

    #[test]
    fn words_for_reports_are_read_back() {
        assert!(Dsn::ALL.into_iter().all(|dsn| Dsn::parse(dsn.as_str()) == Some(dsn)));
        assert_eq!((Dsn::parse("Full"), Dsn::default()), (None, Dsn::Headers));
    }
}
