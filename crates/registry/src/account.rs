//! Accounts and credentials as the rest of Sluice sees them.

use std::num::NonZeroU32;
use std::sync::Arc;

use sluice_mail::{Address, Domain, Lane};

use crate::PasswordHash;

/// The pool of an account that names none.
pub const DEFAULT_POOL: &str = "default";

/// Most entries in each list of an account's rules.
const LIST_MAX: usize = 1_000;
/// Longest account id and pool name in octets.
const NAME_MAX: usize = 63;

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
    /// What breaks a bound: names of pools and lengths of lists. Fields are named as in the API.
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
}
