//! The `[dkim]` section: keys that sign mail and lie in files of the operator's.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sluice_daemon::config::{Documented, Key, KeyError};
use sluice_mail::{Domain, UnixMs};
use sluice_registry::{DKIM_KEYS_MAX, DkimName};
use sluice_sign::{Entry, Key as DkimKey, Owner, Selector, Validity};

use crate::moment;

/// Longest file in octets.
const FILE_MAX: u64 = 16 << 10;
/// Mode bits by which everybody may read.
const EVERYBODY: u32 = 0o004;

/// The section as it is written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawDkim {
    keys: Vec<RawDkimKey>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawDkimKey {
    domain: String,
    selector: String,
    file: PathBuf,
    account: Option<String>,
    from: Option<String>,
    until: Option<String>,
}

impl Documented for RawDkim {
    const KEYS: &'static [Key] = &[Key::tables(
        "keys",
        &[
            Key::new(
                "domain",
                "text",
                "What it signs for: mail from this domain, and from those below it that have no key of their own.",
            ),
            Key::new("selector", "text", "The first labels of the record's name: `SELECTOR._domainkey.DOMAIN`."),
            Key::new(
                "file",
                "path",
                "PEM file with the private key: RSA of 2048 to 4096 bits, or Ed25519. A file that everybody may read is \
                 refused.",
            ),
            Key::new("account", "text", "The account whose mail it signs.").or("every account's"),
            Key::new("from", "text", "When it begins to sign, such as `2026-12-01T00:00:00Z`.").or("since ever"),
            Key::new("until", "text", "When it ends to sign.").or("for ever"),
        ],
        "Keys from files; those that `sluice dkim generate` makes are kept in `data_dir` and stand nowhere here. A key \
         of a file signs instead of one of the same name in `data_dir`. Read again on SIGHUP.",
    )];
}

impl RawDkim {
    /// The keys, read from their files, whose paths are meant from `base`.
    pub(crate) fn checked(&self, base: &Path) -> Result<Vec<Entry>, KeyError> {
        if self.keys.len() > DKIM_KEYS_MAX {
            let problem = format!("expected {DKIM_KEYS_MAX} keys or fewer, here are {}", self.keys.len());
            return Err(KeyError::new("keys", problem));
        }
        let mut places = HashMap::new();
        let mut entries = Vec::with_capacity(self.keys.len());
        for (place, raw) in self.keys.iter().enumerate() {
            let entry = raw.checked(base).map_err(|e| e.within(&format!("keys[{place}]")))?;
            if let Some(other) = places.insert(DkimName::of(&entry.key), place) {
                let problem = format!("expected another selector: keys[{other}] has this one for {}", raw.domain);
                return Err(KeyError::new(format!("keys[{place}].selector"), problem));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

impl RawDkimKey {
    fn checked(&self, base: &Path) -> Result<Entry, KeyError> {
        let domain = Domain::parse(&self.domain);
        let domain = domain.map_err(|e| KeyError::new("domain", format!("expected a domain: {e}")))?;
        let selector = self.selector.parse::<Selector>();
        let selector = selector.map_err(|e| KeyError::new("selector", format!("expected a selector: {e}")))?;
        let (from, until) = (moment("from", self.from.as_deref())?, moment("until", self.until.as_deref())?);
        if from.zip(until).is_some_and(|(from, until)| until <= from) {
            return Err(KeyError::new("until", "expected a time after from"));
        }
        let path = base.join(&self.file);
        let in_file = |problem: String| KeyError::new("file", format!("{}: {problem}", path.display()));
        let pem = read(&path).map_err(in_file)?;
        let key = DkimKey::from_pem(domain, selector, &pem).map_err(|e| in_file(e.to_string()))?;
        let owner = self.account.as_deref().map_or(Owner::Everybody, |account| Owner::Account(account.into()));
        Ok(Entry { key: Arc::new(key), owner, validity: Validity { from, until } })
    }
}

fn moment(key: &'static str, text: Option<&str>) -> Result<Option<UnixMs>, KeyError> {
    let read =
        |text| moment::read(text).ok_or_else(|| KeyError::new(key, "expected a time such as 2026-12-01T00:00:00Z"));
    text.map(read).transpose()
}

/// The file's text, if none but its owner and group may read it.
fn read(path: &Path) -> Result<String, String> {
    let words = |e: io::Error| format!("cannot be read: {e}");
    let file = File::open(path).map_err(words)?;
    let about = file.metadata().map_err(words)?;
    if about.mode() & EVERYBODY != 0 {
        return Err("everybody may read it: take that away with `chmod o-rwx`".to_owned());
    }
    let mut text = String::new();
    let len = file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(words)?;
    let too_long = u64::try_from(len).is_ok_and(|len| len > FILE_MAX);
    if too_long { Err(format!("is longer than {FILE_MAX} octets, which no key is")) } else { Ok(text) }
}
