//! The engine with its threads, under load, until the power goes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice_mail::{ManualClock, QueueId, Shard};

use super::model::{Run, config};
use super::power::{Faults, PowerFiles};
use crate::contract::{self, done, message, octets};
use crate::disk::{self, Disk};
use crate::{ShardEvent, ShardSource, Spool, Window};

const SEGMENT: u64 = 64 << 10;

#[derive(Default)]
struct Ledger {
    accepted: HashSet<QueueId>,
    /// Settling was asked for, and was acknowledged.
    settling: HashSet<QueueId>,
    settled: HashSet<QueueId>,
}

async fn send(disk: Disk, ledger: Arc<Mutex<Ledger>>, sender: u64) {
    for number in sender * 10_000.. {
        let domain = format!("d{}.example", number % 5);
        let body = octets(500 + (number as usize * 37) % 3_000, number as u8);
        match disk.enqueue(message(number, &[&domain, "both.example"], body)).await {
            Ok(_) => {
                let mut ledger = ledger.lock().unwrap();
                ledger.accepted.extend([contract::id(number), contract::id(number).envelope(1)]);
            }
            Err(crate::EnqueueError::Full(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(_) => return,
        }
    }
}

async fn deliver(disk: Disk, ledger: Arc<Mutex<Ledger>>, clock: Arc<ManualClock>) {
    loop {
        // Segments grow old enough to be copied while their mail is settled.
        clock.advance(Duration::from_secs(1));
        let work = match disk.next().await {
            ShardEvent::Work(work) => work,
            ShardEvent::Owned(shard, _) => {
                disk.window(shard, Window { max_items: 40, max_bytes: 1 << 20, max_items_per_domain: 15 });
                continue;
            }
            ShardEvent::Draining(..) | ShardEvent::Lost(_) => return,
        };
        let id = work.envelope.queue_id;
        let number = u64::from_be_bytes(id.to_bytes()[6..14].try_into().unwrap());
        let Ok(body) = disk.body(work.id).await else { return };
        assert!(body == octets(500 + (number as usize * 37) % 3_000, number as u8), "the body of {id}");
        assert!(ledger.lock().unwrap().settling.insert(id), "{id} is handed out once");
        // Some stay handed out for ever.
        if number % 9 == 0 {
            continue;
        }
        let ticket = disk.settle(work.id, done(&work.envelope));
        let ledger = ledger.clone();
        tokio::spawn(async move {
            if ticket.await.is_ok() {
                ledger.lock().unwrap().settled.insert(id);
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_promised_under_load_holds_after_a_power_cut() {
    let mut copied = 0;
    for seed in 0..12 {
        let clock = contract::clock();
        let files = PowerFiles::new(seed, Faults::default());
        let config = disk::Config { max_bytes: 200 * SEGMENT, ..config(SEGMENT) };
        let disk = disk::open(config.clone(), Arc::new(files.clone()), clock.clone()).unwrap();
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        files.set_fuse(Some(200 + seed * 400));
        let senders = (0..8).map(|sender| tokio::spawn(send(disk.clone(), ledger.clone(), sender + 1)));
        let mut tasks: Vec<_> = senders.collect();
        tasks.push(tokio::spawn(deliver(disk.clone(), ledger.clone(), clock)));
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
        }
        assert!(!disk.may_send(Shard(0)), "the power is off");
        copied += disk.stats().compacted;
        tokio::task::spawn_blocking(move || drop(disk)).await.unwrap();
        files.power_cycle();
        let run = Run::start(&files, &contract::clock(), config).unwrap();
        let kept = run.kept().unwrap();
        let ledger = ledger.lock().unwrap();
        assert!(!ledger.accepted.is_empty());
        for id in &ledger.accepted {
            let may_be_gone = ledger.settling.contains(id);
            assert!(kept.contains_key(id) || may_be_gone, "seed {seed}: {id} was accepted and is lost");
        }
        for id in &ledger.settled {
            assert!(!kept.contains_key(id), "seed {seed}: {id} ended and is back");
        }
    }
    assert!(copied > 0, "segments were copied meanwhile");
}
