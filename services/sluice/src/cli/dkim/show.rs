//! Keys for reading.

use serde_json::{Value, json};
use sluice_mail::UnixMs;
use sluice_proto::control as api;

use super::super::format::{ago, until, utc};
use super::super::table::{Align, Table};
use super::id;

/// A line for each.
pub(super) fn table(keys: &[api::DkimKey], now: UnixMs) -> Table<7> {
    let mut table = Table::new([
        ("KEY", Align::Left),
        ("ALGORITHM", Align::Left),
        ("BITS", Align::Right),
        ("ACCOUNT", Align::Left),
        ("STATE", Align::Left),
        ("WHEN", Align::Left),
        ("SOURCE", Align::Left),
    ]);
    for key in keys {
        let account = if key.account.is_empty() { "every" } else { &key.account };
        table.row([
            id(key).to_owned(),
            key.algorithm.clone(),
            key.bits.to_string(),
            account.to_owned(),
            key.state.clone(),
            when(key, now),
            key.source.clone(),
        ]);
    }
    table
}

/// The times that matter in the key's state.
fn when(key: &api::DkimKey, now: UnixMs) -> String {
    let (from, end) = (key.from_ms.map(UnixMs), key.until_ms.map(UnixMs));
    let mut words = Vec::new();
    if let Some(from) = from.filter(|from| *from > now) {
        words.push(format!("from {} ({})", moment(from), until(from, now)));
    }
    if let Some(end) = end {
        let told = if end > now { until(end, now) } else { ago(end, now) };
        words.push(format!("until {} ({told})", moment(end)));
    }
    words.join(", ")
}

/// `2026-11-23 21:05:10 UTC`.
pub(super) fn moment(at: UnixMs) -> String {
    utc(at)
}

/// For programs: names as in the API. Times are Unix time in ms.
pub(super) fn to_json(key: &api::DkimKey) -> Value {
    json!({
        "name": id(key),
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm,
        "bits": key.bits,
        "account": key.account,
        "from_ms": key.from_ms,
        "until_ms": key.until_ms,
        "state": key.state,
        "source": key.source,
        "created_ms": key.created_ms,
        "public_key": key.public_key,
        "record": key.record,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_the_times_that_matter() {
        let now = UnixMs(1_795_464_000_000);
        let key = |from_ms, until_ms, state: &str| api::DkimKey {
            name: "dkimKeys/s1._domainkey.a.example".into(),
            algorithm: "rsa".into(),
            bits: 2048,
            state: state.into(),
            source: "file".into(),
            from_ms,
            until_ms,
            ..api::DkimKey::default()
        };
        let hour = 3_600_000;
        let keys = [
            key(None, None, "signs"),
            key(Some(now.0 - hour), Some(now.0 + hour), "signs"),
            key(Some(now.0 + hour), Some(now.0 + 2 * hour), "not yet"),
            key(None, Some(now.0 - hour), "retired"),
        ];
        let mut out = Vec::new();
        table(&keys, now).write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let cells = |line: usize| {
            let words = text.lines().nth(line).unwrap().split("  ").map(str::trim).filter(|w| !w.is_empty());
            words.skip(4).map(str::to_owned).collect::<Vec<_>>().join("|")
        };
        assert_eq!(cells(1), "signs|-|file");
        assert_eq!(cells(2), "signs|until 2026-11-23 21:00:00 UTC (in 1 h)|file");
        assert_eq!(
            cells(3),
            "not yet|from 2026-11-23 21:00:00 UTC (in 1 h), until 2026-11-23 22:00:00 UTC (in 2 h)|file"
        );
        assert_eq!(cells(4), "retired|until 2026-11-23 19:00:00 UTC (1 h ago)|file");
    }
}
