//! `sluice dkim check`: whether receivers find what they need.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use futures_util::StreamExt as _;
use sluice_proto::control as api;
use sluice_route::{TxtError, TxtRecords};
use sluice_sign::Algorithm;
use sluice_sign::dns::{self, Difference};

use super::super::format::harmless;
use super::{CliError, Terminal, Which, chosen, id};

/// Questions to the DNS at once.
const AT_ONCE: usize = 20;

/// Asks the DNS for the keys' records, and says what differs. An error when one that signs, or the one that is named,
/// does not verify.
pub(super) async fn check(
    which: Option<&Which>,
    name_servers: &[SocketAddr],
    socket: &Path,
    terminal: &mut Terminal<'_>,
) -> Result<(), CliError> {
    let is_named = matches!(which, Some(Which::Key(_)));
    let keys = chosen(which, socket).await?;
    let records = TxtRecords::new(name_servers)?;
    let asked = keys.iter().map(async |key| (key, records.look_up(id(key)).await));
    let mut answers = futures_util::stream::iter(asked).buffered(AT_ONCE);
    let (mut wrong, mut all) = (0, 0);
    while let Some((key, found)) = answers.next().await {
        let counts = is_named || key.state == "signs";
        let is_right = tell(key, found, terminal.stdout)?;
        all += usize::from(counts);
        wrong += usize::from(counts && !is_right);
    }
    if wrong > 0 { Err(CliError::KeysDoNotVerify { wrong, all }) } else { Ok(()) }
}

/// Says how a key's record is; whether it is right.
fn tell(key: &api::DkimKey, found: Result<Vec<String>, TxtError>, out: &mut dyn Write) -> io::Result<bool> {
    let name = id(key);
    let state = if key.state == "signs" { String::new() } else { format!(" ({})", key.state) };
    let found = match found {
        Ok(found) => found,
        Err(why) => {
            writeln!(out, "UNKNOWN  {name}{state}")?;
            let words = harmless(&why.to_string());
            writeln!(out, "         {words}. Try again; if it stays so, mend the name servers of {}.", key.domain)?;
            return Ok(false);
        }
    };
    let Some(algorithm) = Algorithm::parse(&key.algorithm) else {
        writeln!(out, "UNKNOWN  {name}{state}: the server is of another version")?;
        return Ok(false);
    };
    let differences = dns::compare_public(algorithm, &key.public_key, &found);
    if differences.is_empty() {
        writeln!(out, "ok       {name}{state}")?;
        return Ok(true);
    }
    writeln!(out, "WRONG    {name}{state}")?;
    for difference in &differences {
        writeln!(out, "         {}. {}", harmless(&difference.to_string()), mend(difference))?;
    }
    writeln!(out, "         What it must be: `sluice dkim dns {name}`.")?;
    Ok(false)
}

/// What to do about it.
fn mend(difference: &Difference) -> &'static str {
    match difference {
        Difference::Missing => {
            "Publish it; if that is done, wait until the DNS knows it: some minutes, or as long as the zone's SOA says"
        }
        Difference::Several(_) => "Take all but the right one away",
        Difference::Malformed(_) => "Publish the text as it is, without quotes or backslashes in it",
        Difference::Version(_) => "Let the text begin with v=DKIM1;",
        Difference::KeyType { .. } => "Publish the record of this key, or another selector for the other one",
        Difference::Revoked => "Publish the key; or, if it was withdrawn on purpose, retire it here",
        Difference::OtherKey { .. } => {
            "Publish this key's record whole: it is often cut at 255 characters, or stands from an older key"
        }
        Difference::Hash(_) => "Take h= away",
        Difference::Service(_) => "Take s= away",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_of_the_dns_is_told_with_its_mend() {
        let record = "v=DKIM1; k=ed25519; p=abcd".to_owned();
        let key = api::DkimKey {
            name: "dkimKeys/s1._domainkey.a.example".into(),
            algorithm: "ed25519".into(),
            public_key: "abcd".into(),
            state: "signs".into(),
            record: record.clone(),
            ..api::DkimKey::default()
        };
        for (found, expected) in [
            (vec![record.clone()], "ok       s1._domainkey.a.example\n"),
            (vec![], "WRONG    s1._domainkey.a.example\n         there is no TXT record. Publish it"),
            (vec![record.clone(), record.clone()], "there are 2 TXT records; there must be one. Take all but"),
            (vec!["v=DKIM1; k=ed25519; p=abxx".into()], "from character 2 on it is \"xx…\", expected \"cd…\". Publish"),
            (vec!["v=DKIM1; k=ed25519; p=".into()], "the key is revoked. Publish the key; or"),
            (vec!["v=DKIM1; p=abcd".into()], "k=rsa; expected ed25519. Publish the record of this key"),
            (vec!["\u{1b}[2J".into()], "is not tag=value. Publish the text as it is"),
        ] {
            let mut out = Vec::new();
            let is_right = tell(&key, Ok(found), &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains(expected) && !text.contains('\u{1b}'), "{text}");
            assert_eq!(is_right, text.starts_with("ok"), "{text}");
        }
    }
}
