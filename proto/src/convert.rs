//! Between records and the words of `sluice-mail`.

mod events;

use std::sync::Arc;

use sluice_mail::{
    Address, BodyFlags, EnhancedCode, Envelope, Host, Lane, Outcome, QueueId, Recipient, Reply, Trouble, UnixMs,
};

use crate::record;

/// A record that decodes as protobuf but does not hold what it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record field {field}: {problem}")]
pub struct ConvertError {
    /// The field's name in the .proto file.
    pub field: &'static str,
    /// What is wrong.
    pub problem: String,
}

fn wrong(field: &'static str, problem: impl ToString) -> ConvertError {
    ConvertError { field, problem: problem.to_string() }
}

fn text(value: Option<&Arc<str>>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

fn optional(value: String) -> Option<Arc<str>> {
    if value.is_empty() { None } else { Some(value.into()) }
}

fn queue_id(bytes: &[u8]) -> Result<QueueId, ConvertError> {
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| wrong("queue_id", "not 16 bytes"))?;
    Ok(QueueId::from_bytes(bytes))
}

fn id_bytes(id: Option<QueueId>) -> Vec<u8> {
    id.map(|id| id.to_bytes().to_vec()).unwrap_or_default()
}

fn optional_id(bytes: &[u8]) -> Result<Option<QueueId>, ConvertError> {
    if bytes.is_empty() { Ok(None) } else { queue_id(bytes).map(Some) }
}

fn reverse_path(text: &str) -> Result<Option<Address>, ConvertError> {
    match text {
        "" => Ok(None),
        address => Address::parse(address).map(Some).map_err(|e| wrong("mail_from", e)),
    }
}

impl From<Lane> for record::Lane {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Transactional => Self::Transactional,
            Lane::Bulk => Self::Bulk,
        }
    }
}

impl From<record::Lane> for Lane {
    fn from(lane: record::Lane) -> Self {
        match lane {
            record::Lane::Transactional => Self::Transactional,
            record::Lane::Bulk => Self::Bulk,
        }
    }
}

fn lane(value: i32) -> Result<Lane, ConvertError> {
    record::Lane::try_from(value).map(Lane::from).map_err(|e| wrong("lane", e))
}

impl From<&Reply> for record::Reply {
    fn from(reply: &Reply) -> Self {
        Self {
            code: u32::from(reply.code),
            enhanced: reply.enhanced.map(|e| e.to_string()).unwrap_or_default(),
            text: reply.text.clone(),
        }
    }
}

impl TryFrom<record::Reply> for Reply {
    type Error = ConvertError;

    fn try_from(reply: record::Reply) -> Result<Self, ConvertError> {
        Ok(Self {
            code: u16::try_from(reply.code).map_err(|e| wrong("reply.code", e))?,
            enhanced: EnhancedCode::parse_prefix(&reply.enhanced).map(|(code, _)| code),
            text: reply.text,
        })
    }
}

impl From<&Outcome> for record::Outcome {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered { reply } => Self { delivered: true, status: String::new(), reply: Some(reply.into()) },
            Outcome::Bounced { status, reply } => {
                Self { delivered: false, status: status.to_string(), reply: Some(reply.into()) }
            }
        }
    }
}

impl TryFrom<record::Outcome> for Outcome {
    type Error = ConvertError;

    fn try_from(outcome: record::Outcome) -> Result<Self, ConvertError> {
        let reply: Reply = outcome.reply.ok_or_else(|| wrong("outcome.reply", "missing"))?.try_into()?;
        if outcome.delivered {
            return Ok(Self::Delivered { reply });
        }
        let (status, _) = EnhancedCode::parse_prefix(&outcome.status)
            .ok_or_else(|| wrong("outcome.status", format!("{:?} is no status code", outcome.status)))?;
        Ok(Self::Bounced { status, reply })
    }
}

impl From<&Trouble> for record::Trouble {
    fn from(trouble: &Trouble) -> Self {
        Self {
            reply: Some((&trouble.reply).into()),
            is_peers: trouble.is_peers,
            mta: text(trouble.mta.as_ref()),
            at_ms: trouble.at.0,
        }
    }
}

impl TryFrom<record::Trouble> for Trouble {
    type Error = ConvertError;

    fn try_from(trouble: record::Trouble) -> Result<Self, ConvertError> {
        let reply = trouble.reply.ok_or_else(|| wrong("trouble.reply", "missing"))?;
        Ok(Self {
            reply: reply.try_into()?,
            is_peers: trouble.is_peers,
            mta: optional(trouble.mta),
            at: UnixMs(trouble.at_ms),
        })
    }
}

impl From<&Recipient> for record::Recipient {
    fn from(recipient: &Recipient) -> Self {
        Self {
            address: recipient.address.to_string(),
            orcpt: text(recipient.orcpt.as_ref()),
            notify: text(recipient.notify.as_ref()),
            outcome: recipient.outcome.as_ref().map(Into::into),
            decided_in: recipient.decided_in,
            trouble: recipient.trouble.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<record::Recipient> for Recipient {
    type Error = ConvertError;

    fn try_from(recipient: record::Recipient) -> Result<Self, ConvertError> {
        Ok(Self {
            address: Address::parse(&recipient.address).map_err(|e| wrong("recipient.address", e))?,
            orcpt: optional(recipient.orcpt),
            notify: optional(recipient.notify),
            outcome: recipient.outcome.map(Outcome::try_from).transpose()?,
            decided_in: recipient.decided_in,
            trouble: recipient.trouble.map(Trouble::try_from).transpose()?,
        })
    }
}

impl From<&Envelope> for record::Envelope {
    fn from(e: &Envelope) -> Self {
        Self {
            queue_id: e.queue_id.to_bytes().to_vec(),
            generation: e.generation,
            account: e.account.to_string(),
            campaign: text(e.campaign.as_ref()),
            tag: text(e.tag.as_ref()),
            lane: record::Lane::from(e.lane).into(),
            mail_from: e.mail_from.as_ref().map(Address::to_string).unwrap_or_default(),
            recipients: e.recipients.iter().map(Into::into).collect(),
            ret: text(e.ret.as_ref()),
            envid: text(e.envid.as_ref()),
            domain: e.domain.to_string(),
            pool: text(e.pool.as_ref()),
            accepted_ms: e.accepted.0,
            expires_ms: e.expires.0,
            not_before_ms: e.not_before.0,
            eight_bit: e.flags.eight_bit,
            smtputf8: e.flags.smtputf8,
            require_tls: e.flags.require_tls,
            size: e.size,
            body_crc: e.body_crc,
            attempts: e.attempts,
            last_reply: text(e.last_reply.as_ref()),
            delay_notices: e.delay_notices,
            report_on: id_bytes(e.report_on),
        }
    }
}

impl TryFrom<record::Envelope> for Envelope {
    type Error = ConvertError;

    fn try_from(e: record::Envelope) -> Result<Self, ConvertError> {
        let mail_from = reverse_path(&e.mail_from)?;
        Ok(Self {
            queue_id: queue_id(&e.queue_id)?,
            generation: e.generation,
            account: e.account.into(),
            campaign: optional(e.campaign),
            tag: optional(e.tag),
            lane: lane(e.lane)?,
            mail_from,
            recipients: e.recipients.into_iter().map(Recipient::try_from).collect::<Result<_, _>>()?,
            ret: optional(e.ret),
            envid: optional(e.envid),
            domain: Host::parse(&e.domain).map_err(|e| wrong("domain", e))?,
            pool: optional(e.pool),
            accepted: UnixMs(e.accepted_ms),
            expires: UnixMs(e.expires_ms),
            not_before: UnixMs(e.not_before_ms),
            flags: BodyFlags { eight_bit: e.eight_bit, smtputf8: e.smtputf8, require_tls: e.require_tls },
            size: e.size,
            body_crc: e.body_crc,
            attempts: e.attempts,
            last_reply: optional(e.last_reply),
            delay_notices: e.delay_notices,
            report_on: optional_id(&e.report_on)?,
        })
    }
}
