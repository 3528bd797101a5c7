//! `sluice dkim generate`: a new key.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use sluice_mail::{Domain, UnixMs};
use sluice_proto::control as api;
use sluice_sign::{Algorithm, RSA_BITS_MAX, RSA_BITS_MIN, Selector, dns};

use super::super::format::{until, utc};
use super::when::When;
use super::{CliError, Terminal, all, answer, client, id, show};

pub(super) const EXAMPLES: &str = "\
Examples:
  sluice dkim generate example.org
  sluice dkim generate example.org --algorithm ed25519
  sluice dkim generate shop.example --account shop --from 7d
  sluice dkim generate example.org --selector s2026a --import old-key.pem

A key signs at once, unless one of the same algorithm signs for the domain already: then it takes over a day from now,
so that there is time to publish its record. --from says otherwise.";

/// How long a key that follows another waits, for its record to be published and known.
const NOTICE: Duration = Duration::from_secs(24 * 3600);
/// Longest file that is read as a key, in octets.
const FILE_MAX: u64 = 64 << 10;

/// `sluice dkim generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Domain that it signs for, and for those below it that have no key of their own
    #[arg(value_parser = Domain::parse)]
    domain: Domain,
    /// First label of the record's name [default: s, year, month and a letter, such as s202611a]
    #[arg(long, value_name = "SELECTOR")]
    selector: Option<Selector>,
    /// rsa, which every receiver verifies, or ed25519, which signs besides an rsa key [default: rsa]
    #[arg(long, value_name = "rsa|ed25519", value_parser = algorithm)]
    algorithm: Option<Algorithm>,
    /// Length of an rsa key [default: 2048]
    #[arg(long, value_name = "N", value_parser = bits)]
    bits: Option<u32>,
    /// Account whose mail it signs [default: every account that may send from the domain]
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// When it begins to sign: a time such as 2026-12-01T08:00:00Z, one from now on such as 7d, or now
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// When it ends to sign [default: never]
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Take this private key (PEM) instead of making one
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
}

/// Has a key made, and tells what to publish.
pub(super) async fn generate(args: GenerateArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let now = terminal.now;
    let private_key = args.import.as_deref().map(read).transpose()?.unwrap_or_default();
    let others = all(socket, args.domain.as_str()).await?;
    let before = others.iter().find(|key| key.state == "signs" && args.follows(key));
    let from = match args.from {
        Some(from) => Some(from.from(now)),
        None => before.map(|_| now.plus(NOTICE)),
    };
    let selector = args.selector.as_ref().map_or_else(|| free_selector(&others, now), Selector::to_string);
    let asked = api::DkimKey {
        domain: args.domain.to_string(),
        selector,
        algorithm: args.algorithm.map_or("", Algorithm::key_type).to_owned(),
        bits: args.bits.unwrap_or_default(),
        account: args.account.unwrap_or_default(),
        from_ms: from.map(|at| at.0),
        until_ms: args.until.map(|at| at.from(now).0),
        ..api::DkimKey::default()
    };
    let request = api::CreateDkimKeyRequest { dkim_key: Some(asked), private_key };
    let key = answer(client::dkim_keys(socket).await?.create_dkim_key(request)).await?;
    tell(&key, before, terminal)
}

impl GenerateArgs {
    /// Whether the new key takes the place of `other`. What is imported without a word of its kind may.
    fn follows(&self, other: &api::DkimKey) -> bool {
        let same_kind = match self.algorithm {
            Some(algorithm) => other.algorithm == algorithm.key_type(),
            None => self.import.is_some() || other.algorithm == Algorithm::Rsa.key_type(),
        };
        same_kind && (other.account.is_empty() || Some(&other.account) == self.account.as_ref())
    }
}

fn tell(key: &api::DkimKey, before: Option<&api::DkimKey>, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let (name, now, out) = (id(key), terminal.now, &mut *terminal.stdout);
    writeln!(out, "Key {name} is made: {} of {} bits.", key.algorithm, key.bits)?;
    match (key.from_ms.map(UnixMs).filter(|from| *from > now), before) {
        (Some(from), Some(before)) => {
            let (at, left) = (utc(from), until(from, now));
            writeln!(out, "It takes over from {} at {at} ({left}): publish its record before.", id(before))?;
        }
        (Some(from), None) => {
            writeln!(out, "It signs from {} on ({}): publish its record before.", utc(from), until(from, now))?;
        }
        (None, _) => writeln!(out, "It signs from now on: publish its record at once.")?,
    }
    if let Some(end) = key.until_ms.map(UnixMs) {
        writeln!(out, "It signs until {}.", show::moment(end))?;
    }
    writeln!(out, "\n{}\n", dns::zone_line_of(name, &key.record))?;
    writeln!(out, "`sluice dkim dns {name} --format strings` and `--format text` write it in other forms;")?;
    Ok(writeln!(out, "`sluice dkim check {name}` says whether it is found and right.")?)
}

/// `s202611a`, or with the next letter that no key of the domain has.
fn free_selector(others: &[api::DkimKey], now: UnixMs) -> String {
    let taken: BTreeSet<&str> = others.iter().map(|key| key.selector.as_str()).collect();
    let month: String = utc(now).chars().take(7).filter(char::is_ascii_digit).collect();
    let letters = || ('a'..='z').map(String::from);
    let pairs = letters().flat_map(|first| letters().map(move |second| format!("{first}{second}")));
    let mut names = letters().chain(pairs).map(|letter| format!("s{month}{letter}"));
    names.find(|name| !taken.contains(name.as_str())).unwrap_or_else(|| format!("s{month}x{}", taken.len()))
}

fn read(path: &Path) -> Result<String, CliError> {
    let cannot = |source| CliError::KeyFile { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).map_err(cannot)?.take(FILE_MAX).read_to_string(&mut text).map_err(cannot)?;
    // The server makes a key when it gets none, which must not come of an empty file.
    if text.trim().is_empty() { Err(CliError::EmptyKeyFile(path.to_owned())) } else { Ok(text) }
}

fn algorithm(text: &str) -> Result<Algorithm, &'static str> {
    Algorithm::parse(text).ok_or("expected rsa or ed25519")
}

fn bits(text: &str) -> Result<u32, String> {
    let wrong = || format!("expected a number from {RSA_BITS_MIN} to {RSA_BITS_MAX}");
    let n = text.parse::<u32>().map_err(|_| wrong())?;
    let good = usize::try_from(n).is_ok_and(|n| (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&n));
    if good { Ok(n) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_free_letter_is_taken() {
        let now = UnixMs(1_795_464_000_000);
        let keys = |letters: &[&str]| {
            let key = |letter: &&str| api::DkimKey { selector: format!("s202611{letter}"), ..api::DkimKey::default() };
            letters.iter().map(key).collect::<Vec<_>>()
        };
        assert_eq!(free_selector(&keys(&[]), now), "s202611a");
        assert_eq!(free_selector(&keys(&["a", "c"]), now), "s202611b");
        let letters: Vec<_> = ('a'..='z').map(String::from).collect();
        let letters: Vec<_> = letters.iter().map(String::as_str).collect();
        assert_eq!(free_selector(&keys(&letters), now), "s202611aa");
    }
}
