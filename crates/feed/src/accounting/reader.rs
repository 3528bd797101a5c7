//! The loop: read, write, commit, again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluice_mail::{Clock, Event, UnixMs};
use sluice_spool::{FateLog, Position};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{error, info, warn};

use super::files::Files;
use super::lines::lines;
use super::tidy::tidy;
use super::{Config, Format, Records, Stats, csv, json};

/// The name of this reader in the log of events.
pub const READER: &str = "accounting";
/// Events of one batch; with 100 recipients each and long replies some 100 MiB, usually below 1 MiB.
const BATCH: usize = 500;
/// After everything was written.
const PAUSE: Duration = Duration::from_secs(1);
/// After a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Writes accounting files. The log's position is moved only past what is safe in them.
pub struct Accounting {
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    /// `None` while they are written to, and after that broke off: then they are opened anew.
    files: Option<Files>,
    pending: Option<Pending>,
    /// Whether the log knows this reader, so that it keeps what is not read.
    is_known: bool,
    is_failing: bool,
    tidying: Option<JoinHandle<()>>,
    /// After a failure.
    retry: Duration,
}

/// What was read and not yet committed.
#[derive(Clone, Debug)]
struct Pending {
    events: Arc<Vec<Event>>,
    is_written: bool,
    next: Position,
    /// Whether there may be more.
    is_full: bool,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// All is written that there was.
    CaughtUp,
    /// There may be more.
    More,
}

/// Why a turn failed; it is tried again.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error("the log of events: {0}")]
    Log(String),
    #[error("{0}: {1}")]
    Files(String, io::Error),
}

impl Accounting {
    /// Makes the folder and takes up what an earlier run left. Blocks.
    pub fn open(config: Config, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let files = Files::open(&config, clock.wall())?;
        Ok(Self {
            config: Arc::new(config),
            clock,
            stats: Arc::default(),
            files: Some(files),
            pending: None,
            is_known: false,
            is_failing: false,
            tidying: None,
            retry: RETRY,
        })
    }

    /// What it has done so far, and goes on to do.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Writes until `stop` turns true and everything that was told before is written; then finishes the open file. What
    /// cannot be written when `stop` is true is left for the next start.
    pub async fn run(mut self, log: Arc<dyn FateLog>, mut stop: watch::Receiver<bool>) {
        self.tidy();
        loop {
            // Looked at before reading: what was told before the stop is read.
            let is_stopping = *stop.borrow();
            let pause = match self.turn(&*log).await {
                Ok(Turn::More) => Duration::ZERO,
                Ok(Turn::CaughtUp) if is_stopping => break,
                Ok(Turn::CaughtUp) => PAUSE,
                Err(_) if is_stopping => break,
                Err(_) => self.retry,
            };
            if !pause.is_zero() && !is_stopping {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    stopped = stop.wait_for(|stop| *stop) => if stopped.is_err() { break },
                }
            }
        }
        self.end().await;
    }

    /// One batch.
    async fn turn(&mut self, log: &dyn FateLog) -> Result<Turn, TurnError> {
        let turn = self.try_turn(log).await;
        match &turn {
            Ok(_) if self.is_failing => {
                self.is_failing = false;
                info!("accounting goes on");
            }
            Ok(_) => {}
            Err(why) => {
                self.stats.errors.fetch_add(1, Ordering::Relaxed);
                if !self.is_failing {
                    self.is_failing = true;
                    error!(%why, "accounting files are not written; nothing of them is lost, and it is tried again");
                }
            }
        }
        turn
    }

    async fn try_turn(&mut self, log: &dyn FateLog) -> Result<Turn, TurnError> {
        let pending = match &self.pending {
            Some(pending) => pending.clone(),
            None => self.read(log).await?,
        };
        let last = pending.events.last().map(at);
        if !pending.is_written {
            self.write(Arc::clone(&pending.events)).await?;
            self.pending = Some(Pending { is_written: true, ..pending.clone() });
        }
        // A log that does not know the reader would not keep anything for it.
        if last.is_some() || !self.is_known {
            log.commit(READER, pending.next).await.map_err(|why| TurnError::Log(why.to_string()))?;
            self.is_known = true;
        }
        self.pending = None;
        let waits_since = last.filter(|_| pending.is_full).map_or(0, |at| at.0);
        self.stats.waits_since.store(waits_since, Ordering::Relaxed);
        Ok(if pending.is_full { Turn::More } else { Turn::CaughtUp })
    }

    async fn read(&mut self, log: &dyn FateLog) -> Result<Pending, TurnError> {
        let read = log.read(READER, BATCH).await.map_err(|why| TurnError::Log(why.to_string()))?;
        if let Some(first) = read.events.first() {
            self.stats.waits_since.store(at(first).0, Ordering::Relaxed);
        }
        let is_full = read.events.len() >= BATCH;
        let pending = Pending { events: Arc::new(read.events), is_written: false, next: read.next, is_full };
        Ok(self.pending.insert(pending).clone())
    }

    /// Appends the lines of `events`, in a file that is not over its time or size.
    async fn write(&mut self, events: Arc<Vec<Event>>) -> Result<(), TurnError> {
        let now = self.clock.wall();
        if events.is_empty() && self.files.as_ref().is_some_and(|files| !files.is_due(now)) {
            return Ok(());
        }
        let (config, files) = (Arc::clone(&self.config), self.files.take());
        let written = spawn_blocking(move || {
            let opened = files.map_or_else(|| Files::open(&config, now), Ok);
            opened.map(|mut files| {
                let written = append(&mut files, &events, &config, now);
                (files, written)
            })
        });
        let failed = |why| TurnError::Files(self.config.directory.display().to_string(), why);
        let (files, written) = written.await.map_err(io::Error::other).flatten().map_err(failed)?;
        self.files = Some(files);
        let (has_finished, counts) = written.map_err(failed)?;
        for (total, count) in self.stats.lines.iter().zip(counts) {
            total.fetch_add(count, Ordering::Relaxed);
        }
        if has_finished {
            self.tidy();
        }
        Ok(())
    }

    /// Compresses and removes finished files on a thread of its own, unless that is under way: then it happens after
    /// the next file.
    fn tidy(&mut self) {
        if self.tidying.as_ref().is_some_and(|tidying| !tidying.is_finished()) {
            return;
        }
        let (config, stats) = (Arc::clone(&self.config), Arc::clone(&self.stats));
        self.tidying = Some(spawn_blocking(move || match tidy(&config.directory, config.compress, config.max_files) {
            Ok(0) => {}
            Ok(removed) => {
                stats.removed.fetch_add(removed as u64, Ordering::Relaxed);
                warn!(removed, max_files = config.max_files, "the oldest accounting files were removed");
            }
            Err(why) => {
                stats.errors.fetch_add(1, Ordering::Relaxed);
                warn!(%why, directory = %config.directory.display(), "finished accounting files stay as they are");
            }
        }));
    }

    /// For tests that do not want to wait.
    #[cfg(test)]
    pub(super) fn retry_after(self, retry: Duration) -> Self {
        Self { retry, ..self }
    }

    async fn end(mut self) {
        if let Some(tidying) = self.tidying.take() {
            _ = tidying.await;
        }
        let Some(mut files) = self.files.take() else { return };
        let finished = spawn_blocking(move || files.finish()).await;
        match finished {
            Ok(Ok(true)) => {
                self.tidy();
                if let Some(tidying) = self.tidying.take() {
                    _ = tidying.await;
                }
            }
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(why)) => warn!(%why, "the open accounting file is finished at the next start"),
        }
    }
}

fn at(event: &Event) -> UnixMs {
    match event {
        Event::Fate(fate) => fate.at,
        Event::Attempt(attempt) => attempt.at,
    }
}

/// Finishes the file when it is due, and appends the lines of `events`. Whether a file was finished, and how many lines
/// there are of each kind.
fn append(files: &mut Files, events: &[Event], config: &Config, now: UnixMs) -> io::Result<(bool, [u64; 4])> {
    let has_finished = files.is_due(now) && files.finish()?;
    let (text, counts) = encode(events, config.format, config.records);
    if !text.is_empty() {
        files.append(&text, now)?;
    }
    Ok((has_finished, counts))
}

/// The lines of a batch, and how many there are of each kind. A line that cannot be written as text, which none is, is
/// left out rather than holding back all others for ever.
fn encode(events: &[Event], format: Format, records: Records) -> (Vec<u8>, [u64; 4]) {
    let (mut text, mut counts) = (Vec::new(), [0; 4]);
    for line in events.iter().flat_map(|event| lines(event, records)) {
        let len = text.len();
        let is_written = match format {
            Format::Json => json::write(&mut text, &line).is_ok(),
            Format::Csv => csv::write(&mut text, &line).is_ok(),
        };
        if is_written {
            counts[line.record as usize] += 1;
        } else {
            text.truncate(len);
        }
    }
    (text, counts)
}
