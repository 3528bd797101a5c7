//! Damage on purpose: what is cut off, flipped, missing, or of a newer format.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use sluice_mail::{QueueId, Shard};

use super::model::{Run, config};
use super::power::{Faults, PowerFiles};
use crate::contract::{self, done, id, message, octets};
use crate::disk::frame::{Header, Identity};
use crate::disk::segment::{self, DATA_START, HeaderState};
use crate::disk::{self, Config, OpenError};
use crate::{ShardSource, Window};

const SEGMENT: u64 = 16 << 10;

/// A log with one message per batch, and where each batch lies.
struct Written {
    files: PowerFiles,
    /// Message, segment, place of its batch.
    batches: Vec<(u64, u32, Range<u64>)>,
}

fn at(files: &PowerFiles) -> Run {
    Run::start(files, &contract::clock(), config(SEGMENT)).unwrap()
}

fn path(segment: u32) -> PathBuf {
    segment::path(&config(SEGMENT).dir, segment)
}

/// Messages of 300 octets until `segments` segments are begun and the last holds `last` of them.
fn write(segments: u32, last: usize) -> Written {
    let files = PowerFiles::new(1, Faults::default());
    let mut run = at(&files);
    let mut batches: Vec<(u64, u32, Range<u64>)> = Vec::new();
    for number in 1.. {
        let before = place(&run);
        run.keep(message(number, &["example.org"], octets(300, number as u8))).unwrap();
        let (segment, end) = place(&run);
        let start = if before.0 == segment { before.1 } else { DATA_START };
        batches.push((number, segment, start..end));
        if batches.iter().filter(|(_, s, _)| *s == segments).count() == last {
            break;
        }
    }
    drop(run);
    Written { files: files.fork(), batches }
}

fn place(run: &Run) -> (u32, u64) {
    let state = run.disk.shared.state();
    state.index.segments.last_key_value().map(|(id, info)| (*id, info.end)).unwrap()
}

impl Written {
    /// The damaged log, opened: the messages that are there.
    fn open(&self, damage: impl FnOnce(&PowerFiles)) -> Result<BTreeSet<QueueId>, OpenError> {
        let files = self.files.fork();
        damage(&files);
        let run = Run::start(&files, &contract::clock(), config(SEGMENT))?;
        Ok(run.kept().unwrap().into_keys().collect())
    }

    fn flip(&self, segment: u32, at: u64) -> Result<BTreeSet<QueueId>, OpenError> {
        self.open(|files| files.edit(&path(segment), |bytes| bytes[at as usize] ^= 1 << (at % 8)))
    }

    fn all(&self) -> BTreeSet<QueueId> {
        self.batches.iter().map(|(number, ..)| id(*number)).collect()
    }

    fn last_batch(&self) -> &(u64, u32, Range<u64>) {
        self.batches.last().unwrap()
    }
}

#[test]
fn a_tail_cut_off_at_any_octet_keeps_every_whole_batch() {
    let written = write(2, 3);
    let (_, tail, last) = written.last_batch().clone();
    for len in DATA_START..last.end {
        let kept = written.open(|files| files.edit(&path(tail), |bytes| bytes.truncate(len as usize))).unwrap();
        let whole = written.batches.iter().filter(|(_, segment, place)| *segment < tail || place.end <= len);
        assert_eq!(kept, whole.map(|(number, ..)| id(*number)).collect(), "cut at {len}");
    }
    for len in [0, 31, 32, 4095] {
        let refused = written.open(|files| files.edit(&path(tail), |bytes| bytes.truncate(len)));
        assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "cut at {len}: {refused:?}");
    }
}

#[test]
fn an_older_segment_that_is_cut_off_is_refused() {
    let written = write(2, 1);
    let (_, _, place) = written.batches.iter().rfind(|(_, segment, _)| *segment == 1).unwrap().clone();
    for len in DATA_START..place.end {
        let refused = written.open(|files| files.edit(&path(1), |bytes| bytes.truncate(len as usize)));
        assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "cut at {len}: {refused:?}");
    }
}

#[test]
fn every_flip_in_an_older_segment_is_refused() {
    let written = write(2, 2);
    let (_, _, place) = written.batches.iter().rfind(|(_, segment, _)| *segment == 1).unwrap().clone();
    for at in DATA_START..place.end {
        let refused = written.flip(1, at);
        assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "flip at {at}: {refused:?}");
    }
    for at in (0..DATA_START).chain(place.end..SEGMENT) {
        assert_eq!(written.flip(1, at).unwrap(), written.all(), "a flip where nothing is, or in one of two headers");
    }
}

#[test]
fn a_flip_in_the_tail_is_refused_except_in_the_last_batch() {
    let written = write(2, 4);
    let (last, tail, place) = written.last_batch().clone();
    for at in DATA_START..place.start {
        let refused = written.flip(tail, at);
        assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "flip at {at}: {refused:?}");
    }
    // It cannot be told from a batch that was being written when the power went.
    let without_last: BTreeSet<_> = written.all().into_iter().filter(|kept| *kept != id(last)).collect();
    for at in place.clone() {
        assert_eq!(written.flip(tail, at).unwrap(), without_last, "flip at {at}");
    }
    for at in place.end..SEGMENT {
        assert_eq!(written.flip(tail, at).unwrap(), written.all(), "flip at {at}");
    }
}

#[test]
fn after_a_clean_end_a_flip_in_any_mail_is_refused() {
    let files = PowerFiles::new(1, Faults::default());
    let mut run = at(&files);
    for number in 1..4 {
        run.keep(message(number, &["example.org"], octets(300, 0))).unwrap();
    }
    let (tail, end) = place(&run);
    run.committer.finish();
    drop(run);
    let written = Written { files: files.fork(), batches: Vec::new() };
    for at in DATA_START..end {
        let refused = written.flip(tail, at);
        assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "flip at {at}: {refused:?}");
    }
}

#[test]
fn a_missing_segment_is_named() {
    let written = write(3, 1);
    let refused = written.open(|files| crate::disk::Files::remove(files, &path(2)).unwrap()).unwrap_err();
    assert!(matches!(&refused, OpenError::Missing { path: missing } if *missing == path(2)), "{refused}");
    assert!(refused.to_string().contains("seg-00000002.log"), "{refused}");
}

#[test]
fn a_newer_format_stops_the_start_and_says_so() {
    let written = write(1, 2);
    let (_, tail, place) = written.last_batch().clone();
    let identity = identity(&written.files, tail);
    let newer = |at: u64| {
        written.open(|files| {
            files.edit(&path(tail), |bytes| {
                let at = at as usize;
                let header = Header::read(&bytes[at..], identity).unwrap();
                Header { version: 2, ..header }.write(identity, &mut bytes[at..]);
            });
        })
    };
    for at in [DATA_START, place.start] {
        let refused = newer(at).unwrap_err();
        assert!(matches!(refused, OpenError::Newer { version: 2, offset, .. } if offset == at), "{refused}");
        assert!(refused.to_string().contains("newer than this program reads"), "{refused}");
    }
    let header = written.open(|files| {
        files.edit(&path(tail), |bytes| {
            for copy in [0, 2048] {
                bytes[copy + 8] = 2;
                let crc = crc32c::crc32c(&bytes[copy..copy + 28]);
                bytes[copy + 28..copy + 32].copy_from_slice(&crc.to_le_bytes());
            }
        });
    });
    assert!(matches!(header, Err(OpenError::Newer { version: 2, .. })), "{header:?}");
}

fn identity(files: &PowerFiles, segment: u32) -> Identity {
    let file = crate::disk::Files::open(files, &path(segment)).unwrap();
    match segment::read_header(&*file).unwrap() {
        HeaderState::Fine(identity, _) => identity,
        other @ (HeaderState::Newer(_) | HeaderState::Unreadable) => panic!("{other:?}"),
    }
}

/// Opens with salvage, and once more without: what is there, and how much was reported lost.
fn salvage(files: &PowerFiles) -> (BTreeSet<QueueId>, usize) {
    let config = Config { salvage: true, ..config(SEGMENT) };
    let disk = disk::open(config, Arc::new(files.clone()), contract::clock()).unwrap();
    let lost = disk.losses().len();
    disk.close();
    drop(disk);
    (at(files).kept().unwrap().into_keys().collect(), lost)
}

#[test]
fn salvage_keeps_all_but_what_is_damaged_and_leaves_a_sound_log() {
    let written = write(3, 3);
    for (number, segment, place) in &written.batches {
        let files = written.files.fork();
        // Behind a checkpoint in the same batch.
        let at = place.end - 100;
        files.edit(&path(*segment), |bytes| bytes[at as usize] ^= 4);
        let (kept, lost) = salvage(&files);
        let expected: BTreeSet<_> = written.all().into_iter().filter(|kept| *kept != id(*number)).collect();
        assert_eq!(kept, expected, "message {number} in segment {segment}");
        let torn = written.last_batch().0 == *number;
        assert_eq!(lost, usize::from(!torn), "message {number} in segment {segment}");
    }
}

#[test]
fn salvage_finds_the_segments_without_a_checkpoint() {
    let written = write(3, 2);
    let files = written.files.fork();
    files.edit(&path(3), |bytes| bytes[DATA_START as usize + 9] ^= 4);
    assert_eq!(salvage(&files), (written.all(), 1));
}

#[test]
fn salvage_goes_on_without_a_segment() {
    let written = write(3, 1);
    let files = written.files.fork();
    crate::disk::Files::remove(&files, &path(2)).unwrap();
    let (kept, lost) = salvage(&files);
    let there = written.batches.iter().filter(|(_, segment, _)| *segment != 2);
    assert_eq!(kept, there.map(|(number, ..)| id(*number)).collect());
    assert_eq!(lost, 1);
}

#[test]
fn salvage_does_not_take_one_envelope_for_another_that_is_gone() {
    let files = PowerFiles::new(1, Faults::default());
    let mut run = at(&files);
    let wide = Window { max_items: 1_000, max_bytes: 1 << 30, max_items_per_domain: 1_000 };
    run.disk.window(Shard(0), wide);
    let keep = |run: &mut Run, number| {
        run.keep(message(number, &["example.org"], octets(300, number as u8))).unwrap();
        place(run)
    };
    let first = keep(&mut run, 1);
    let last = (2..).find(|number| keep(&mut run, *number).0 > first.0).unwrap();
    let mut works: Vec<_> = (1..=last).map(|_| run.take().unwrap()).collect();
    // One of the first segment and the one of the second: told of in the second, which is given up.
    for work in [works.pop().unwrap(), works.remove(1)] {
        run.settle(work.id, done(&work.envelope)).unwrap().unwrap();
    }
    for number in last + 1.. {
        let begun = keep(&mut run, number).0;
        let work = run.take().unwrap();
        run.settle(work.id, done(&work.envelope)).unwrap().unwrap();
        if begun > first.0 + 1 {
            break;
        }
    }
    run.tidy();
    assert!(!run.disk.shared.state().index.segments.contains_key(&(first.0 + 1)));
    drop(run);
    let files = files.fork();
    files.edit(&path(first.0), |bytes| bytes[first.1 as usize - 100] ^= 4);
    let (kept, lost) = salvage(&files);
    assert_eq!(lost, 1);
    for number in 3..last {
        assert!(kept.contains(&id(number)), "message {number} of {last}");
    }
}

#[test]
fn a_folder_in_use_is_named() {
    let files = PowerFiles::new(1, Faults::default());
    let run = at(&files);
    let refused = disk::open(config(SEGMENT), Arc::new(files.clone()), contract::clock()).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    drop(run);
    at(&files);
}

#[test]
fn settings_that_cannot_be_are_named() {
    let files = PowerFiles::new(1, Faults::default());
    for (config, name) in [
        (Config { segment_bytes: 5000, ..config(SEGMENT) }, "spool.segment_bytes"),
        (Config { max_message_bytes: 20_000, ..config(SEGMENT) }, "spool.segment_bytes"),
        (Config { max_bytes: 1, ..config(SEGMENT) }, "spool.max_bytes"),
    ] {
        let refused = disk::open(config, Arc::new(files.clone()), contract::clock()).unwrap_err();
        assert!(refused.to_string().contains(name), "{refused}");
    }
}

#[test]
fn what_ended_stays_ended_when_its_segment_is_the_tail() {
    let files = PowerFiles::new(1, Faults::default());
    let mut run = at(&files);
    run.keep(message(1, &["example.org"], octets(300, 0))).unwrap();
    let work = run.take().unwrap();
    assert_eq!(run.settle(work.id, done(&work.envelope)), Some(Ok(())));
    drop(run);
    files.power_cycle();
    assert!(at(&files).kept().unwrap().is_empty());
}
