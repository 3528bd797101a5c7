use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sluice_mail::{
    About, Address, Attempt, AttemptInfo, AttemptResult, Clock as _, EnhancedCode, Event, Fate, FateKind, Lane,
    ManualClock, Outcome, QueueId, RecipientResult, Reply, Stage, Tried,
};
use sluice_spool::{BodyError, Events, FateLog, Position, SettleError};
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;

const NOW: UnixMs = UnixMs(1_795_464_000_000);

/// A log of events in memory, with what a test wants to see of it.
#[derive(Default)]
struct Log(Mutex<LogState>);

#[derive(Default)]
struct LogState {
    events: Vec<Event>,
    read: usize,
    committed: Option<usize>,
    fail_commits: bool,
}

impl Log {
    fn with(&self, change: impl FnOnce(&mut LogState)) {
        change(&mut self.0.lock().unwrap());
    }

    fn committed(&self) -> Option<usize> {
        self.0.lock().unwrap().committed
    }

    /// What a crash of the process does to a reader.
    fn crash(&self) {
        self.with(|state| state.read = state.committed.unwrap_or(0));
    }
}

impl FateLog for Log {
    fn read(&self, reader: &str, max: usize) -> BoxFuture<'_, Result<Events, BodyError>> {
        assert_eq!(reader, "accounting");
        let mut state = self.0.lock().unwrap();
        let events: Vec<_> = state.events[state.read..].iter().take(max).cloned().collect();
        state.read += events.len();
        let next = Position(state.read as u64);
        Box::pin(std::future::ready(Ok(Events { events, next })))
    }

    fn commit(&self, _: &str, at: Position) -> BoxFuture<'_, Result<(), SettleError>> {
        let mut state = self.0.lock().unwrap();
        let result = if state.fail_commits {
            Err(SettleError::Poisoned("no".into()))
        } else {
            state.committed = Some(at.0 as usize);
            Ok(())
        };
        Box::pin(std::future::ready(result))
    }

    fn forget(&self, _: &str) -> BoxFuture<'_, Result<(), SettleError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn about(number: u64) -> About {
    About {
        queue_id: QueueId::new(NOW, number, 0),
        account: "shop".into(),
        campaign: Some("spring".into()),
        tag: None,
        lane: Lane::Bulk,
        mail_from: Some(address("ann@shop.example")),
        envid: Some("a+2Bb".into()),
        domain: address("bob@example.org").host().clone(),
        pool: Some("main".into()),
        size: 1234,
        accepted: NOW,
        report_on: None,
    }
}

fn info() -> AttemptInfo {
    AttemptInfo {
        site: Some("mx.example.org".into()),
        mx: Some("mx.example.org".into()),
        peer: "192.0.2.1:25".parse().ok(),
        source: Some("198.51.100.7".into()),
        tls: Some("TLSv1.3 TLS13_AES_256_GCM_SHA384".into()),
        duration: Duration::from_millis(42),
    }
}

fn delivered() -> Outcome {
    Outcome::Delivered { reply: Reply::new(250, EnhancedCode(2, 0, 0), "queued as 4711") }
}

fn bounced() -> Outcome {
    let reply = Reply::new(550, EnhancedCode(5, 1, 1), "no such user, \"sorry\"\nor so");
    Outcome::Bounced { status: EnhancedCode(5, 1, 1), reply }
}

fn deferred(of_site: bool) -> Tried {
    let reply = Reply { code: 451, enhanced: Some(EnhancedCode(4, 2, 2)), text: "mailbox full".into() };
    Tried::Deferred { reply, stage: Stage::Rcpt, of_site }
}

fn fate(number: u64, kind: FateKind, results: &[(&str, Outcome, u32)]) -> Event {
    let result = |(to, outcome, decided_in): &(&str, Outcome, u32)| RecipientResult {
        address: address(to),
        orcpt: None,
        outcome: outcome.clone(),
        decided_in: *decided_in,
    };
    Event::Fate(Box::new(Fate {
        about: about(number),
        kind,
        results: results.iter().map(result).collect(),
        attempts: 1,
        at: UnixMs(NOW.0 + 1_500),
        attempt: info(),
        report: Some(QueueId::new(NOW, 99, 0)),
    }))
}

fn attempt(number: u64, nth: u32, results: &[(&str, Tried)]) -> Event {
    let result = |(to, tried): &(&str, Tried)| AttemptResult {
        address: address(to),
        orcpt: Some("rfc822;bob@example.org".into()),
        tried: tried.clone(),
    };
    Event::Attempt(Box::new(Attempt {
        about: about(number),
        number: nth,
        results: results.iter().map(result).collect(),
        at: UnixMs(NOW.0 + 1_000),
        retry_at: UnixMs(NOW.0 + 301_000),
        attempt: info(),
        report: None,
    }))
}

/// One delivery each.
fn deliveries(numbers: std::ops::Range<u64>) -> Vec<Event> {
    numbers.map(|number| fate(number, FateKind::Delivered, &[("bob@example.org", delivered(), 1)])).collect()
}

struct Rig {
    folder: TempDir,
    clock: Arc<ManualClock>,
    log: Arc<Log>,
    config: Config,
}

impl Rig {
    #[expect(clippy::disallowed_methods, reason = "a place to begin for a clock that a test moves")]
    fn new(format: Format) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            directory: folder.path().join("acct"),
            format,
            records: Records::of(Record::ALL),
            rotate_every: Duration::from_secs(3600),
            rotate_size: 1 << 20,
            compress: false,
            max_files: 100,
        };
        let clock = Arc::new(ManualClock::new(std::time::Instant::now(), NOW));
        Self { folder, clock, log: Arc::default(), config }
    }

    fn tell(&self, events: Vec<Event>) {
        self.log.with(|state| state.events.extend(events));
    }

    fn open(&self) -> Accounting {
        Accounting::open(self.config.clone(), Arc::clone(&self.clock) as _).unwrap()
    }

    /// A run that is told to stop at once: it writes all that there is and ends.
    async fn run(&self) -> Arc<Stats> {
        let (accounting, (_stop, stops)) = (self.open(), watch::channel(true));
        let stats = accounting.stats();
        accounting.run(Arc::clone(&self.log) as _, stops).await;
        stats
    }

    /// Names of the files, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.config.directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.config.directory.join(name)
    }

    /// What all files hold, in the order of their names.
    fn text(&self) -> String {
        self.names().iter().map(|name| read(&self.path(name))).collect()
    }

    /// The `id`s of all lines.
    fn ids(&self) -> Vec<String> {
        let text = self.text();
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        text.lines().map(|text| line(text)["id"].as_str().unwrap().to_owned()).collect()
    }
}

fn read(path: &Path) -> String {
    let octets = fs::read(path).unwrap();
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(&octets[..]).read_to_string(&mut text).unwrap();
        text
    } else {
        String::from_utf8(octets).unwrap()
    }
}

/// Types and outcomes of the lines of an event.
fn told(event: &Event) -> Vec<(String, &'static str, &'static str)> {
    let lines = lines::lines(event, Records::of(Record::ALL));
    let about = event.about().queue_id.to_string();
    lines.iter().map(|l| (l.id().replace(&about, "Q"), l.record.as_str(), l.outcome)).collect()
}

#[test]
fn each_recipient_is_told_once() {
    let expired =
        Outcome::Bounced { status: EnhancedCode(5, 4, 7), reply: Reply::new(554, EnhancedCode(5, 4, 7), "x") };
    let check = |event: Event, expect: &[(&str, &str, &str)]| {
        let expect: Vec<_> = expect.iter().map(|(id, record, outcome)| ((*id).to_owned(), *record, *outcome)).collect();
        let told = told(&event);
        let told: Vec<_> = told.iter().map(|(id, record, outcome)| (id.clone(), *record, *outcome)).collect();
        assert_eq!(told, expect);
    };
    check(
        attempt(
            1,
            1,
            &[
                ("a@example.org", Tried::Decided(delivered())),
                ("b@example.org", Tried::Decided(bounced())),
                ("c@example.org", deferred(false)),
                ("d@example.org", deferred(true)),
            ],
        ),
        &[
            ("Q-1-0", "d", "delivered"),
            ("Q-1-1", "b", "bounced"),
            ("Q-1-2", "t", "deferred"),
            ("Q-1-3", "tq", "deferred"),
        ],
    );
    // Of the first two the attempt's record told.
    check(
        fate(
            1,
            FateKind::Bounced,
            &[
                ("a@example.org", delivered(), 1),
                ("b@example.org", bounced(), 1),
                ("c@example.org", delivered(), 2),
                ("d@example.org", bounced(), 2),
            ],
        ),
        &[("Q-2-2", "d", "delivered"), ("Q-2-3", "b", "bounced")],
    );
    // Given up before its second attempt: the number is what that would have had.
    check(
        fate(1, FateKind::Expired, &[("a@example.org", delivered(), 1), ("c@example.org", expired.clone(), 2)]),
        &[("Q-2-1", "b", "expired")],
    );
    // In its last attempt one was refused, and time was over for the other.
    check(
        fate(1, FateKind::Expired, &[("a@example.org", bounced(), 1), ("c@example.org", expired, 1)]),
        &[("Q-1-0", "b", "bounced"), ("Q-1-1", "b", "expired")],
    );
    check(fate(1, FateKind::Cancelled, &[("a@example.org", bounced(), 0)]), &[("Q-0-0", "b", "cancelled")]);
}

#[tokio::test]
async fn json_lines_tell_all_that_is_known() {
    let rig = Rig::new(Format::Json);
    rig.tell(vec![
        attempt(1, 1, &[("bob@example.org", deferred(false))]),
        fate(1, FateKind::Bounced, &[("bob@example.org", bounced(), 2)]),
    ]);
    let stats = rig.run().await;
    assert_eq!(rig.names(), ["acct-20261123T200000-0001.jsonl"]);
    let text = rig.text();
    let mut lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert_eq!(
        lines.next().unwrap(),
        serde_json::json!({
            "id": "01M84ZWWG00000000000002000-1-0", "type": "t", "outcome": "deferred",
            "time": "2026-11-23T20:00:01.000Z", "accepted": "2026-11-23T20:00:00.000Z",
            "queue_id": "01M84ZWWG00000000000002000", "account": "shop", "campaign": "spring", "lane": "bulk",
            "mail_from": "ann@shop.example", "recipient": "bob@example.org", "domain": "example.org",
            "orcpt": "rfc822;bob@example.org", "envid": "a+b", "size": 1234, "attempt": 1, "status": "4.2.2",
            "reply": "451 4.2.2 mailbox full", "class": "quota-issues", "stage": "rcpt",
            "retry_at": "2026-11-23T20:05:01.000Z", "pool": "main", "site": "mx.example.org", "mx": "mx.example.org",
            "peer": "192.0.2.1:25", "source": "198.51.100.7", "tls": "TLSv1.3 TLS13_AES_256_GCM_SHA384",
            "duration_ms": 42
        })
    );
    let bounce = lines.next().unwrap();
    for (name, value) in [
        ("id", "01M84ZWWG00000000000002000-2-0"),
        ("type", "b"),
        ("status", "5.1.1"),
        ("class", "bad-mailbox"),
        ("reply", "550 5.1.1 no such user, \"sorry\" / or so"),
        ("report", "01M84ZWWG00000000000066000"),
    ] {
        assert_eq!(bounce[name], value, "{name}");
    }
    assert_eq!((stats.lines(Record::Deferred), stats.lines(Record::Bounced), stats.errors()), (1, 1, 0));
    assert_eq!(stats.lag(rig.clock.wall()), Duration::ZERO);
}

#[tokio::test]
async fn csv_has_powermtas_columns_and_one_line_for_a_row() {
    let mut rig = Rig::new(Format::Csv);
    rig.config.records = Records::of([Record::Delivered, Record::Bounced]);
    rig.tell(vec![
        attempt(1, 1, &[("bob@example.org", deferred(false))]),
        fate(1, FateKind::Bounced, &[("bob@example.org", bounced(), 2)]),
    ]);
    rig.run().await;
    let expect = "type,timeLogged,timeQueued,orig,rcpt,orcpt,dsnAction,dsnStatus,dsnDiag,dsnMta,bounceCat,srcType,\
                  srcMta,dlvType,dlvSourceIp,dlvDestinationIp,dlvEsmtpAvailable,dlvSize,vmta,jobId,envId,queue,\
                  vmtaPool\nb,2026-11-23 20:00:01+0000,2026-11-23 20:00:00+0000,ann@shop.example,bob@example.org,,\
                  failed,5.1.1,\"smtp;550 5.1.1 no such user, \"\"sorry\"\" / or so\",mx.example.org (192.0.2.1),\
                  bad-mailbox,smtp,shop,smtp,198.51.100.7,192.0.2.1,,1234,198.51.100.7,spring,a+b,\
                  example.org/198.51.100.7,main\n";
    assert_eq!(rig.text(), expect);
    let mut odd = about(2);
    odd.envid = Some("x+0D+0Ad,evil".into());
    let Event::Fate(mut fate) = fate(2, FateKind::Delivered, &[("bob@example.org", delivered(), 1)]) else { panic!() };
    fate.about = odd;
    rig.tell(vec![Event::Fate(fate)]);
    rig.clock.advance(Duration::from_secs(1));
    rig.run().await;
    let text = read(&rig.path("acct-20261123T200001-0001.csv"));
    assert_eq!(text.lines().count(), 2, "a header in each file, and a row");
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let row = reader.records().next().unwrap().unwrap();
    assert_eq!((row.len(), &row[20]), (23, "x  d,evil"));
}

#[tokio::test]
async fn a_crash_between_write_and_commit_repeats_and_loses_nothing() {
    let rig = Rig::new(Format::Json);
    rig.tell(deliveries(0..1200));
    rig.log.with(|state| state.fail_commits = true);
    // Ends at the commit that fails, as a crash would.
    let stats = rig.run().await;
    assert_eq!((stats.errors(), rig.log.committed()), (1, None));
    rig.log.with(|state| state.fail_commits = false);
    rig.log.crash();
    rig.run().await;
    let ids = rig.ids();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (1700, 1200), "one batch is there twice");
    assert_eq!(rig.log.committed(), Some(1200));
    rig.run().await;
    assert_eq!(rig.ids().len(), 1700, "and nothing is written again");
}

#[tokio::test]
async fn what_a_crash_left_is_cut_to_whole_lines_and_continued() {
    let rig = Rig::new(Format::Json);
    fs::create_dir(&rig.config.directory).unwrap();
    let name = "acct-20261123T190000-0001.jsonl";
    fs::write(rig.path(&format!("{name}.open")), "{\"id\":\"whole\"}\n{\"id\":\"to").unwrap();
    fs::write(rig.path("acct-20261123T180000-0001.csv.open"), "type\nd\nd,to").unwrap();
    fs::write(rig.path("acct-20261123T170000-0001.jsonl.open"), "{\"id\":\"torn").unwrap();
    rig.tell(deliveries(0..1));
    rig.run().await;
    assert_eq!(rig.names(), ["acct-20261123T180000-0001.csv", name]);
    assert_eq!(read(&rig.path("acct-20261123T180000-0001.csv")), "type\nd\n");
    let text = read(&rig.path(name));
    assert!(text.starts_with("{\"id\":\"whole\"}\n{\"id\":\"01M8"), "{text}");
    assert_eq!(text.lines().count(), 2);
}

#[tokio::test]
async fn files_are_finished_by_size() {
    let mut rig = Rig::new(Format::Json);
    rig.config.rotate_size = 1000;
    rig.tell(deliveries(0..1100));
    rig.run().await;
    let expect = [1, 2, 3].map(|nth| format!("acct-20261123T200000-{nth:04}.jsonl"));
    assert_eq!(rig.names(), expect, "three batches");
    assert_eq!(rig.ids().len(), 1100);
}

#[tokio::test]
async fn files_are_finished_by_time_when_nothing_happens() {
    let rig = Rig::new(Format::Json);
    rig.tell(deliveries(0..1));
    let (stop, stops) = watch::channel(false);
    let running = tokio::spawn(rig.open().run(Arc::clone(&rig.log) as _, stops));
    let open = "acct-20261123T200000-0001.jsonl.open";
    wait_for(|| rig.log.committed() == Some(1)).await;
    assert_eq!(rig.names(), [open]);
    rig.clock.advance(Duration::from_secs(3600));
    wait_for(|| rig.names() == [open.trim_end_matches(".open")]).await;
    stop.send_replace(true);
    running.await.unwrap();
    assert_eq!(rig.names().len(), 1, "no empty file is made");
}

#[tokio::test]
async fn what_is_told_before_the_stop_is_written() {
    let rig = Rig::new(Format::Json);
    let (stop, stops) = watch::channel(false);
    let running = tokio::spawn(rig.open().run(Arc::clone(&rig.log) as _, stops));
    wait_for(|| rig.log.committed() == Some(0)).await;
    rig.tell(deliveries(0..700));
    stop.send_replace(true);
    running.await.unwrap();
    assert_eq!((rig.ids().len(), rig.log.committed()), (700, Some(700)));
    assert!(rig.names().iter().all(|name| name.ends_with(".jsonl")));
}

#[tokio::test]
async fn finished_files_are_compressed_and_the_oldest_removed() {
    let mut rig = Rig::new(Format::Json);
    (rig.config.compress, rig.config.max_files) = (true, 2);
    for number in 0..4 {
        rig.tell(deliveries(number..number + 1));
        rig.run().await;
        rig.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(rig.names(), ["acct-20261123T200200-0001.jsonl.gz", "acct-20261123T200300-0001.jsonl.gz"]);
    assert_eq!(rig.ids().len(), 2);
    // Half done by a crash.
    fs::write(rig.path("acct-20261123T200500-0001.jsonl"), "{\"id\":\"x\"}\n").unwrap();
    fs::write(rig.path("acct-20261123T200500-0001.jsonl.gz.tmp"), "torn").unwrap();
    rig.run().await;
    assert_eq!(rig.names(), ["acct-20261123T200300-0001.jsonl.gz", "acct-20261123T200500-0001.jsonl.gz"]);
    assert_eq!(rig.ids()[1], "x");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_tried_again_until_it_can() {
    let rig = Rig::new(Format::Json);
    let accounting = rig.open().retry_after(Duration::from_millis(5));
    let (stats, (stop, stops)) = (accounting.stats(), watch::channel(false));
    fs::remove_dir(&rig.config.directory).unwrap();
    rig.tell(deliveries(0..3));
    let running = tokio::spawn(accounting.run(Arc::clone(&rig.log) as _, stops));
    wait_for(|| stats.errors() > 2).await;
    assert_eq!(rig.log.committed(), None);
    assert!(stats.lag(UnixMs(NOW.0 + 60_000)) >= Duration::from_secs(58));
    fs::create_dir(&rig.config.directory).unwrap();
    wait_for(|| rig.log.committed() == Some(3)).await;
    stop.send_replace(true);
    running.await.unwrap();
    assert_eq!(rig.ids().len(), 3);
    assert_eq!(stats.lag(UnixMs(NOW.0 + 60_000)), Duration::ZERO);
}

#[test]
fn a_folder_that_cannot_be_used_is_found_at_the_start() {
    let mut rig = Rig::new(Format::Json);
    fs::write(rig.folder.path().join("file"), "").unwrap();
    rig.config.directory = rig.folder.path().join("file");
    assert!(Accounting::open(rig.config.clone(), Arc::clone(&rig.clock) as _).is_err());
}

/// Looks until `done`, for ten seconds at most.
async fn wait_for(mut done: impl FnMut() -> bool) {
    let look = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), look).await.expect("in time");
}
