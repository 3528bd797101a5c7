//! Reading what ended and what was attempted, in log order, each reader with a position of its own.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sluice_mail::Event;
use tokio::sync::oneshot;

use super::Disk;
use super::frame::{self, Kind};
use super::queue::{Done, Effect, Entry};
use super::record;
use super::scan::{Bodies, ScanError, Scanner};
use super::segment::{DATA_START, Segment};
use super::shared::Shared;
use super::state::{Cursor, State};
use crate::{BodyError, Events, FateLog, Position, SettleError};

impl FateLog for Disk {
    fn read(&self, reader: &str, max: usize) -> BoxFuture<'_, Result<Events, BodyError>> {
        let (shared, reader) = (Arc::clone(&self.shared), reader.to_owned());
        let job = self.shared.jobs.run(move || read(&shared, &reader, max));
        async move { job.await.unwrap_or_else(|| Err(BodyError::Unreadable("the spool is closed".to_owned()))) }.boxed()
    }

    fn commit(&self, reader: &str, at: Position) -> BoxFuture<'_, Result<(), SettleError>> {
        self.note_reader(reader, at.0)
    }

    fn forget(&self, reader: &str) -> BoxFuture<'_, Result<(), SettleError>> {
        if self.shared.state().readers.contains_key(reader) {
            self.note_reader(reader, record::FORGOTTEN)
        } else {
            std::future::ready(Ok(())).boxed()
        }
    }
}

impl Disk {
    fn note_reader(&self, reader: &str, position: u64) -> BoxFuture<'_, Result<(), SettleError>> {
        let (sender, receiver) = oneshot::channel();
        let frame = record::reader(reader, position);
        let effect = Effect::Reader { name: reader.to_owned(), position };
        self.shared.queue.push(Entry { frame, effect, done: Done::Settle(sender) });
        let closed = || Err(SettleError::Poisoned("the spool is closed".to_owned()));
        async move { receiver.await.unwrap_or_else(|_| closed()) }.boxed()
    }
}

/// A segment to look through for events.
struct Part {
    segment: Segment,
    first_lsn: u64,
    end: u64,
    end_lsn: u64,
    has_events: bool,
}

fn read(shared: &Shared, reader: &str, max: usize) -> Result<Events, BodyError> {
    let mut cursor = start(&shared.state(), reader);
    let mut events = Vec::new();
    while events.len() < max {
        let Some(part) = next_part(&shared.state(), &cursor) else { break };
        if part.segment.id() != cursor.segment {
            cursor = Cursor { segment: part.segment.id(), at: DATA_START, lsn: cursor.lsn.max(part.first_lsn) };
        }
        let read = if part.has_events { read_part(&part, &mut cursor, max, &mut events) } else { Ok(()) };
        match read {
            Ok(()) if events.len() < max => (cursor.at, cursor.lsn) = (part.end, cursor.lsn.max(part.end_lsn)),
            Ok(()) => {}
            // Given up while it was read: go on with the next one.
            Err(_) if shared.state().index.segment(part.segment.id()).is_none() => {}
            Err(problem) => return Err(BodyError::Unreadable(problem)),
        }
    }
    shared.state().cursors.insert(reader.to_owned(), cursor);
    Ok(Events { events, next: Position(cursor.lsn) })
}

/// Where the reader goes on: after what it read last, else at its committed position, else at the oldest event.
fn start(state: &State, reader: &str) -> Cursor {
    let committed = state.readers.get(reader).copied().unwrap_or(0);
    match state.cursors.get(reader) {
        Some(cursor) if cursor.lsn >= committed => *cursor,
        Some(_) | None => Cursor { lsn: committed, segment: 0, at: 0 },
    }
}

/// The oldest segment that holds something at or after the cursor.
fn next_part(state: &State, cursor: &Cursor) -> Option<Part> {
    let mut later = state.index.segments.range(cursor.segment..).map(|(_, info)| info);
    let info = later.find(|info| info.end_lsn > cursor.lsn)?;
    Some(Part {
        segment: info.segment.clone(),
        first_lsn: info.first_lsn,
        end: info.end,
        end_lsn: info.end_lsn,
        has_events: info.last_event.is_some_and(|last| last >= cursor.lsn),
    })
}

fn read_part(part: &Part, cursor: &mut Cursor, max: usize, events: &mut Vec<Event>) -> Result<(), String> {
    let mut scanner = Scanner::new(&part.segment, cursor.at, part.end, Bodies::Skip);
    while events.len() < max {
        let view = match scanner.next() {
            Ok(Some(view)) => view,
            Ok(None) => break,
            Err(ScanError::Io(error)) => return Err(error.to_string()),
            Err(ScanError::Bad(_, problem)) => return Err(problem.to_owned()),
            Err(ScanError::Newer(..)) => return Err("a newer format".to_owned()),
        };
        let next = (view.at + view.header.frame_len(), view.header.lsn + 1);
        if view.header.lsn >= cursor.lsn && matches!(view.kind, Kind::Fate | Kind::Wait) {
            let head = frame::head(view.meta).unwrap_or_default();
            events.extend(record::events_in(view.kind, head)?);
        }
        (cursor.at, cursor.lsn) = (next.0, cursor.lsn.max(next.1));
    }
    Ok(())
}
