//! The command line against the control service, over a real socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_daemon::SystemClock;
use sluice_mail::{
    About, Address, AttemptInfo, BodyFlags, Clock, EnhancedCode, Envelope, Fate, FateKind, Host, Lane, Outcome,
    QueueId, Recipient, RecipientResult, Reply, Trouble,
};
use sluice_registry::memory::MemoryLog;
use sluice_registry::{AuthOutcome, Registry, VerifyConfig};
use sluice_spool::memory::Memory;
use sluice_spool::{Decision, NewMessage, Part, ShardEvent, ShardSource, Spool, Work};
use tokio::sync::watch;

use super::*;

mod dkim;

fn cli(arguments: &[&str]) -> Result<Cli, clap::Error> {
    read(std::iter::once(&"sluice").chain(arguments).map(OsString::from))
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn good_command_lines_are_understood() {
    for line in [
        "run",
        "run --sandbox --salvage --log-format json --log-level info,sluice_delivery=debug --data-dir d --set a.b=c",
        "--config x run",
        "run --config x",
        "check-config --config x",
        "account add shop --domain a.example --domain b.example --exact-domain c.example --address a@b.example",
        "account add shop --lane bulk --lane transactional --pool p --password-stdin --max-sessions 3",
        "account create shop --domain a.example --dsn off --max-dsns-per-hour 5 --retry-after 5m,10m --bounce-after 2d",
        "account set shop --add-domain a.example --remove-domain b.example --add-address a@c.example --lane bulk",
        "account set shop --retry-after default --bounce-after default --show-client-address no --no-pools",
        "account show shop --json",
        "account list --json --config x",
        "account remove shop --socket s",
        "account set-password shop --login other",
        "account add shop --require-dkim --leave-signed",
        "account set shop --require-dkim yes --leave-signed no",
        "dkim generate a.example",
        "dkim generate a.example --selector s2026a --algorithm rsa --bits 4096 --account shop --from 7d --until 2027-01-01",
        "dkim generate a.example --import key.pem --from now",
        "dkim list --json --config x",
        "dkim dns",
        "dkim dns a.example --format strings",
        "dkim dns s1._domainkey.a.example. --format text",
        "dkim check",
        "dkim check s1._domainkey.a.example",
        "dkim retire s1._domainkey.a.example --at 2026-12-01T08:00:00Z",
        "dkim delete s1._domainkey.a.example --force",
        "queue",
        "queue --json --domain a.example",
        "queue --config x",
        "queue --config x list --domain a.example --account shop --max 5",
        "queue list --config x --json",
        "queue show 01JDCMZ5P3W7Y2M4Q8R6T0A000 --config x",
        "queue show 01jdcmz5p3w7y2m4q8r6t0a000",
        "queue retry 01JDCMZ5P3W7Y2M4Q8R6T0A000",
        "queue retry --domain a.example --account shop",
        "queue retry --all",
        "version --json",
    ] {
        let words: Vec<_> = line.split(' ').collect();
        assert!(cli(&words).is_ok(), "{line}: {}", cli(&words).unwrap_err());
    }
}

#[test]
fn bad_command_lines_are_refused_with_a_reason() {
    for (line, reason) in [
        ("", "Usage: sluice"),
        ("frobnicate", "frobnicate"),
        ("run --set novalue", "KEY=VALUE"),
        ("run --log-format xml", "xml"),
        ("account add", "<NAME>"),
        ("account add x --domain not_a_domain!", "not allowed"),
        ("account add x --lane express", "transactional or bulk"),
        ("account add x --password secret", "--password"),
        ("account add x --dsn some", "headers, full or off"),
        ("account add x --retry-after 5x", "for '--retry-after <TIMES>': expected times such as 5m,10m,1h"),
        ("account add x --bounce-after 40d", "for '--bounce-after <TIME>': 5w5d is not between 1s and 30d"),
        ("account set x", "name what is to be changed"),
        ("account set x --max-dsns-per-hour -1", "-1"),
        ("account set x --allow-long-lines maybe", "--allow-long-lines"),
        ("account set x --pool p --no-pools", "--no-pools"),
        ("dkim", "Usage: sluice dkim"),
        ("dkim generate", "<DOMAIN>"),
        ("dkim generate a.example --algorithm dsa", "expected rsa or ed25519"),
        ("dkim generate a.example --bits 1024", "expected a number from 2048 to 4096"),
        ("dkim generate a.example --selector s_1", "a selector has 1 to 63 letters"),
        ("dkim generate a.example --from soon", "expected a time such as 2026-12-01T08:00:00Z"),
        ("dkim retire a.example", "expected SELECTOR._domainkey.DOMAIN"),
        ("dkim dns not_a_domain!", "expected a domain or SELECTOR._domainkey.DOMAIN"),
        ("queue show", "<ID>"),
        ("queue show nonsense", "26 letters and digits"),
        ("queue --domain a.example list", "--domain belongs behind"),
        ("queue --json show 01JDCMZ5P3W7Y2M4Q8R6T0A000", "--json belongs behind"),
        ("queue list --max 0", "1..="),
        ("queue retry", "--all"),
        ("queue retry 01JDCMZ5P3W7Y2M4Q8R6T0A000 --all", "--all"),
        ("queue retry --all --domain a.example", "--domain"),
    ] {
        let words: Vec<_> = line.split(' ').filter(|w| !w.is_empty()).collect();
        let error = cli(&words).unwrap_err();
        assert!(error.use_stderr() && error.to_string().contains(reason), "{line}: {error}");
    }
}

#[test]
fn flags_override_the_configuration() {
    let cli = cli(&["run", "--set", "ingress.max_sessions=5", "--data-dir", "5", "--log-level", "warn"]).unwrap();
    let overrides: Vec<_> = cli.overrides().into_iter().map(|o| (o.key, o.value, o.origin)).collect();
    let expected = [
        ("ingress.max_sessions", "5", "--set"),
        ("data_dir", "\"5\"", "--data-dir"),
        ("log.level", "\"warn\"", "--log-level"),
    ];
    assert_eq!(overrides, expected.map(|(k, v, o)| (k.to_owned(), v.to_owned(), o)));
    assert_eq!((cli.source.config_path(), cli.source.config_is_named()), (Path::new("sluice.toml"), false));
}

/// A control service on a socket of its own, ended with the test.
struct Server {
    folder: tempfile::TempDir,
    registry: Arc<Registry>,
    spool: Arc<Memory>,
    _running: watch::Sender<bool>,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let registry = Registry::open(MemoryLog::new(), VerifyConfig::default(), Arc::clone(&clock)).await.unwrap();
        let registry = Arc::new(registry);
        let spool = Arc::new(Memory::new(Arc::clone(&clock), 1_000));
        let parts = sluice_control::Parts {
            registry: Arc::clone(&registry),
            queues: spool.clone(),
            clock,
            metrics: prometheus::Registry::new(),
        };
        let bound = sluice_control::bind(&folder.path().join("control.sock")).await.unwrap();
        let (running, stop) = watch::channel(false);
        tokio::spawn(sluice_control::serve(bound, parts, stop));
        Self { folder, registry, spool, _running: running }
    }

    async fn ask_with(&self, line: &str, input: &str) -> Result<String, CliError> {
        let words: Vec<_> = line.split(' ').collect();
        let question = match cli(&words).unwrap().command {
            Command::Account(command) => Question::Account(command),
            Command::Dkim(command) => Question::Dkim(command, vec!["127.0.0.1:9".parse().unwrap()]),
            Command::Queue(args) => Question::Queue(args),
            Command::Run(_) | Command::CheckConfig | Command::ConfigReference | Command::Version(_) => {
                panic!("not for a server: {line}")
            }
        };
        let (mut stdin, mut stdout) = (input.as_bytes(), Vec::new());
        let mut terminal = Terminal { stdin: &mut stdin, stdout: &mut stdout, now: SystemClock.wall() };
        ask(question, &self.folder.path().join("control.sock"), &mut terminal).await?;
        Ok(String::from_utf8(stdout).unwrap())
    }

    async fn ask(&self, line: &str) -> Result<String, CliError> {
        self.ask_with(line, "").await
    }

    async fn logs_in(&self, password: &str) -> bool {
        matches!(self.registry.verify("shop", password).await, AuthOutcome::Accepted(_))
    }

    /// Keeps a message from the account shop to `domains`.
    async fn submit(&self, number: u64, domains: &[&str]) -> QueueId {
        let body = Bytes::from_static(b"From: me@shop.example\r\n\r\nHello\r\n");
        let id = QueueId::new(SystemClock.wall(), number, 0);
        let envelopes = (0..).zip(domains).map(|(i, domain)| envelope(id.envelope(i), domain, &body)).collect();
        self.spool.enqueue(NewMessage { envelopes, body }).await.unwrap().queue_id
    }

    /// The next envelope that is handed out.
    async fn work(&self) -> Work {
        loop {
            if let ShardEvent::Work(work) = self.spool.next().await {
                return *work;
            }
        }
    }
}

fn envelope(queue_id: QueueId, domain: &str, body: &Bytes) -> Envelope {
    let now = SystemClock.wall();
    Envelope {
        queue_id,
        generation: 0,
        account: "shop".into(),
        campaign: None,
        tag: None,
        lane: Lane::Transactional,
        mail_from: Some(Address::parse("me@shop.example").unwrap()),
        recipients: vec![Recipient::new(Address::parse(&format!("you@{domain}")).unwrap())],
        ret: None,
        envid: None,
        domain: Host::parse(domain).unwrap(),
        pool: None,
        accepted: now,
        expires: now.plus(Duration::from_secs(86_400)),
        not_before: now,
        flags: BodyFlags::default(),
        size: u32::try_from(body.len()).unwrap(),
        body_crc: 0,
        attempts: 0,
        last_reply: None,
        delay_notices: 0,
        report_on: None,
    }
}

/// The fate of an envelope whose recipients all came to `outcome`.
fn fate(work: &Work, kind: FateKind, outcome: &Outcome) -> Box<Fate> {
    let result = |r: &Recipient| RecipientResult {
        address: r.address.clone(),
        orcpt: None,
        outcome: outcome.clone(),
        decided_in: 1,
    };
    Box::new(Fate {
        about: About::envelope(&work.envelope),
        kind,
        results: work.envelope.recipients.iter().map(result).collect(),
        attempts: 1,
        at: SystemClock.wall(),
        attempt: AttemptInfo {
            mx: Some("mx.two.example".into()),
            peer: Some("192.0.2.1:25".parse().unwrap()),
            ..AttemptInfo::default()
        },
        report: None,
    })
}

fn delivered(work: &Work) -> Decision {
    let reply = Reply::new(250, EnhancedCode(2, 0, 0), "taken");
    Decision::Done(fate(work, FateKind::Delivered, &Outcome::Delivered { reply }))
}

fn greylisted(work: &Work) -> Decision {
    let mut envelope = Box::new(work.envelope.clone());
    envelope.attempts += 1;
    envelope.last_reply = Some("451 4.7.1 greylisted (at rcpt)".into());
    for recipient in &mut envelope.recipients {
        recipient.trouble = Some(Trouble {
            reply: Reply::new(451, EnhancedCode(4, 7, 1), "greylisted"),
            is_peers: true,
            mta: Some("mx.one.example".into()),
            at: SystemClock.wall(),
        });
    }
    Decision::Wait(vec![Part::Remaining { envelope, delay: Duration::from_secs(300) }])
}

/// The envelope bounces, and its sender gets a report.
fn bounced(work: &Work) -> Decision {
    let status = EnhancedCode(5, 1, 1);
    let mut fate =
        fate(work, FateKind::Bounced, &Outcome::Bounced { status, reply: Reply::new(550, status, "nobody") });
    let body = Bytes::from_static(b"From: <>\r\n\r\nIt bounced\r\n");
    let original = &work.envelope;
    let id = original.queue_id.report(1, 0);
    fate.report = Some(id);
    let mut report = envelope(id, "shop.example", &body);
    (report.mail_from, report.report_on) = (None, Some(original.queue_id));
    report.recipients = original.mail_from.clone().map(Recipient::new).into_iter().collect();
    Decision::Wait(vec![Part::Notification { envelope: Box::new(report), body, fate: Some(fate) }])
}

#[tokio::test]
async fn accounts_are_made_shown_changed_and_removed() {
    let server = Server::start().await;
    assert!(server.ask("account list").await.unwrap().contains("There is no account."));
    let made = server.ask("account add shop --domain shop.example --lane bulk").await.unwrap();
    let first = made.split_whitespace().last().unwrap().to_owned();
    assert!(server.logs_in(&first).await, "{made}");
    let listed = server.ask("account list").await.unwrap();
    assert!(listed.contains("shop.example") && listed.contains("bulk") && !listed.contains(&first), "{listed}");
    let listed: serde_json::Value = serde_json::from_str(&server.ask("account list --json").await.unwrap()).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["logins"][0]), (&"shop".into(), &"shop".into()));

    let error = server.ask("account add shop --domain shop.example").await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.exit_code().code()), ("account shop exists already", 65));
    let error = server.ask("account add Shop!").await.unwrap_err();
    assert!(error.to_string().contains("1 to 63 of a-z"), "{error}");

    let said = server.ask_with("account set-password shop --password-stdin", "new secret\n").await.unwrap();
    assert_eq!(said, "The password of shop is changed.\n");
    assert!(server.logs_in("new secret").await && !server.logs_in(&first).await);
    let made = server.ask("account set-password shop").await.unwrap();
    assert!(server.logs_in(made.split_whitespace().last().unwrap()).await, "{made}");

    assert_eq!(server.ask("account remove shop").await.unwrap(), "Account shop is removed.\n");
    assert_eq!(server.ask("account remove shop").await.unwrap_err().to_string(), "there is no account shop");
}

#[tokio::test]
async fn rules_are_set_one_by_one_and_shown() {
    let server = Server::start().await;
    let add =
        "account create shop --domain shop.example --max-sessions 3 --dsn full --retry-after 1m,5m --password-stdin";
    server.ask_with(add, "secret\n").await.unwrap();
    let set = "account set shop --add-exact-domain new.example --dsn off --max-dsns-per-hour 9 --bounce-after 2d12h \
               --allow-long-lines yes";
    let said = server.ask(set).await.unwrap();
    let expected = "\
Account shop is changed.

shop
  log-ins         shop
  sends from      shop.example, new.example (exactly)
  lanes           transactional
  pools           default
  messages        no limit
  recipients      no limit
  sessions        3 at the same time
  long lines      pass unchanged
  client address  not shown
  without key     passes unsigned
  signed already  signed in addition
  dsn             off: senders get no report of what cannot be delivered
  max dsns        9 an hour
  retry after     1m, 5m
  bounce after    2d12h
";
    assert_eq!(said, expected);
    assert_eq!(server.ask("account show shop").await.unwrap(), expected.split_once("\n\n").unwrap().1);
    assert!(server.ask(set).await.unwrap().starts_with("Account shop was so already."));

    let set = "account set shop --remove-domain new.example --retry-after default --bounce-after default \
               --max-sessions 0 --allow-long-lines no --dsn headers --max-dsns-per-hour 0";
    let said = server.ask(set).await.unwrap();
    for words in ["sends from      shop.example\n", "retry after     as configured", "dsn             headers: "] {
        assert!(said.contains(words), "{words} in {said}");
    }
    let json: serde_json::Value = serde_json::from_str(&server.ask("account show shop --json").await.unwrap()).unwrap();
    assert_eq!(
        (&json["dsn"], &json["max_sessions"], &json["bounce_after_ms"]),
        (&"headers".into(), &0.into(), &0.into())
    );
    assert!(server.logs_in("secret").await, "the password stays");
}

#[tokio::test]
async fn what_cannot_be_set_is_told_and_nothing_is_changed() {
    let server = Server::start().await;
    server.ask_with("account add shop --domain shop.example --password-stdin", "secret\n").await.unwrap();
    let before = server.ask("account show shop").await.unwrap();
    for (line, words) in [
        ("account set none --dsn off", "there is no account none"),
        ("account show none", "there is no account none"),
        ("account set shop --dsn off --remove-domain other.example", "account shop does not have other.example"),
        ("account set shop --dsn off --remove-address a@b.example", "account shop does not have a@b.example"),
        ("account set shop --dsn off --pool No!", "account.pools[0]: \"No!\" is no pool: 1 to 63 of a-z"),
    ] {
        let error = server.ask(line).await.unwrap_err();
        assert!(error.to_string().contains(words), "{line}: {error}");
        assert_eq!((error.exit_code().code(), error.to_string().lines().count()), (65, 1), "{error}");
    }
    assert_eq!(server.ask("account show shop").await.unwrap(), before);
}

#[tokio::test]
async fn accounts_of_trusted_networks_are_looked_up() {
    let server = Server::start().await;
    server.ask_with("account add shop --password-stdin", "secret\n").await.unwrap();
    let said = async |socket: &str, trusted: &[(&str, &str)]| {
        let trusted: Vec<_> = trusted.iter().map(|(key, id)| ((*key).to_owned(), Arc::from(*id))).collect();
        let mut out = Vec::new();
        check_accounts(&trusted, &server.folder.path().join(socket), &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    };
    let trusted = [("a.account", "shop"), ("b.account", "none"), ("c.account", "none"), ("d.account", "other")];
    let text = said("control.sock", &trusted).await;
    let expected = "There is no account none, which b.account names: its clients are refused until there is.\n\
                    There is no account other, which d.account names: its clients are refused until there is.\n";
    assert_eq!(text, expected);
    assert!(said("no.sock", &trusted).await.starts_with("Sluice does not run"));
    assert_eq!(said("no.sock", &[]).await, "");
}

#[tokio::test]
async fn an_account_that_may_not_send_is_pointed_out() {
    let server = Server::start().await;
    let said = server.ask_with("account add shop --password-stdin", "secret\n").await.unwrap();
    assert!(said.contains("may not send yet") && !said.contains("secret"), "{said}");
}

#[tokio::test]
async fn more_accounts_than_a_page_are_all_shown() {
    let server = Server::start().await;
    let names: Vec<_> = (0..3).map(|i| format!("a{i}")).collect();
    for name in &names {
        server.ask_with(&format!("account add {name} --password-stdin"), "secret\n").await.unwrap();
    }
    let listed = server.ask("account list").await.unwrap();
    assert!(names.iter().all(|name| listed.contains(name.as_str())), "{listed}");
}

#[tokio::test]
async fn the_queue_says_where_mail_stands_and_why() {
    let server = Server::start().await;
    assert_eq!(server.ask("queue").await.unwrap(), "The queue is empty.\n");
    let id = server.submit(7, &["one.example", "two.example"]).await;
    for _ in 0..2 {
        let work = server.work().await;
        let to_two = work.envelope.domain.to_string() == "two.example";
        let decision = if to_two { delivered(&work) } else { greylisted(&work) };
        server.spool.settle(work.id, decision).await.unwrap();
    }
    let shown = server.ask(&format!("queue show {id}")).await.unwrap();
    for words in [
        "2 envelopes of this message",
        "one.example: waiting: next try in ",
        "; last attempt: 451 4.7.1 greylisted (at rcpt)",
        "two.example: delivered at 20",
        " UTC to mx.two.example [192.0.2.1]:25: 250 2.0.0 taken",
        "recipient you@one.example: not yet delivered: 451 4.7.1 greylisted (said by mx.one.example ",
        "attempts  1",
        "given up  20",
        "recipient you@two.example: delivered: 250 2.0.0 taken",
        &id.to_string(),
    ] {
        assert!(shown.contains(words), "{words} in:\n{shown}");
    }
    let one: serde_json::Value =
        serde_json::from_str(&server.ask(&format!("queue show --json {id}")).await.unwrap()).unwrap();
    assert_eq!((&one[0]["state"], &one[1]["state"]), (&"waiting".into(), &"delivered".into()));
    assert_eq!(one[0]["recipients"][0]["trouble"]["mta"], "mx.one.example");

    let counts = server.ask("queue").await.unwrap();
    assert!(counts.contains("one.example") && counts.contains("1 envelope: 0 ready, 0 active, 1 waiting;"), "{counts}");
    let list = server.ask("queue list").await.unwrap();
    for words in [&id.to_string(), "you@one.example", "in 23 h 59 min", "451 4.7.1 greylisted (at rcpt)"] {
        assert!(list.contains(words), "{words} in {list}");
    }
    assert_eq!(server.ask("queue list --domain three.example").await.unwrap(), "Nothing waits.\n");

    assert_eq!(server.ask(&format!("queue retry {id}")).await.unwrap(), "1 envelope is due now.\n");
    assert_eq!(server.ask("queue retry --domain three.example").await.unwrap(), "Nothing waits.\n");
    assert!(server.ask("queue").await.unwrap().contains("1 ready, 0 active, 0 waiting"));
}

#[tokio::test]
async fn a_bounce_and_its_report_name_each_other() {
    let server = Server::start().await;
    let id = server.submit(7, &["one.example"]).await;
    let work = server.work().await;
    server.spool.settle(work.id, bounced(&work)).await.unwrap();
    let report = id.report(1, 0);
    let shown = server.ask(&format!("queue show {id}")).await.unwrap();
    for words in [
        "bounced at 20",
        "recipient you@one.example: bounced: 550 5.1.1 nobody",
        &format!("reported to sender in {report}"),
    ] {
        assert!(shown.contains(words), "{words} in:\n{shown}");
    }
    let shown = server.ask(&format!("queue show {report}")).await.unwrap();
    for words in [&format!("report on {id}"), "<> (the null sender)", "me@shop.example: not yet delivered"] {
        assert!(shown.contains(words), "{words} in:\n{shown}");
    }
    let json = server.ask(&format!("queue show --json {id}")).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["report"], &json[0]["recipients"][0]["decided_in"]), (&report.to_string().into(), &1.into()));
}

#[tokio::test]
async fn a_list_is_cut_off_where_it_was_asked_to_be() {
    let server = Server::start().await;
    for number in 0..5 {
        server.submit(number, &["one.example"]).await;
    }
    let list = server.ask("queue list --max 3").await.unwrap();
    assert_eq!(list.matches("you@one.example").count(), 3, "{list}");
    assert!(list.ends_with("There are more than 3: --max shows them.\n"), "{list}");
    let list: serde_json::Value = serde_json::from_str(&server.ask("queue list --json").await.unwrap()).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn unknown_mail_is_told_in_one_line() {
    let server = Server::start().await;
    for line in ["queue show 01JDCMZ5P3W7Y2M4Q8R6T0A000", "queue retry 01JDCMZ5P3W7Y2M4Q8R6T0A000"] {
        let error = server.ask(line).await.unwrap_err();
        assert_eq!((error.exit_code().code(), error.to_string().lines().count()), (65, 1), "{error}");
        assert!(error.to_string().contains("01JDCMZ5P3W7Y2M4Q8R6T0A000"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_run_is_told_with_the_mend() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let Command::Queue(args) = cli(&["queue"]).unwrap().command else { panic!("not queue") };
    let (mut stdin, mut stdout) = (&b""[..], Vec::new());
    let mut terminal = Terminal { stdin: &mut stdin, stdout: &mut stdout, now: SystemClock.wall() };
    let error = ask(Question::Queue(args), &socket, &mut terminal).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot reach sluice at {}: ", socket.display())), "{text}");
    assert!(text.ends_with("start it with `sluice run`, or name another socket with --socket"), "{text}");
    assert_eq!(error.exit_code(), ExitCode::Unavailable);
}
