//! Records of the control log: a format version, then protobuf; here those of accounts.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use sluice_mail::{Address, Domain, Lane};
use sluice_proto::record as wire;

use crate::{Account, AccountRules, Credential, Dsn, PasswordHash, SenderDomain};

/// The format that this version writes, and the newest it can read.
const FORMAT: u8 = 1;

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer Sluice.
    #[error("it was written by a newer version of Sluice (format {0}; this one knows {FORMAT})")]
    Newer(u8),
    /// Not what it should be.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// The record of an account.
pub(crate) fn encode(account: &Account) -> Bytes {
    let rules = &account.rules;
    let record = wire::Account {
        id: account.id.to_string(),
        credentials: account.credentials.iter().map(|c| credential_record(c)).collect(),
        sender_domains: rules
            .sender_domains
            .iter()
            .map(|s| wire::SenderDomain { domain: s.domain.to_string(), exact: s.exact })
            .collect(),
        sender_addresses: rules.sender_addresses.iter().map(Address::to_string).collect(),
        lanes: rules.lanes.iter().map(|lane| wire::Lane::from(*lane).into()).collect(),
        pools: rules.pools.iter().map(|pool| pool.to_string()).collect(),
        max_messages_per_minute: number(rules.max_messages_per_minute),
        max_recipients_per_minute: number(rules.max_recipients_per_minute),
        max_sessions: number(rules.max_sessions),
        allow_long_lines: rules.allow_long_lines,
        show_client_address: rules.show_client_address,
        version: account.version,
        dsn: wire::Dsn::from(rules.dsn).into(),
        max_dsns_per_hour: number(rules.max_dsns_per_hour),
        retry_after_ms: rules.retry_after.iter().flatten().copied().map(millis).collect(),
        bounce_after_ms: rules.bounce_after.map_or(0, millis),
        require_dkim: rules.require_dkim,
        leave_signed: rules.leave_signed,
    };
    framed(&record)
}

/// The record behind its format.
pub(crate) fn framed(record: &impl Message) -> Bytes {
    let mut out = Vec::with_capacity(1 + record.encoded_len());
    out.push(FORMAT);
    out.extend_from_slice(&record.encode_to_vec());
    out.into()
}

/// What stands behind the format, if it is one that this version knows.
pub(crate) fn unframed(record: &[u8]) -> Result<&[u8], RecordError> {
    match record.split_first() {
        Some((&FORMAT, record)) => Ok(record),
        Some((format, _)) if *format > FORMAT => Err(RecordError::Newer(*format)),
        Some(_) | None => Err(damaged("no known format")),
    }
}

/// The account of a record.
pub(crate) fn decode(record: &[u8]) -> Result<Account, RecordError> {
    let record = wire::Account::decode(unframed(record)?).map_err(damaged)?;
    let credentials = record.credentials.into_iter().map(credential).collect::<Result<_, _>>()?;
    let sender_domain =
        |s: wire::SenderDomain| Ok(SenderDomain { domain: Domain::parse(&s.domain).map_err(damaged)?, exact: s.exact });
    let rules = AccountRules {
        sender_domains: record.sender_domains.into_iter().map(sender_domain).collect::<Result<_, RecordError>>()?,
        sender_addresses: record
            .sender_addresses
            .iter()
            .map(|a| Address::parse(a).map_err(damaged))
            .collect::<Result<_, _>>()?,
        lanes: record.lanes.into_iter().map(lane).collect::<Result<_, _>>()?,
        pools: record.pools.into_iter().map(Arc::from).collect(),
        max_messages_per_minute: NonZeroU32::new(record.max_messages_per_minute),
        max_recipients_per_minute: NonZeroU32::new(record.max_recipients_per_minute),
        max_sessions: NonZeroU32::new(record.max_sessions),
        allow_long_lines: record.allow_long_lines,
        show_client_address: record.show_client_address,
        dsn: wire::Dsn::try_from(record.dsn).map(Dsn::from).map_err(damaged)?,
        max_dsns_per_hour: NonZeroU32::new(record.max_dsns_per_hour),
        retry_after: (!record.retry_after_ms.is_empty())
            .then(|| record.retry_after_ms.into_iter().map(Duration::from_millis).collect()),
        bounce_after: (record.bounce_after_ms > 0).then(|| Duration::from_millis(record.bounce_after_ms)),
        require_dkim: record.require_dkim,
        leave_signed: record.leave_signed,
    };
    Ok(Account { id: record.id.into(), rules, credentials, version: record.version })
}

fn credential_record(credential: &Credential) -> wire::Credential {
    wire::Credential {
        login: credential.login.to_string(),
        password_hash: credential.password.expose().to_owned(),
        pool: credential.pool.as_deref().unwrap_or_default().to_owned(),
        lane: credential.lane.map(|lane| wire::Lane::from(lane).into()),
    }
}

fn credential(record: wire::Credential) -> Result<Arc<Credential>, RecordError> {
    Ok(Arc::new(Credential {
        login: record.login.into(),
        password: PasswordHash::parse(&record.password_hash).map_err(damaged)?,
        pool: (!record.pool.is_empty()).then(|| record.pool.into()),
        lane: record.lane.map(lane).transpose()?,
    }))
}

fn lane(value: i32) -> Result<Lane, RecordError> {
    wire::Lane::try_from(value).map(Lane::from).map_err(damaged)
}

impl From<Dsn> for wire::Dsn {
    fn from(dsn: Dsn) -> Self {
        match dsn {
            Dsn::Headers => Self::Headers,
            Dsn::Full => Self::Full,
            Dsn::Off => Self::Off,
        }
    }
}

impl From<wire::Dsn> for Dsn {
    fn from(dsn: wire::Dsn) -> Self {
        match dsn {
            wire::Dsn::Headers => Self::Headers,
            wire::Dsn::Full => Self::Full,
            wire::Dsn::Off => Self::Off,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn number(value: Option<NonZeroU32>) -> u32 {
    value.map_or(0, NonZeroU32::get)
}

pub(crate) fn damaged(problem: impl ToString) -> RecordError {
    RecordError::Damaged(problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let credential = |login: &str, pool: Option<&str>, lane| {
            let password = PasswordHash::of("secret").unwrap();
            Arc::new(Credential { login: login.into(), password, pool: pool.map(Into::into), lane })
        };
        Account {
            id: "demo".into(),
            credentials: vec![credential("demo", None, None), credential("app", Some("p2"), Some(Lane::Bulk))],
            rules: AccountRules {
                sender_domains: vec![SenderDomain { domain: Domain::parse("example.org").unwrap(), exact: true }],
                sender_addresses: vec![Address::parse("a@other.example").unwrap()],
                lanes: vec![Lane::Bulk, Lane::Transactional],
                pools: vec!["p1".into(), "p2".into()],
                max_messages_per_minute: NonZeroU32::new(7),
                max_recipients_per_minute: None,
                max_sessions: NonZeroU32::new(9),
                allow_long_lines: true,
                show_client_address: false,
                dsn: Dsn::Full,
                max_dsns_per_hour: NonZeroU32::new(11),
                retry_after: Some([300, 600].map(Duration::from_secs).to_vec()),
                bounce_after: Some(Duration::from_secs(86_400)),
                require_dkim: true,
                leave_signed: true,
            },
            version: 3,
        }
    }

    #[test]
    fn there_and_back() {
        for account in [account(), Account { rules: AccountRules::default(), ..account() }] {
            assert_eq!(decode(&encode(&account)).unwrap(), account);
        }
    }

    #[test]
    fn refuses_newer_and_damaged_records() {
        let good = encode(&account());
        let mut newer = good.to_vec();
        newer[0] = 2;
        assert_eq!(decode(&newer), Err(RecordError::Newer(2)));
        for bad in [&b""[..], &b"\0"[..], &good[..good.len() - 1], b"\x01\x0f"] {
            assert!(matches!(decode(bad), Err(RecordError::Damaged(_))), "{bad:?}");
        }
    }
}
