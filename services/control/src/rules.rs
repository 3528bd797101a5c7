//! An account's rules as the API has them: read, shown, changed field by field.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluice_daemon::config::Time;
use sluice_mail::{Address, Domain, Lane};
use sluice_proto::control as api;
use sluice_registry::{Account, AccountRules, Dsn, SenderDomain, Violation};

/// Characters of one value in the list of changes.
const SHOWN_MAX: usize = 300;

/// A field that can be changed.
struct Field {
    /// As in the API.
    name: &'static str,
    /// Whether a request without a mask is about it.
    is_set: fn(&api::Account) -> bool,
    /// Copies it.
    copy: fn(&AccountRules, &mut AccountRules),
    /// For the log.
    text: fn(&AccountRules) -> String,
}

const FIELDS: [Field; 15] = [
    Field {
        name: "sender_domains",
        is_set: |a| !a.sender_domains.is_empty(),
        copy: |from, to| to.sender_domains.clone_from(&from.sender_domains),
        text: |r| list(r.sender_domains.iter().map(|s| format!("{}{}", if s.exact { "=" } else { "" }, s.domain))),
    },
    Field {
        name: "sender_addresses",
        is_set: |a| !a.sender_addresses.is_empty(),
        copy: |from, to| to.sender_addresses.clone_from(&from.sender_addresses),
        text: |r| list(r.sender_addresses.iter().map(Address::to_string)),
    },
    Field {
        name: "lanes",
        is_set: |a| !a.lanes.is_empty(),
        copy: |from, to| to.lanes.clone_from(&from.lanes),
        text: |r| list(r.lanes.iter().map(Lane::to_string)),
    },
    Field {
        name: "pools",
        is_set: |a| !a.pools.is_empty(),
        copy: |from, to| to.pools.clone_from(&from.pools),
        text: |r| list(r.pools.iter().map(|pool| pool.to_string())),
    },
    Field {
        name: "max_messages_per_minute",
        is_set: |a| a.max_messages_per_minute > 0,
        copy: |from, to| to.max_messages_per_minute = from.max_messages_per_minute,
        text: |r| limit(r.max_messages_per_minute),
    },
    Field {
        name: "max_recipients_per_minute",
        is_set: |a| a.max_recipients_per_minute > 0,
        copy: |from, to| to.max_recipients_per_minute = from.max_recipients_per_minute,
        text: |r| limit(r.max_recipients_per_minute),
    },
    Field {
        name: "max_sessions",
        is_set: |a| a.max_sessions > 0,
        copy: |from, to| to.max_sessions = from.max_sessions,
        text: |r| limit(r.max_sessions),
    },
    Field {
        name: "allow_long_lines",
        is_set: |a| a.allow_long_lines,
        copy: |from, to| to.allow_long_lines = from.allow_long_lines,
        text: |r| r.allow_long_lines.to_string(),
    },
    Field {
        name: "show_client_address",
        is_set: |a| a.show_client_address,
        copy: |from, to| to.show_client_address = from.show_client_address,
        text: |r| r.show_client_address.to_string(),
    },
    Field {
        name: "dsn",
        is_set: |a| !a.dsn.is_empty(),
        copy: |from, to| to.dsn = from.dsn,
        text: |r| r.dsn.as_str().to_owned(),
    },
    Field {
        name: "max_dsns_per_hour",
        is_set: |a| a.max_dsns_per_hour > 0,
        copy: |from, to| to.max_dsns_per_hour = from.max_dsns_per_hour,
        text: |r| limit(r.max_dsns_per_hour),
    },
    Field {
        name: "retry_after_ms",
        is_set: |a| !a.retry_after_ms.is_empty(),
        copy: |from, to| to.retry_after.clone_from(&from.retry_after),
        text: |r| list(r.retry_after.iter().flatten().map(|wait| Time(*wait).to_string())),
    },
    Field {
        name: "bounce_after_ms",
        is_set: |a| a.bounce_after_ms > 0,
        copy: |from, to| to.bounce_after = from.bounce_after,
        text: |r| r.bounce_after.map_or_else(|| "none".to_owned(), |time| Time(time).to_string()),
    },
    Field {
        name: "require_dkim",
        is_set: |a| a.require_dkim,
        copy: |from, to| to.require_dkim = from.require_dkim,
        text: |r| r.require_dkim.to_string(),
    },
    Field {
        name: "leave_signed",
        is_set: |a| a.leave_signed,
        copy: |from, to| to.leave_signed = from.leave_signed,
        text: |r| r.leave_signed.to_string(),
    },
];

/// Which fields a request changes.
#[derive(Default)]
pub(crate) struct Mask(Vec<&'static Field>);

impl Mask {
    /// The fields named; without `paths` those that are set in `asked`. `*` is all.
    pub(crate) fn new(paths: Option<Vec<String>>, asked: &api::Account) -> Result<Self, Vec<Violation>> {
        let Some(paths) = paths else { return Ok(Self(FIELDS.iter().filter(|f| (f.is_set)(asked)).collect())) };
        let (mut fields, mut wrong) = (Vec::new(), Vec::new());
        for (i, path) in paths.iter().enumerate() {
            match FIELDS.iter().find(|field| field.name == path) {
                _ if path == "*" => fields.extend(&FIELDS),
                Some(field) => fields.push(field),
                None => {
                    let problem = format!("{path:?} cannot be changed; expected * or some of {}", names());
                    wrong.push(Violation::new(format!("update_mask.paths[{i}]"), problem));
                }
            }
        }
        if wrong.is_empty() { Ok(Self(fields)) } else { Err(wrong) }
    }

    /// Copies the fields.
    pub(crate) fn apply(&self, from: &AccountRules, to: &mut AccountRules) {
        for field in &self.0 {
            (field.copy)(from, to);
        }
    }

    /// Whether the violation is in one of the fields.
    pub(crate) fn covers(&self, violation: &Violation) -> bool {
        let path = violation.field.strip_prefix("account.").unwrap_or(&violation.field);
        let name = path.split(['[', '.']).next().unwrap_or(path);
        self.0.iter().any(|field| field.name == name)
    }
}

fn names() -> String {
    FIELDS.map(|field| field.name).join(", ")
}

/// What is different, as `dsn: headers -> off; max_sessions: none -> 3`; no secret is in an account's rules.
pub(crate) fn changes(before: &AccountRules, after: &AccountRules) -> String {
    let both = FIELDS.iter().map(|field| (field.name, (field.text)(before), (field.text)(after)));
    let changed = both.filter(|(_, before, after)| before != after);
    let changed: Vec<_> = changed.map(|(name, old, new)| format!("{name}: {} -> {}", cut(&old), cut(&new))).collect();
    if changed.is_empty() { "nothing".to_owned() } else { changed.join("; ") }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn list(values: impl Iterator<Item = String>) -> String {
    let values: Vec<_> = values.collect();
    if values.is_empty() { "none".to_owned() } else { values.join(",") }
}

fn limit(value: Option<NonZeroU32>) -> String {
    value.map_or_else(|| "none".to_owned(), |n| n.to_string())
}

/// The rules in a request, and every value that cannot be read, which is not among them.
pub(crate) fn read(account: api::Account) -> (AccountRules, Vec<Violation>) {
    let mut wrong = Vec::new();
    let domain = |s: api::SenderDomain| Domain::parse(&s.domain).map(|domain| SenderDomain { domain, exact: s.exact });
    let lane = |lane: String| Lane::parse(&lane).ok_or_else(|| format!("{lane:?} is neither transactional nor bulk"));
    let domains = account.sender_domains.into_iter().map(|s| (s.domain.clone(), domain(s)));
    let domains = domains.map(|(text, parsed)| parsed.map_err(|e| format!("{text:?}: {e}")));
    let addresses = account.sender_addresses.iter().map(|a| Address::parse(a).map_err(|e| format!("{a:?}: {e}")));
    let rules = AccountRules {
        sender_domains: each("account.sender_domains", domains, &mut wrong),
        sender_addresses: each("account.sender_addresses", addresses, &mut wrong),
        lanes: each("account.lanes", account.lanes.into_iter().map(lane), &mut wrong),
        pools: account.pools.into_iter().map(Arc::from).collect(),
        max_messages_per_minute: NonZeroU32::new(account.max_messages_per_minute),
        max_recipients_per_minute: NonZeroU32::new(account.max_recipients_per_minute),
        max_sessions: NonZeroU32::new(account.max_sessions),
        allow_long_lines: account.allow_long_lines,
        show_client_address: account.show_client_address,
        dsn: dsn(&account.dsn, &mut wrong),
        max_dsns_per_hour: NonZeroU32::new(account.max_dsns_per_hour),
        retry_after: (!account.retry_after_ms.is_empty())
            .then(|| account.retry_after_ms.into_iter().map(Duration::from_millis).collect()),
        bounce_after: (account.bounce_after_ms > 0).then(|| Duration::from_millis(account.bounce_after_ms)),
        require_dkim: account.require_dkim,
        leave_signed: account.leave_signed,
    };
    (rules, wrong)
}

fn dsn(word: &str, wrong: &mut Vec<Violation>) -> Dsn {
    let dsn = if word.is_empty() { Some(Dsn::default()) } else { Dsn::parse(word) };
    dsn.unwrap_or_else(|| {
        wrong.push(Violation::new("account.dsn", format!("{word:?} is none of headers, full and off")));
        Dsn::default()
    })
}

/// The values that could be read; for each other one a violation of `field[i]`.
fn each<T>(field: &str, values: impl Iterator<Item = Result<T, String>>, wrong: &mut Vec<Violation>) -> Vec<T> {
    let mut good = Vec::new();
    for (i, value) in values.enumerate() {
        match value {
            Ok(value) => good.push(value),
            Err(problem) => wrong.push(Violation::new(format!("{field}[{i}]"), problem)),
        }
    }
    good
}

/// An account as operators see it, without secrets.
pub(crate) fn shown(account: &Account) -> api::Account {
    let rules = &account.rules;
    let number = |n: Option<NonZeroU32>| n.map_or(0, NonZeroU32::get);
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let domain = |s: &SenderDomain| api::SenderDomain { domain: s.domain.to_string(), exact: s.exact };
    api::Account {
        name: format!("accounts/{}", account.id),
        credentials: account.credentials.iter().map(|c| c.login.to_string()).collect(),
        sender_domains: rules.sender_domains.iter().map(domain).collect(),
        sender_addresses: rules.sender_addresses.iter().map(Address::to_string).collect(),
        lanes: rules.lanes.iter().map(Lane::to_string).collect(),
        pools: rules.pools.iter().map(|pool| pool.to_string()).collect(),
        max_messages_per_minute: number(rules.max_messages_per_minute),
        max_recipients_per_minute: number(rules.max_recipients_per_minute),
        max_sessions: number(rules.max_sessions),
        allow_long_lines: rules.allow_long_lines,
        show_client_address: rules.show_client_address,
        etag: account.version.to_string(),
        dsn: rules.dsn.as_str().to_owned(),
        max_dsns_per_hour: number(rules.max_dsns_per_hour),
        retry_after_ms: rules.retry_after.iter().flatten().copied().map(millis).collect(),
        bounce_after_ms: rules.bounce_after.map_or(0, millis),
        require_dkim: rules.require_dkim,
        leave_signed: rules.leave_signed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> api::Account {
        api::Account {
            sender_domains: vec![api::SenderDomain { domain: "a.example".into(), exact: true }],
            sender_addresses: vec!["me@b.example".into()],
            lanes: vec!["bulk".into()],
            pools: vec!["p".into()],
            max_messages_per_minute: 1,
            max_recipients_per_minute: 2,
            max_sessions: 3,
            allow_long_lines: true,
            show_client_address: true,
            dsn: "off".into(),
            max_dsns_per_hour: 4,
            retry_after_ms: vec![300_000, 600_000],
            bounce_after_ms: 172_800_000,
            require_dkim: true,
            leave_signed: true,
            ..api::Account::default()
        }
    }

    fn all() -> AccountRules {
        let (rules, wrong) = read(asked());
        assert!(wrong.is_empty(), "{wrong:?}");
        rules
    }

    #[test]
    fn every_field_can_be_changed_alone_and_is_told() {
        let mut together = AccountRules::default();
        for field in &FIELDS {
            let mask = Mask::new(Some(vec![field.name.to_owned()]), &api::Account::default()).ok().unwrap();
            let mut alone = AccountRules::default();
            mask.apply(&all(), &mut alone);
            let told = changes(&AccountRules::default(), &alone);
            assert!(told.starts_with(&format!("{}: ", field.name)) && !told.contains("; "), "{told}");
            mask.apply(&all(), &mut together);
            assert!(mask.covers(&Violation::new(format!("account.{}[3]", field.name), "")));
            assert!(!mask.covers(&Violation::new("account.other", "")));
        }
        assert_eq!(together, all());
    }

    #[test]
    fn a_mask_names_fields_or_all_or_follows_what_is_set() {
        let wide = [Some(vec!["*".to_owned()]), None];
        for paths in wide {
            let mut rules = AccountRules::default();
            Mask::new(paths, &asked()).ok().unwrap().apply(&all(), &mut rules);
            assert_eq!(rules, all());
        }
        let nothing = [Some(Vec::new()), None];
        for paths in nothing {
            let mut rules = all();
            Mask::new(paths, &api::Account::default()).ok().unwrap().apply(&AccountRules::default(), &mut rules);
            assert_eq!(rules, all());
        }
        let wrong = Mask::new(Some(["dsn", "name", "x"].map(str::to_owned).to_vec()), &asked()).err().unwrap();
        let fields: Vec<_> = wrong.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["update_mask.paths[1]", "update_mask.paths[2]"]);
    }

    #[test]
    fn changes_are_told_in_one_short_line() {
        let mut before = all();
        before.dsn = Dsn::Headers;
        before.retry_after = None;
        assert_eq!(changes(&before, &all()), "dsn: headers -> off; retry_after_ms: none -> 5m,10m");
        assert_eq!(changes(&before, &before), "nothing");
        let many = AccountRules { pools: vec!["p".repeat(60).into(); 100], ..all() };
        assert!(changes(&all(), &many).len() < 1_000);
    }
}
