//! The control log of one machine, in a fjall store on local disk.
//!
//! Two keyspaces: `latest` maps a key to the offset of its latest record, `log` maps an offset (8 bytes, big-endian)
//! to key and record. A write changes both in one batch, synced before it is answered.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;

use crate::{ControlLog, Entry, LogError, Offset};

/// Cache for blocks in bytes. Everything that is asked for often is in the registry's view, not here.
const CACHE_BYTES: u64 = 1 << 20;

/// A control log in a folder of its own, which only one process can have open.
pub struct FjallLog(Arc<Store>);

struct Store {
    db: Database,
    log: Keyspace,
    latest: Keyspace,
    /// Offset of the last write; held while writing, so that writes come one after the other.
    last: Mutex<u64>,
}

impl std::fmt::Debug for FjallLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallLog").finish_non_exhaustive()
    }
}

impl FjallLog {
    /// Opens the log in `folder`, making it when there is none. Blocks.
    pub fn open(folder: &Path) -> Result<Self, LogError> {
        let failed = |e: ::fjall::Error| {
            let locked = matches!(e, ::fjall::Error::Locked);
            if locked { LogError::Locked(folder.display().to_string()) } else { failed(&e) }
        };
        let db = Database::builder(folder).worker_threads(1).cache_size(CACHE_BYTES).open().map_err(failed)?;
        let log = db.keyspace("log", KeyspaceCreateOptions::default).map_err(failed)?;
        let latest = db.keyspace("latest", KeyspaceCreateOptions::default).map_err(failed)?;
        let last = match log.last_key_value() {
            Some(guard) => offset_of(&guard.key().map_err(failed)?)?,
            None => 0,
        };
        Ok(Self(Arc::new(Store { db, log, latest, last: Mutex::new(last) })))
    }
}

impl Store {
    fn write(&self, key: &str, value: Option<&Bytes>) -> Result<Offset, LogError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = *last + 1;
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        if let Some(old) = self.latest.get(key).map_err(|e| failed(&e))? {
            batch.remove(&self.log, old.to_vec());
        }
        batch.insert(&self.latest, key, offset.to_be_bytes());
        batch.insert(&self.log, offset.to_be_bytes(), encode(key, value).to_vec());
        batch.commit().map_err(|e| failed(&e))?;
        *last = offset;
        Ok(Offset(offset))
    }

    fn read(&self, after: Offset, max: usize) -> Result<Vec<Entry>, LogError> {
        let Some(from) = after.0.checked_add(1) else { return Ok(Vec::new()) };
        let range = self.log.range(from.to_be_bytes()..);
        range.take(max).map(|guard| decode(guard.into_inner().map_err(|e| failed(&e))?)).collect()
    }
}

impl ControlLog for FjallLog {
    fn write(&self, key: String, value: Option<Bytes>) -> BoxFuture<'_, Result<Offset, LogError>> {
        let store = Arc::clone(&self.0);
        Box::pin(off_thread(move || store.write(&key, value.as_ref())))
    }

    fn read(&self, after: Offset, max: usize) -> BoxFuture<'_, Result<Vec<Entry>, LogError>> {
        let store = Arc::clone(&self.0);
        Box::pin(off_thread(move || store.read(after, max)))
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(LogError::Failed(e.to_string())))
}

fn failed(error: &::fjall::Error) -> LogError {
    LogError::Failed(error.to_string())
}

/// Length of the key (4 bytes, big-endian), key, 1 and the record or 0 for a deletion.
fn encode(key: &str, value: Option<&Bytes>) -> Bytes {
    let mut out = BytesMut::with_capacity(key.len() + value.map_or(0, Bytes::len) + 5);
    out.put_u32(u32::try_from(key.len()).unwrap_or(u32::MAX));
    out.put_slice(key.as_bytes());
    out.put_u8(u8::from(value.is_some()));
    out.put_slice(value.map_or(&[], |v| v));
    out.freeze()
}

fn decode((offset, stored): ::fjall::KvPair) -> Result<Entry, LogError> {
    let damaged = || LogError::Failed("an entry of the control log is damaged".into());
    let (len, rest) = stored.split_first_chunk::<4>().ok_or_else(damaged)?;
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| damaged())?;
    let (key, rest) = rest.split_at_checked(len).ok_or_else(damaged)?;
    let (present, value) = rest.split_first().ok_or_else(damaged)?;
    Ok(Entry {
        offset: Offset(offset_of(&offset)?),
        key: std::str::from_utf8(key).map_err(|_| damaged())?.to_owned(),
        value: (*present == 1).then(|| Bytes::copy_from_slice(value)),
    })
}

fn offset_of(key: &[u8]) -> Result<u64, LogError> {
    let bytes = key.try_into().map_err(|_| LogError::Failed("an offset of the control log is damaged".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract;

    fn shown(entries: Vec<Entry>) -> Vec<(u64, String, Option<Bytes>)> {
        entries.into_iter().map(|e| (e.offset.0, e.key, e.value)).collect()
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let count = std::cell::Cell::new(0);
        contract::holds(|| {
            count.set(count.get() + 1);
            let log = FjallLog::open(&folder.path().join(count.get().to_string())).unwrap();
            async { Arc::new(log) as Arc<dyn ControlLog> }
        })
        .await;
    }

    #[tokio::test]
    async fn is_the_same_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let log = FjallLog::open(folder.path()).unwrap();
        log.write("a".into(), Some(Bytes::from_static(b"1"))).await.unwrap();
        log.write("b".into(), Some(Bytes::from_static(b"2"))).await.unwrap();
        log.write("b".into(), None).await.unwrap();
        let before = shown(contract::all(&log, 10).await);
        drop(log);
        let log = FjallLog::open(folder.path()).unwrap();
        assert_eq!(shown(contract::all(&log, 10).await), before);
        assert_eq!(log.write("c".into(), None).await.unwrap(), Offset(4), "goes on after the last offset");
    }

    #[tokio::test]
    async fn a_second_opener_is_told_that_it_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let _log = FjallLog::open(folder.path()).unwrap();
        assert!(matches!(FjallLog::open(folder.path()), Err(LogError::Locked(_))));
    }
}
