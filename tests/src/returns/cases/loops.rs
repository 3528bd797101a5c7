//! Reports that cannot be delivered, and mail that must not be reported on.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{dropped, returned};
use crate::returns::case::{Account, Case, Expect, Letter, Peer, Sender};
use crate::returns::world::World;

pub(super) fn cases() -> Vec<Case> {
    let behaviour = json!({ "rules": [{ "at": "rcpt", "reply": "550 5.1.1 no such user" }] });
    let later = json!({ "rules": [{ "at": "rcpt", "reply": "450 4.2.1 never" }] });
    let case = |name, behaviour, expect: Expect| {
        Case::new("reports of reports", name, Peer::Aiosmtpd(behaviour, String::new()), expect)
    };
    let no = || dropped(&["550 5.1.1 no such user"]);
    let told = |name, expect: Expect| {
        Case::new("what the sender gets", name, Peer::Aiosmtpd(behaviour.clone(), String::new()), expect)
    };
    let back = || returned("5.1.1", &["550 5.1.1 no such user"]);
    vec![
        told("headers", back()).letter(Letter::Large(200_000)),
        told("whole-message", back()).by(Account::Full).letter(Letter::Large(200_000)),
        told("whole-8-bit-message", back()).by(Account::Full).letter(Letter::EightBit),
        told("utf8-sender", back()).from(Sender::Utf8),
        told("utf8-all", back())
            .from(Sender::Utf8)
            .by(Account::Full)
            .letter(Letter::Utf8)
            .to(&[("jos\u{e9}", back())], 1),
        told("no-reports", no()).by(Account::Off),
        case("null-sender", behaviour.clone(), no()).from(Sender::Null),
        case("null-sender-expires", later, dropped(&["450 4.2.1 never"])).from(Sender::Null),
        case("deaf-sender", behaviour.clone(), no()).from(Sender::Deaf),
        case("unknown-sender", behaviour, no()).from(Sender::Unknown).then(refused_at_home),
    ]
}

/// The sender's own server said that it does not know the sender; nobody else was told of it.
fn refused_at_home(world: &World, case: &Case) -> Result<String> {
    let wanted = format!("<{}>: Recipient address rejected: User unknown", case.reverse_path());
    let refused = crate::wait::until(crate::wait::PATIENCE, "the report at home", || {
        let log = world.home.log();
        let count = log.lines().filter(|line| line.contains(&wanted) && line.contains("from=<>")).count();
        Ok((count > 0).then_some(count))
    })?;
    ensure!(refused == 1, "{refused} reports to {}", case.reverse_path());
    Ok("its report is refused at home, once".to_owned())
}
