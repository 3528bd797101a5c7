//! What every control log must do, as functions that run against any. For tests: they panic where it does not.

use std::sync::Arc;

use bytes::Bytes;

use crate::{ControlLog, Entry, Offset};

/// Runs the whole contract, each part on a fresh, empty log.
pub async fn holds<F, Fut>(fresh: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn ControlLog>>,
{
    an_empty_log_has_nothing(&*fresh().await).await;
    the_latest_record_of_a_key_wins(&*fresh().await).await;
    a_deletion_is_an_entry(&*fresh().await).await;
    a_reader_goes_on_where_it_was(&*fresh().await).await;
    concurrent_writes_all_count(fresh().await).await;
}

/// All entries, read `step` at a time.
pub async fn all(log: &dyn ControlLog, step: usize) -> Vec<Entry> {
    let (mut entries, mut after) = (Vec::new(), Offset(0));
    loop {
        let page = read(log, after, step).await;
        assert!(page.len() <= step, "{} entries where {step} were asked for", page.len());
        let Some(last) = page.last() else { return entries };
        assert!(last.offset > after, "offsets grow");
        after = last.offset;
        entries.extend(page);
    }
}

async fn write(log: &dyn ControlLog, key: &str, value: Option<&'static str>) -> Offset {
    match log.write(key.to_owned(), value.map(|v| Bytes::from_static(v.as_bytes()))).await {
        Ok(offset) => offset,
        Err(e) => unreachable!("write {key}: {e}"),
    }
}

async fn read(log: &dyn ControlLog, after: Offset, max: usize) -> Vec<Entry> {
    match log.read(after, max).await {
        Ok(entries) => entries,
        Err(e) => unreachable!("read after {after:?}: {e}"),
    }
}

fn shown(entries: &[Entry]) -> Vec<(&str, Option<&str>)> {
    let value = |e: &Entry| e.value.as_ref().map(|v| v.to_vec());
    assert!(entries.iter().filter_map(value).all(|v| std::str::from_utf8(&v).is_ok()));
    entries
        .iter()
        .map(|e| (e.key.as_str(), e.value.as_deref().map(|v| std::str::from_utf8(v).unwrap_or_default())))
        .collect()
}

async fn an_empty_log_has_nothing(log: &dyn ControlLog) {
    assert!(all(log, 10).await.is_empty());
}

async fn the_latest_record_of_a_key_wins(log: &dyn ControlLog) {
    let first = write(log, "a", Some("1")).await;
    let second = write(log, "b", Some("2")).await;
    let third = write(log, "a", Some("3")).await;
    assert!(Offset(0) < first && first < second && second < third, "offsets grow");
    for step in [1, 2, 10] {
        assert_eq!(shown(&all(log, step).await), [("b", Some("2")), ("a", Some("3"))]);
    }
}

async fn a_deletion_is_an_entry(log: &dyn ControlLog) {
    write(log, "a", Some("1")).await;
    let seen = write(log, "b", Some("")).await;
    let gone = write(log, "a", None).await;
    assert_eq!(shown(&all(log, 10).await), [("b", Some("")), ("a", None)]);
    let news = read(log, seen, 10).await;
    assert_eq!((shown(&news), news[0].offset), (vec![("a", None)], gone));
    write(log, "a", Some("again")).await;
    assert_eq!(shown(&all(log, 10).await), [("b", Some("")), ("a", Some("again"))]);
}

async fn a_reader_goes_on_where_it_was(log: &dyn ControlLog) {
    let mut offsets = Vec::new();
    for key in ["a", "b", "c"] {
        offsets.push(write(log, key, Some("x")).await);
    }
    assert_eq!(shown(&read(log, offsets[0], 1).await), [("b", Some("x"))]);
    assert!(read(log, offsets[2], 10).await.is_empty());
    assert!(read(log, Offset(u64::MAX), 10).await.is_empty());
}

async fn concurrent_writes_all_count(log: Arc<dyn ControlLog>) {
    let writers = (0..8).map(|i| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for _ in 0..5 {
                write(&*log, &format!("own/{i}"), Some("x")).await;
                write(&*log, "shared", Some("y")).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        assert!(writer.await.is_ok());
    }
    let entries = all(&*log, 3).await;
    assert_eq!(entries.len(), 9, "{:?}", shown(&entries));
}
