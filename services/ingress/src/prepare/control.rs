//! The fields by which a client steers a message, and what they come to with the account's rights and defaults.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use sluice_daemon::config::Time;
use sluice_mail::Lane;
use sluice_mail::header::{Field, Headers};

use super::{Facts, Reason, Refusal, shown};

/// Octets of a campaign, tag or pool.
const MAX_VALUE: usize = 255;
/// Octets of an ENVID in its encoded form (RFC 3461 4.4).
const MAX_ENVID: usize = 100;

/// What a field steers, and its names: ours first, then those that other software uses for the same.
const NAMES: [(Knob, &[&str]); 6] = [
    (Knob::Pool, &["X-Sluice-Pool", "X-Virtual-MTA"]),
    (Knob::Lane, &["X-Sluice-Lane"]),
    (Knob::Campaign, &["X-Sluice-Campaign", "X-Job"]),
    (Knob::Tag, &["X-Sluice-Tag"]),
    (Knob::Expire, &["X-Sluice-Expire"]),
    (Knob::Envid, &["X-Envid"]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knob {
    Pool,
    Lane,
    Campaign,
    Tag,
    Expire,
    Envid,
}

/// What a message asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pool: Option<Arc<str>>,
    lane: Option<Lane>,
    campaign: Option<Arc<str>>,
    tag: Option<Arc<str>>,
    expire: Option<Duration>,
    envid: Option<Arc<str>>,
}

/// What a message gets.
#[derive(Debug)]
pub(super) struct Wishes {
    pub(super) pool: Option<Arc<str>>,
    pub(super) lane: Lane,
    pub(super) campaign: Option<Arc<str>>,
    pub(super) tag: Option<Arc<str>>,
    /// When it is to be given up, after it was accepted.
    pub(super) expire: Option<Duration>,
    pub(super) envid: Option<Arc<str>>,
}

/// Whether the field steers the message, and so is not for its recipients.
pub(super) fn is_control(field: &Field<'_>) -> bool {
    // All of them begin so; most fields do not, and are told apart by this alone.
    field.name().as_bytes().get(..2).is_some_and(|x| x.eq_ignore_ascii_case(b"x-"))
        && NAMES.iter().any(|(_, names)| names.iter().any(|name| field.is(name)))
}

/// Reads all control fields. Where two names mean the same, ours counts; the same name twice is refused.
pub(super) fn read(headers: &Headers<'_>) -> Result<Asked, Refusal> {
    let mut asked = Asked::default();
    if !headers.iter().any(|field| is_control(&field)) {
        return Ok(asked);
    }
    for (knob, names) in NAMES {
        for name in names {
            let mut fields = headers.named(name);
            let Some(field) = fields.next() else { continue };
            if fields.next().is_some() {
                return Err(wrong(name, "stands there twice"));
            }
            let value = text(name, &field)?;
            if !value.is_empty() {
                asked.set(knob, name, &value)?;
                break;
            }
        }
    }
    Ok(asked)
}

impl Asked {
    fn set(&mut self, knob: Knob, name: &str, value: &str) -> Result<(), Refusal> {
        match knob {
            Knob::Pool => self.pool = Some(value.into()),
            Knob::Campaign => self.campaign = Some(value.into()),
            Knob::Tag => self.tag = Some(value.into()),
            Knob::Lane => {
                let lane = Lane::parse(value);
                let unknown = || Refusal::right(format!("{name}: no such lane; expected transactional or bulk"));
                self.lane = Some(lane.ok_or_else(unknown)?);
            }
            Knob::Expire => {
                let time: Time = value.parse().map_err(|e| wrong(name, &format!("{e}")))?;
                self.expire = Some(time.0);
            }
            Knob::Envid => self.envid = Some(xtext(name, value)?),
        }
        Ok(())
    }

    /// Applies rights and defaults: the message's wish, else the credential's, else the account's first.
    pub(super) fn resolve(self, facts: &Facts<'_>) -> Result<Wishes, Refusal> {
        let sender = facts.sender;
        let account = &sender.account;
        if let Some(pool) = self.pool.as_ref().filter(|pool| !account.may_use_pool(pool)) {
            return Err(Refusal::right(format!("account {} may not use pool {}", account.id, shown(pool))));
        }
        if let Some(lane) = self.lane.filter(|lane| !account.may_use_lane(*lane)) {
            return Err(Refusal::right(format!("account {} may not use lane {lane}", account.id)));
        }
        let longest = account.rules.bounce_after.unwrap_or(facts.lifetimes.longest());
        if self.expire.is_some_and(|wish| wish.is_zero() || wish > longest) {
            let most = Time(longest);
            return Err(wrong(
                "X-Sluice-Expire",
                &format!("expected a time up to {most}, as long as delivery is tried"),
            ));
        }
        Ok(Wishes {
            pool: self.pool.or_else(|| sender.default_pool()),
            lane: self.lane.unwrap_or_else(|| sender.default_lane()),
            campaign: self.campaign,
            tag: self.tag,
            expire: self.expire,
            envid: self.envid,
        })
    }
}

fn text<'a>(name: &str, field: &Field<'a>) -> Result<Cow<'a, str>, Refusal> {
    let value = field.text().ok_or_else(|| wrong(name, "is not UTF-8"))?;
    if value.len() > MAX_VALUE {
        return Err(wrong(name, &format!("is longer than {MAX_VALUE} octets")));
    }
    if value.chars().any(char::is_control) {
        return Err(wrong(name, "has a control character"));
    }
    Ok(value)
}

/// RFC 3461 4: what the next host gets as ENVID, so that it comes back in delivery reports.
fn xtext(name: &str, value: &str) -> Result<Arc<str>, Refusal> {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'+' && byte != b'=' => out.push(char::from(byte)),
            _ => out.push_str(&format!("+{byte:02X}")),
        }
    }
    if out.len() > MAX_ENVID {
        return Err(wrong(name, &format!("is longer than {MAX_ENVID} octets when encoded as xtext")));
    }
    Ok(out.into())
}

fn wrong(name: &str, problem: &str) -> Refusal {
    Refusal::content(Reason::Control, format!("{name}: {problem}"))
}
