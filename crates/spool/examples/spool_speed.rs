//! How fast the embedded spool is on this machine.
//!
//! ```text
//! cargo run --release -p sluice-spool --example spool_speed -- FOLDER rate  [SECONDS] [OCTETS]
//! cargo run --release -p sluice-spool --example spool_speed -- FOLDER queue [ENVELOPES] [OCTETS]
//! ```
//! `rate`: messages accepted, handed out and settled a second, all durable, with 1, 20, 200 and 1,000 senders that
//! each wait for their answer. `queue`: memory and restart time with so many envelopes that wait.
#![expect(clippy::print_stdout, reason = "it tells its figures")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use sluice_mail::{
    About, Address, AttemptInfo, BodyFlags, Clock, EnhancedCode, Envelope, Fate, FateKind, Lane, Outcome, QueueId,
    Recipient, RecipientResult, Reply, Shard, UnixMs,
};
use sluice_spool::disk::{self, Config, Disk, SystemFiles};
use sluice_spool::{Decision, NewMessage, QueueView, ShardEvent, ShardSource, Spool, Window};

type Outcomes<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> UnixMs {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

fn main() -> Outcomes<()> {
    let mut args = std::env::args().skip(1);
    let (Some(dir), Some(what)) = (args.next(), args.next()) else {
        return Err("give a folder and `rate` or `queue`".into());
    };
    let mut number = |default: u64| args.next().map_or(Ok(default), |text| text.parse::<u64>());
    let dir = PathBuf::from(dir);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match what.as_str() {
        "rate" => {
            let (seconds, octets) = (number(5)?, number(4096)?);
            println!("senders   msg/s   us/sync  records/sync  read back");
            for senders in [1, 20, 200, 1_000] {
                runtime.block_on(rate(dir.join(format!("rate-{senders}")), senders, seconds, octets as usize))?;
            }
            Ok(())
        }
        "queue" => {
            let (envelopes, octets) = (number(1_000_000)?, number(4096)?);
            runtime.block_on(queue(dir.join("queue"), envelopes, octets as usize))
        }
        _ => Err("`rate` or `queue`".into()),
    }
}

fn open(dir: &std::path::Path) -> Outcomes<Disk> {
    let config = Config { max_envelopes: 10_000_000, ..Config::new(dir.to_owned()) };
    Ok(disk::open(config, Arc::new(SystemFiles), Arc::new(Wall))?)
}

async fn rate(dir: PathBuf, senders: u64, seconds: u64, octets: usize) -> Outcomes<()> {
    let disk = open(&dir)?;
    disk.window(Shard(0), Window { max_items: 4_000, max_bytes: 64 << 20, max_items_per_domain: 1_000 });
    let (stop, settled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let body = Bytes::from(vec![b'x'; octets]);
    let sending: Vec<_> =
        (0..senders).map(|sender| tokio::spawn(send(disk.clone(), sender, body.clone(), stop.clone()))).collect();
    let delivering = tokio::spawn(deliver(disk.clone(), settled.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, done, start) = (disk.stats(), settled.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (after, took) = (disk.stats(), start.elapsed().as_secs_f64());
    let rate = (settled.load(Ordering::Relaxed) - done) as f64 / took;
    let batches = (after.batches - before.batches).max(1) as f64;
    println!(
        "{senders:>7} {rate:>7.0} {:>9.0} {:>13.1} {:>10}",
        (after.sync_us - before.sync_us) as f64 / batches,
        (after.frames - before.frames) as f64 / batches,
        after.read_back - before.read_back,
    );
    stop.store(true, Ordering::Relaxed);
    for sender in sending {
        sender.await??;
    }
    delivering.abort();
    tokio::task::spawn_blocking(move || disk.close()).await?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

async fn send(disk: Disk, sender: u64, body: Bytes, stop: Arc<AtomicBool>) -> Outcomes<()> {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let envelope = envelope(sender << 40 | number, &body)?;
        disk.enqueue(NewMessage { envelopes: vec![envelope], body: body.clone() }).await?;
    }
    Ok(())
}

async fn deliver(disk: Disk, settled: Arc<AtomicU64>) {
    loop {
        let ShardEvent::Work(work) = disk.next().await else { continue };
        let ticket = disk.settle(work.id, Decision::Done(Box::new(fate(&work.envelope))));
        let settled = settled.clone();
        tokio::spawn(async move {
            if ticket.await.is_ok() {
                settled.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

async fn queue(dir: PathBuf, envelopes: u64, octets: usize) -> Outcomes<()> {
    let disk = open(&dir)?;
    let body = Bytes::from(vec![b'x'; octets]);
    let start = Instant::now();
    let senders: Vec<_> = (0..500u64)
        .map(|sender| {
            let (disk, body) = (disk.clone(), body.clone());
            tokio::spawn(async move {
                for number in (sender..envelopes).step_by(500) {
                    let mut envelope = envelope(number, &body)?;
                    envelope.not_before = UnixMs(u64::MAX >> 16);
                    disk.enqueue(NewMessage { envelopes: vec![envelope], body: body.clone() }).await?;
                }
                Outcomes::Ok(())
            })
        })
        .collect();
    for sender in senders {
        sender.await??;
    }
    let waiting = disk.totals().waiting;
    println!("{waiting} envelopes wait, accepted in {:.1} s; {}", start.elapsed().as_secs_f64(), memory());
    tokio::task::spawn_blocking(move || disk.close()).await?;
    let start = Instant::now();
    let disk = open(&dir)?;
    let waiting = disk.totals().waiting;
    println!("{waiting} envelopes wait, found in {:.1} s; {}", start.elapsed().as_secs_f64(), memory());
    let start = Instant::now();
    let domains = disk.count(&sluice_spool::Selector::default(), 10).len();
    println!("counted by domain ({domains} shown) in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    tokio::task::spawn_blocking(move || disk.close()).await?;
    Ok(())
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}

fn envelope(number: u64, body: &Bytes) -> Outcomes<Envelope> {
    let recipient = Address::parse(&format!("user{}@d{}.example", number % 1_000, number % 97))?;
    let now = Wall.wall();
    Ok(Envelope {
        queue_id: QueueId::new(now, number, 0),
        generation: 0,
        account: "demo".into(),
        campaign: None,
        tag: None,
        lane: Lane::Bulk,
        mail_from: Address::parse("sender@example.org").ok(),
        domain: recipient.host().clone(),
        recipients: vec![Recipient::new(recipient)],
        ret: None,
        envid: None,
        pool: Some("default".into()),
        accepted: now,
        expires: now.plus(Duration::from_secs(400_000)),
        not_before: UnixMs(0),
        flags: BodyFlags::default(),
        size: body.len() as u32,
        body_crc: 0,
        attempts: 0,
        last_reply: None,
        delay_notices: 0,
        report_on: None,
    })
}

fn fate(envelope: &Envelope) -> Fate {
    let reply = Reply::new(250, EnhancedCode(2, 0, 0), "Ok: queued as 4C2B1A");
    let result = |r: &Recipient| RecipientResult {
        address: r.address.clone(),
        orcpt: None,
        outcome: Outcome::Delivered { reply: reply.clone() },
        decided_in: 1,
    };
    Fate {
        about: About::envelope(envelope),
        kind: FateKind::Delivered,
        results: envelope.recipients.iter().map(result).collect(),
        attempts: 1,
        at: Wall.wall(),
        attempt: AttemptInfo::default(),
        report: None,
    }
}
