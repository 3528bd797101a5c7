//! Where reports are written whose original has to be read from disk first, or that are to be signed, so that nobody
//! else waits for that.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sluice_spool::{BodyError, SettleError, Ticket, WorkId};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::bounce::Due;
use crate::outcome::Conclusion;
use crate::shared::Shared;

/// Originals that are read at once.
const READS_MAX: usize = 16;
/// Octets per permit of the memory for originals.
const PERMIT: u64 = 64 << 10;
/// Said in a report without its original.
const UNREADABLE: &str = "The message could not be read back from the disk of the mail server.";

/// A conclusion whose reports are to be written. Its work is outstanding until it is settled here; if that never
/// happens, because the process ends, the envelope is handed out again after the next start.
#[derive(Debug)]
pub(crate) struct Task {
    work: WorkId,
    /// The original, when it is at hand.
    body: Option<Bytes>,
    conclusion: Conclusion,
    dues: Vec<Due>,
    done: oneshot::Sender<Result<(), SettleError>>,
    ticket: Option<oneshot::Receiver<Result<(), SettleError>>>,
}

impl Task {
    pub(crate) fn new(work: WorkId, body: Option<Bytes>, conclusion: Conclusion, dues: Vec<Due>) -> Self {
        let (done, ticket) = oneshot::channel();
        Self { work, body, conclusion, dues, done, ticket: Some(ticket) }
    }
}

/// Takes tasks. There are never more than there is outstanding work, which the windows of the shards bound.
#[derive(Debug)]
pub(crate) struct Desk {
    tasks: Mutex<Option<mpsc::UnboundedSender<Task>>>,
    /// Memory for originals. Apart from the memory for bodies that are sent: who waits for a report may hold that.
    room: Semaphore,
    permits: u32,
}

impl Desk {
    /// With what [`run`] works through. Originals take `memory` octets at once at most; a larger one is read alone.
    pub(crate) fn new(memory: u64) -> (Self, mpsc::UnboundedReceiver<Task>) {
        let (sender, tasks) = mpsc::unbounded_channel();
        let permits = u32::try_from(memory / PERMIT).unwrap_or(u32::MAX >> 3).max(1);
        (Self { tasks: Mutex::new(Some(sender)), room: Semaphore::new(permits as usize), permits }, tasks)
    }

    /// Takes a task; the ticket resolves when its work is settled.
    pub(crate) fn put(&self, mut task: Task) -> Ticket {
        let ticket = task.ticket.take();
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = tasks.as_ref().is_some_and(|tasks| tasks.send(task).is_ok());
        Box::pin(async move {
            match ticket.filter(|_| taken) {
                Some(ticket) => ticket.await.unwrap_or(Err(SettleError::Unknown)),
                None => Err(SettleError::Unknown),
            }
        })
    }

    /// Takes no more; [`run`] ends when it has written what is there.
    pub(crate) fn close(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Writes reports until the desk is closed. When it is dropped, what is not settled stays outstanding.
pub(crate) async fn run(shared: Arc<Shared>, mut tasks: mpsc::UnboundedReceiver<Task>) {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = under_way.next() => {}
            Some(task) = tasks.recv(), if under_way.len() < READS_MAX => under_way.push(write(&shared, task)),
            else => return,
        }
    }
}

async fn write(shared: &Arc<Shared>, task: Task) {
    let Task { work, body, conclusion, dues, done, .. } = task;
    let size = u64::from(conclusion.envelope().size);
    let permits = u32::try_from(size.div_ceil(PERMIT)).unwrap_or(u32::MAX).clamp(1, shared.desk.permits);
    // Held until the report is durable, as it may hold the whole original. Never closed.
    let _room = shared.desk.room.acquire_many(permits).await.ok();
    let original = match body {
        Some(body) => Ok(body),
        None => shared.source.body(work).await,
    };
    if let Err(error @ BodyError::Unreadable(_)) = &original {
        shared.telemetry.body_unreadable(conclusion.envelope(), error);
    }
    let decider = Arc::clone(shared);
    let decide = move || decider.decide(conclusion, &dues, original.as_deref().map_err(|_| UNREADABLE));
    // Signing takes its time. After a panic the work stays outstanding.
    let Ok(decision) = tokio::task::spawn_blocking(decide).await else { return };
    let result = shared.source.settle(work, decision).await;
    if let Err(result) = done.send(result) {
        shared.settled(result);
    }
}
