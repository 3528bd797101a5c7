//! Between records of what happened and the words of `sluice-mail`.

use std::time::Duration;

use sluice_mail::{
    About, Address, Attempt, AttemptInfo, AttemptResult, Fate, FateKind, Host, RecipientResult, Stage, Tried, UnixMs,
};

use super::{ConvertError, id_bytes, lane, optional, optional_id, queue_id, reverse_path, text, wrong};
use crate::record;

impl From<FateKind> for record::FateKind {
    fn from(kind: FateKind) -> Self {
        match kind {
            FateKind::Delivered => Self::Delivered,
            FateKind::Bounced => Self::Bounced,
            FateKind::Expired => Self::Expired,
            FateKind::Cancelled => Self::Cancelled,
        }
    }
}

impl From<record::FateKind> for FateKind {
    fn from(kind: record::FateKind) -> Self {
        match kind {
            record::FateKind::Delivered => Self::Delivered,
            record::FateKind::Bounced => Self::Bounced,
            record::FateKind::Expired => Self::Expired,
            record::FateKind::Cancelled => Self::Cancelled,
        }
    }
}

/// All but kind, results and number of attempts.
fn facts(about: &About, at: UnixMs, attempt: &AttemptInfo) -> record::Fate {
    record::Fate {
        queue_id: about.queue_id.to_bytes().to_vec(),
        account: about.account.to_string(),
        campaign: text(about.campaign.as_ref()),
        tag: text(about.tag.as_ref()),
        domain: about.domain.to_string(),
        accepted_ms: about.accepted.0,
        at_ms: at.0,
        site: text(attempt.site.as_ref()),
        mx: text(attempt.mx.as_ref()),
        peer: attempt.peer.map(|p| p.to_string()).unwrap_or_default(),
        source: text(attempt.source.as_ref()),
        tls: text(attempt.tls.as_ref()),
        duration_us: u64::try_from(attempt.duration.as_micros()).unwrap_or(u64::MAX),
        lane: record::Lane::from(about.lane).into(),
        mail_from: about.mail_from.as_ref().map(Address::to_string).unwrap_or_default(),
        envid: text(about.envid.as_ref()),
        pool: text(about.pool.as_ref()),
        size: about.size,
        report_on: id_bytes(about.report_on),
        ..record::Fate::default()
    }
}

fn read_facts(f: record::Fate) -> Result<(About, AttemptInfo), ConvertError> {
    let peer = match f.peer.as_str() {
        "" => None,
        peer => Some(peer.parse().map_err(|e| wrong("peer", e))?),
    };
    let about = About {
        queue_id: queue_id(&f.queue_id)?,
        account: f.account.into(),
        campaign: optional(f.campaign),
        tag: optional(f.tag),
        lane: lane(f.lane)?,
        mail_from: reverse_path(&f.mail_from)?,
        envid: optional(f.envid),
        domain: Host::parse(&f.domain).map_err(|e| wrong("domain", e))?,
        pool: optional(f.pool),
        size: f.size,
        accepted: UnixMs(f.accepted_ms),
        report_on: optional_id(&f.report_on)?,
    };
    let attempt = AttemptInfo {
        site: optional(f.site),
        mx: optional(f.mx),
        peer,
        source: optional(f.source),
        tls: optional(f.tls),
        duration: Duration::from_micros(f.duration_us),
    };
    Ok((about, attempt))
}

impl From<&Fate> for record::Fate {
    fn from(f: &Fate) -> Self {
        let results = f.results.iter().map(|r| record::Recipient {
            address: r.address.to_string(),
            orcpt: text(r.orcpt.as_ref()),
            outcome: Some((&r.outcome).into()),
            decided_in: r.decided_in,
            ..record::Recipient::default()
        });
        Self {
            kind: record::FateKind::from(f.kind).into(),
            results: results.collect(),
            attempts: f.attempts,
            report: id_bytes(f.report),
            ..facts(&f.about, f.at, &f.attempt)
        }
    }
}

impl TryFrom<record::Fate> for Fate {
    type Error = ConvertError;

    fn try_from(mut f: record::Fate) -> Result<Self, ConvertError> {
        let result = |r: record::Recipient| {
            let outcome = r.outcome.ok_or_else(|| wrong("results.outcome", "missing"))?;
            Ok(RecipientResult {
                address: Address::parse(&r.address).map_err(|e| wrong("results.address", e))?,
                orcpt: optional(r.orcpt),
                outcome: outcome.try_into()?,
                decided_in: r.decided_in,
            })
        };
        let results = std::mem::take(&mut f.results).into_iter().map(result).collect::<Result<_, _>>()?;
        let kind = record::FateKind::try_from(f.kind).map(FateKind::from).map_err(|e| wrong("kind", e))?;
        let (attempts, at, report) = (f.attempts, UnixMs(f.at_ms), optional_id(&f.report)?);
        let (about, attempt) = read_facts(f)?;
        Ok(Self { about, kind, results, attempts, at, attempt, report })
    }
}

impl From<&AttemptResult> for record::AttemptResult {
    fn from(result: &AttemptResult) -> Self {
        let common =
            Self { address: result.address.to_string(), orcpt: text(result.orcpt.as_ref()), ..Self::default() };
        match &result.tried {
            Tried::Decided(outcome) => Self { decided: Some(outcome.into()), ..common },
            Tried::Deferred { reply, stage, of_site } => {
                Self { reply: Some(reply.into()), stage: stage.as_str().to_owned(), of_site: *of_site, ..common }
            }
        }
    }
}

impl TryFrom<record::AttemptResult> for AttemptResult {
    type Error = ConvertError;

    fn try_from(r: record::AttemptResult) -> Result<Self, ConvertError> {
        let tried = match (r.decided, r.reply) {
            (Some(outcome), _) => Tried::Decided(outcome.try_into()?),
            (None, Some(reply)) => Tried::Deferred {
                reply: reply.try_into()?,
                stage: Stage::parse(&r.stage).ok_or_else(|| wrong("results.stage", format!("{:?}", r.stage)))?,
                of_site: r.of_site,
            },
            (None, None) => return Err(wrong("results.reply", "missing")),
        };
        let address = Address::parse(&r.address).map_err(|e| wrong("results.address", e))?;
        Ok(Self { address, orcpt: optional(r.orcpt), tried })
    }
}

impl From<&Attempt> for record::Attempt {
    fn from(a: &Attempt) -> Self {
        Self {
            facts: Some(record::Fate {
                attempts: a.number,
                report: id_bytes(a.report),
                ..facts(&a.about, a.at, &a.attempt)
            }),
            results: a.results.iter().map(Into::into).collect(),
            retry_at_ms: a.retry_at.0,
        }
    }
}

impl TryFrom<record::Attempt> for Attempt {
    type Error = ConvertError;

    fn try_from(a: record::Attempt) -> Result<Self, ConvertError> {
        let f = a.facts.ok_or_else(|| wrong("attempt.facts", "missing"))?;
        let (number, at, report) = (f.attempts, UnixMs(f.at_ms), optional_id(&f.report)?);
        let (about, attempt) = read_facts(f)?;
        let results = a.results.into_iter().map(AttemptResult::try_from).collect::<Result<_, _>>()?;
        Ok(Self { about, number, results, at, retry_at: UnixMs(a.retry_at_ms), attempt, report })
    }
}
