//! One envelope for each recipient domain, 100 recipients at most.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_mail::{BodyFlags, Envelope, Host, Recipient};
use sluice_smtp::server::{MailCommand, RcptCommand};

use super::Facts;
use super::control::Wishes;

/// Recipients of an envelope: what every receiving server must take in one transaction (RFC 5321 4.5.3.1.8).
const MAX_RECIPIENTS: usize = 100;

/// What the envelopes of a message share besides the MAIL command.
pub(super) struct Common<'a> {
    pub(super) wishes: Wishes,
    pub(super) flags: BodyFlags,
    pub(super) body: &'a Bytes,
}

/// Splits the recipients by domain, domains and recipients in the order in which they first came, each recipient
/// once.
pub(super) fn split(
    mail: MailCommand,
    recipients: Vec<RcptCommand>,
    common: &Common<'_>,
    facts: &Facts<'_>,
) -> Vec<Envelope> {
    let groups = group(recipients);
    let template = template(mail, common, facts);
    let mut envelopes = Vec::with_capacity(groups.len());
    for (i, (domain, recipients)) in groups.into_iter().enumerate() {
        let expires = facts.at.plus(lifetime(&common.wishes, &domain, facts));
        // At most 1,000 recipients by configuration, so at most 1,000 envelopes.
        let queue_id = facts.queue_id.envelope(u16::try_from(i).unwrap_or(u16::MAX));
        envelopes.push(Envelope { queue_id, domain, recipients, expires, ..template.clone() });
    }
    envelopes
}

/// How long mail to this domain is tried: as long as the account says, or else whoever delivers; and no longer than
/// the message asks for.
fn lifetime(wishes: &Wishes, domain: &Host, facts: &Facts<'_>) -> Duration {
    let own = facts.sender.account.rules.bounce_after;
    let longest = own.unwrap_or_else(|| facts.lifetimes.of(wishes.lane, domain));
    wishes.expire.map_or(longest, |wish| wish.min(longest))
}

fn group(recipients: Vec<RcptCommand>) -> Vec<(Host, Vec<Recipient>)> {
    let mut groups: Vec<(Host, Vec<Recipient>)> = Vec::with_capacity(1);
    // Most messages have one recipient and need no tables.
    if recipients.len() == 1 {
        groups.extend(recipients.into_iter().map(|r| (r.address.host().clone(), vec![recipient(r)])));
        return groups;
    }
    let mut latest: HashMap<Host, usize> = HashMap::new();
    let mut seen: HashSet<(String, Host)> = HashSet::with_capacity(recipients.len());
    for command in recipients {
        let host = command.address.host().clone();
        if !seen.insert((command.address.local().to_owned(), host.clone())) {
            continue;
        }
        match latest.get(&host).filter(|&&i| groups[i].1.len() < MAX_RECIPIENTS) {
            Some(&i) => groups[i].1.push(recipient(command)),
            None => {
                latest.insert(host.clone(), groups.len());
                groups.push((host, vec![recipient(command)]));
            }
        }
    }
    groups
}

fn recipient(command: RcptCommand) -> Recipient {
    Recipient { orcpt: command.orcpt, notify: command.notify, ..Recipient::new(command.address) }
}

/// An envelope without recipients.
fn template(mail: MailCommand, common: &Common<'_>, facts: &Facts<'_>) -> Envelope {
    let Wishes { pool, lane, campaign, tag, envid, .. } = &common.wishes;
    Envelope {
        queue_id: facts.queue_id,
        generation: 0,
        account: Arc::clone(&facts.sender.account.id),
        campaign: campaign.clone(),
        tag: tag.clone(),
        lane: *lane,
        mail_from: mail.reverse_path,
        recipients: Vec::new(),
        ret: mail.ret,
        envid: mail.envid.or_else(|| envid.clone()),
        domain: Host::Literal(std::net::Ipv4Addr::UNSPECIFIED.into()),
        pool: pool.clone(),
        accepted: facts.at,
        expires: facts.at,
        not_before: facts.at,
        flags: common.flags,
        // A body is bounded by max_message_size, which is under 4 GiB.
        size: u32::try_from(common.body.len()).unwrap_or(u32::MAX),
        body_crc: crc32c::crc32c(common.body),
        attempts: 0,
        last_reply: None,
        delay_notices: 0,
        report_on: None,
    }
}
