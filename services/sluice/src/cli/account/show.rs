//! Accounts for reading.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};
use sluice_daemon::config::Time;
use sluice_mail::Lane;
use sluice_proto::control as api;
use sluice_registry::{DEFAULT_POOL, Dsn};

use super::super::format::{count, harmless};
use super::super::table::{Align, Table};
use super::id;

/// A line for each.
pub(super) fn table(accounts: &[api::Account]) -> Table<9> {
    let mut table = Table::new([
        ("ACCOUNT", Align::Left),
        ("SENDS FROM", Align::Left),
        ("LANES", Align::Left),
        ("POOLS", Align::Left),
        ("MESSAGES/MIN", Align::Right),
        ("RECIPIENTS/MIN", Align::Right),
        ("SESSIONS", Align::Right),
        ("REPORTS", Align::Left),
        ("ALLOWED BESIDES", Align::Left),
    ]);
    let limit = |n: u32| if n == 0 { String::new() } else { count(n.into()) };
    for account in accounts {
        let besides = [(account.allow_long_lines, "long lines"), (account.show_client_address, "client address shown")];
        let besides: Vec<_> = besides.into_iter().filter_map(|(on, words)| on.then_some(words)).collect();
        let lanes = if account.lanes.is_empty() { Lane::default().to_string() } else { account.lanes.join(", ") };
        table.row([
            id(account).to_owned(),
            senders(account),
            lanes,
            account.pools.join(", "),
            limit(account.max_messages_per_minute),
            limit(account.max_recipients_per_minute),
            limit(account.max_sessions),
            account.dsn.clone(),
            besides.join(", "),
        ]);
    }
    table
}

/// Everything about an account, in a block.
pub(super) fn write_block(account: &api::Account, out: &mut dyn Write) -> io::Result<()> {
    let none = |text: String| if text.is_empty() { "none: it may not send".to_owned() } else { text };
    let or = |text: String, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text };
    let limit = |n: u32, per: &str, otherwise: &str| match n {
        0 => otherwise.to_owned(),
        n => format!("{}{per}", count(n.into())),
    };
    let times = account.retry_after_ms.iter().map(|ms| time(*ms)).collect::<Vec<_>>().join(", ");
    let lifetime = if account.bounce_after_ms == 0 { String::new() } else { time(account.bounce_after_ms) };
    writeln!(out, "{}", id(account))?;
    for (name, value) in [
        ("log-ins", account.credentials.join(", ")),
        ("sends from", none(senders(account))),
        ("lanes", or(account.lanes.join(", "), Lane::default().as_str())),
        ("pools", or(account.pools.join(", "), DEFAULT_POOL)),
        ("messages", limit(account.max_messages_per_minute, " a minute", "no limit")),
        ("recipients", limit(account.max_recipients_per_minute, " a minute", "no limit")),
        ("sessions", limit(account.max_sessions, " at the same time", "no limit of its own")),
        ("long lines", (if account.allow_long_lines { "pass unchanged" } else { "refused" }).to_owned()),
        ("client address", (if account.show_client_address { "in Received" } else { "not shown" }).to_owned()),
        ("without key", (if account.require_dkim { "refused (require-dkim)" } else { "passes unsigned" }).to_owned()),
        ("signed already", (if account.leave_signed { "left at that" } else { "signed in addition" }).to_owned()),
        ("dsn", reports(&account.dsn)),
        ("max dsns", limit(account.max_dsns_per_hour, " an hour", "no limit of its own")),
        ("retry after", or(times, "as configured for delivery")),
        ("bounce after", or(lifetime, "as configured for delivery")),
    ] {
        writeln!(out, "  {name:<14}  {}", harmless(&value))?;
    }
    Ok(())
}

fn time(ms: u64) -> String {
    Time(Duration::from_millis(ms)).to_string()
}

fn reports(dsn: &str) -> String {
    match Dsn::parse(dsn) {
        Some(Dsn::Headers) => "headers: senders get a report with the headers of what cannot be delivered".to_owned(),
        Some(Dsn::Full) => "full: senders get a report with the whole message that cannot be delivered".to_owned(),
        Some(Dsn::Off) => "off: senders get no report of what cannot be delivered".to_owned(),
        None => dsn.to_owned(),
    }
}

fn senders(account: &api::Account) -> String {
    let domain = |s: &api::SenderDomain| if s.exact { format!("{} (exactly)", s.domain) } else { s.domain.clone() };
    let domains = account.sender_domains.iter().map(domain);
    domains.chain(account.sender_addresses.iter().cloned()).collect::<Vec<_>>().join(", ")
}

/// For programs: names as in the API.
pub(super) fn to_json(account: &api::Account) -> Value {
    let domain = |s: &api::SenderDomain| json!({ "domain": s.domain, "exact": s.exact });
    json!({
        "name": id(account),
        "logins": account.credentials,
        "sender_domains": account.sender_domains.iter().map(domain).collect::<Vec<_>>(),
        "sender_addresses": account.sender_addresses,
        "lanes": account.lanes,
        "pools": account.pools,
        "max_messages_per_minute": account.max_messages_per_minute,
        "max_recipients_per_minute": account.max_recipients_per_minute,
        "max_sessions": account.max_sessions,
        "allow_long_lines": account.allow_long_lines,
        "show_client_address": account.show_client_address,
        "require_dkim": account.require_dkim,
        "leave_signed": account.leave_signed,
        "dsn": account.dsn,
        "max_dsns_per_hour": account.max_dsns_per_hour,
        "retry_after_ms": account.retry_after_ms,
        "bounce_after_ms": account.bounce_after_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_who_may_send_as_whom() {
        let account = api::Account {
            name: "accounts/shop".into(),
            credentials: vec!["shop".into()],
            sender_domains: vec![
                api::SenderDomain { domain: "a.example".into(), exact: false },
                api::SenderDomain { domain: "b.example".into(), exact: true },
            ],
            sender_addresses: vec!["me@c.example".into()],
            max_messages_per_minute: 1200,
            allow_long_lines: true,
            dsn: "off".into(),
            ..api::Account::default()
        };
        let mut out = Vec::new();
        table(&[account]).write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let row = text.lines().nth(1).unwrap();
        let words: Vec<_> = row.split("  ").map(str::trim).filter(|w| !w.is_empty()).collect();
        let senders = "a.example, b.example (exactly), me@c.example";
        assert_eq!(words, ["shop", senders, "transactional", "-", "1,200", "-", "-", "off", "long lines"], "{text}");
    }

    #[test]
    fn the_block_tells_every_rule() {
        let account = api::Account {
            name: "accounts/shop".into(),
            credentials: vec!["shop".into()],
            sender_domains: vec![api::SenderDomain { domain: "a.example".into(), exact: false }],
            max_recipients_per_minute: 1200,
            dsn: "full".into(),
            max_dsns_per_hour: 10,
            retry_after_ms: vec![300_000, 5_400_000],
            bounce_after_ms: 172_800_000,
            ..api::Account::default()
        };
        let mut out = Vec::new();
        write_block(&account, &mut out).unwrap();
        let expected = "\
shop
  log-ins         shop
  sends from      a.example
  lanes           transactional
  pools           default
  messages        no limit
  recipients      1,200 a minute
  sessions        no limit of its own
  long lines      refused
  client address  not shown
  without key     passes unsigned
  signed already  signed in addition
  dsn             full: senders get a report with the whole message that cannot be delivered
  max dsns        10 an hour
  retry after     5m, 1h30m
  bounce after    2d
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let bare = api::Account { dsn: "headers".into(), ..api::Account::default() };
        let mut out = Vec::new();
        write_block(&bare, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("as configured for delivery").count(), 2, "{text}");
    }
}
