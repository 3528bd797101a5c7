//! The twin: a control log in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{ControlLog, Entry, LogError, Offset};

/// A control log that ends with the process.
#[derive(Debug, Default)]
pub struct MemoryLog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    by_offset: BTreeMap<u64, (String, Option<Bytes>)>,
    latest: HashMap<String, u64>,
}

impl MemoryLog {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl ControlLog for MemoryLog {
    fn write(&self, key: String, value: Option<Bytes>) -> BoxFuture<'_, Result<Offset, LogError>> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut *guard;
        kept.last += 1;
        if let Some(old) = kept.latest.insert(key.clone(), kept.last) {
            kept.by_offset.remove(&old);
        }
        kept.by_offset.insert(kept.last, (key, value));
        let offset = Offset(kept.last);
        Box::pin(async move { Ok(offset) })
    }

    fn read(&self, after: Offset, max: usize) -> BoxFuture<'_, Result<Vec<Entry>, LogError>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = |(offset, (key, value)): (&u64, &(String, Option<Bytes>))| Entry {
            offset: Offset(*offset),
            key: key.clone(),
            value: value.clone(),
        };
        let entries = kept.by_offset.range(after.0.saturating_add(1)..).take(max).map(entry).collect();
        Box::pin(async move { Ok(entries) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        crate::contract::holds(|| async { Arc::new(MemoryLog::new()) as Arc<dyn ControlLog> }).await;
    }
}
