//! What a client meets: who may send, what is taken, and every refusal.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::sync::Arc;
use std::time::Duration;

use harness::{LOGIN, PATIENCE, Setting, Talk, at_most};
use sluice_mail::QueueId;
use sluice_spool::EnqueueError;
use tokio::net::TcpSocket;
use tokio::sync::Notify;

const HELLO: &str = "S: 220 mx.example.org\nC: EHLO client.example.org\nS: 250-mx.example.org\n";
const MAIL: &str = "C: MAIL FROM:<a@example.org>\nS: 250 2.1.0\n";
const TO: &str = "C: RCPT TO:<b@example.net>\nS: 250 2.1.5\nC: DATA\nS: 354\n";
const CONTENT: &str = "C: From: a@example.org\nC:\nC: hello\nC: .\n";

fn hello_and(more: &[&str]) -> String {
    format!("{HELLO}{}", more.concat())
}

#[tokio::test]
async fn a_message_is_kept_before_it_is_answered() {
    let ingress = Setting::default().start().await;
    let stuck = Arc::new(Notify::new());
    *ingress.spool.stuck.lock().unwrap() = Some(stuck.clone());
    let mut talk = ingress.talk(&hello_and(&[LOGIN, MAIL, TO, CONTENT])).await;
    assert!(tokio::time::timeout(Duration::from_millis(200), talk.reply()).await.is_err(), "answered too early");
    stuck.notify_one();
    let reply = tokio::time::timeout(PATIENCE, talk.reply()).await.unwrap();
    let id = reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap_or_else(|| panic!("{reply}"));
    let taken = ingress.taken();
    assert_eq!(taken[0].envelopes[0].queue_id, QueueId::parse(id).unwrap());
    assert_eq!(&*taken[0].envelopes[0].account, "demo");
    let body = String::from_utf8(taken[0].body.to_vec()).unwrap();
    assert!(body.starts_with("Received: from client.example.org\r\n\tby mx.example.org with ESMTPA id "), "{body}");
    assert!(body.ends_with("From: a@example.org\r\n\r\nhello\r\n"), "{body}");
    talk.say("C: QUIT\nS: 221 2.0.0\nEND").await;
    assert_eq!(ingress.metric("sluice_ingress_messages_total{result=\"accepted\"}"), 1.0);
    assert_eq!(ingress.metric("sluice_ingress_bytes_in_flight"), 0.0);
}

#[tokio::test]
async fn a_session_sends_many_messages_also_pipelined_and_after_refusals() {
    let ingress = Setting::default().start().await;
    let mut talk = ingress.talk(&hello_and(&[LOGIN])).await;
    for _ in 0..3 {
        talk.say(&[MAIL, TO, CONTENT, "S: 250 2.0.0"].concat()).await;
        talk.say(&["C: MAIL FROM:<x@evil.example>\nS: 553 5.7.1\n", MAIL, TO].concat()).await;
        talk.say("C: From: x@evil.example\nC:\nC: .\nS: 553 5.7.1").await;
    }
    talk.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n").await;
    talk.say("S: 250 2.1.0\nS: 250 2.1.5\nS: 250 2.1.5\nS: 354").await;
    talk.send(b"From: a@example.org\r\n\r\n..dot\r\n.\r\nNOOP\r\nQUIT\r\n").await;
    talk.say("S: 250 2.0.0 Ok: queued\nS: 250 2.0.0\nS: 221 2.0.0\nEND").await;
    let taken = ingress.taken();
    assert_eq!(taken.len(), 4);
    assert_eq!(taken[3].envelopes.len(), 2);
    assert!(taken[3].body.ends_with(b"\r\n\r\n.dot\r\n"));
}

#[tokio::test]
async fn nobody_sends_without_the_right() {
    let ingress = Setting::default().start().await;
    ingress.talk(&hello_and(&["C: MAIL FROM:<a@example.org>\nS: 530 5.7.0\nC: QUIT\nS: 221"])).await;
    // Without the word in the configuration not even loopback may log in without TLS.
    let ingress = Setting::with(|s| s.raw.listeners[0].auth_without_tls_on_loopback = false).start().await;
    let mut talk = ingress.connect().await;
    talk.say("S: 220\nC: EHLO client.example.org").await;
    let capabilities = talk.reply().await;
    assert!(!capabilities.contains("AUTH"), "{capabilities}");
    talk.say("C: AUTH PLAIN AGRlbW8Ac2VjcmV0\nS: 5\nC: MAIL FROM:<a@example.org>\nS: 530 5.7.0").await;
    assert!(ingress.taken().is_empty());
}

#[tokio::test]
async fn unknown_names_and_wrong_passwords_look_alike_and_cost_time() {
    let ingress = Setting::with(|s| s.raw.max_auth_failures = 2).start().await;
    // demo with a wrong password, and a name that does not exist. Each from an address of its own.
    let mut replies = Vec::new();
    for (source, login) in [([127, 0, 0, 2], "AGRlbW8Ad3Jvbmc="), ([127, 0, 0, 3], "AG5vYm9keQB3cm9uZw==")] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let mut talk = Talk::over(socket.connect(ingress.address).await.unwrap());
        talk.say(HELLO).await;
        #[expect(clippy::disallowed_methods, reason = "the test measures a delay")]
        let begun = std::time::Instant::now();
        talk.send(format!("AUTH PLAIN {login}\r\n").as_bytes()).await;
        replies.push(talk.reply().await);
        #[expect(clippy::disallowed_methods, reason = "the test measures a delay")]
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(1), "answered after {took:?}");
        // The right one is not held back.
        talk.say(LOGIN).await;
    }
    assert!(replies[0].starts_with("535 5.7.8 "), "{}", replies[0]);
    assert_eq!(replies[0], replies[1]);
    assert_eq!(ingress.metric("sluice_ingress_logins_total{result=\"refused\"}"), 2.0);
}

#[tokio::test]
async fn senders_must_be_the_accounts() {
    let ingress = Setting::default().start().await;
    let mut talk = ingress.talk(&hello_and(&[LOGIN])).await;
    talk.say(
        "C: MAIL FROM:<x@evil.example>
         S: 553 5.7.1 | demo | <x@evil.example>
         C: MAIL FROM:<other@other.example>
         S: 553 5.7.1 | demo | <other@other.example>
         C: MAIL FROM:<SOLO@other.example>
         S: 250 2.1.0
         C: RSET
         S: 250 2.0.0
         C: MAIL FROM:<>
         S: 250 2.1.0",
    )
    .await;
    talk.say(&[TO, "C: From: a@news.example.org, x@evil.example\nC:\nC: .\n"].concat()).await;
    talk.say("S: 553 5.7.1 | demo | <x@evil.example>").await;
    talk.say(&["C: MAIL FROM:<>\nS: 250 2.1.0\n", TO, CONTENT, "S: 250 2.0.0"].concat()).await;
    assert_eq!(ingress.taken().len(), 1);
    assert_eq!(ingress.metric("sluice_ingress_refusals_total{reason=\"sender\"}"), 3.0);
}

#[tokio::test]
async fn trusted_networks_send_as_their_account_and_within_its_rules() {
    let ingress = Setting::trusting().start().await;
    ingress.talk(&hello_and(&[MAIL, TO, CONTENT, "S: 250 2.0.0\nC: MAIL FROM:<x@evil.example>\nS: 553 5.7.1"])).await;
    assert_eq!(&*ingress.taken()[0].envelopes[0].account, "demo");
    ingress.registry.delete_account("demo").await.unwrap();
    ingress.talk(&hello_and(&["C: MAIL FROM:<a@example.org>\nS: 550 5.7.1 | demo | does not exist"])).await;
}

#[tokio::test]
async fn behind_a_load_balancer_only_the_proxied_address_is_trusted() {
    let setting = |direct| {
        let mut setting = Setting::trusting();
        let listener = &mut setting.raw.listeners[0];
        listener.trusted_networks[0].network = "10.0.0.0/8".parse().unwrap();
        listener.proxy_protocol_from = vec!["127.0.0.1/32".parse().unwrap()];
        listener.direct = direct;
        setting
    };
    let ingress = setting(true).start().await;
    for (header, reply) in [
        ("PROXY TCP4 10.1.2.3 127.0.0.1 4000 25\r\n", "250 2.1.0"),
        ("PROXY TCP4 192.0.2.7 127.0.0.1 4000 25\r\n", "530 5.7.0"),
        ("PROXY UNKNOWN\r\n", "530 5.7.0"),
    ] {
        let mut talk = ingress.connect().await;
        talk.send(header.as_bytes()).await;
        talk.say(&hello_and(&[&format!("C: MAIL FROM:<a@example.org>\nS: {reply}")])).await;
    }
    let mut talk = ingress.connect().await;
    talk.send(b"EHLO client.example.org\r\n").await;
    talk.say("END").await;
    // A peer that is not listed has no such command.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut talk = Talk::over(socket.connect(ingress.address).await.unwrap());
    talk.send(b"PROXY TCP4 10.1.2.3 127.0.0.1 4000 25\r\n").await;
    talk.say("S: 220\nS: 500 5.5").await;
    talk.say("C: EHLO client.example.org\nS: 250-\nC: MAIL FROM:<a@example.org>\nS: 530 5.7.0").await;
}

#[tokio::test]
async fn a_health_check_of_the_load_balancer_is_never_trusted() {
    let mut setting = Setting::trusting();
    setting.raw.listeners[0].proxy_protocol_from = vec!["127.0.0.1/32".parse().unwrap()];
    let ingress = setting.start().await;
    let mut talk = ingress.connect().await;
    talk.send(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00").await;
    talk.say(&hello_and(&["C: MAIL FROM:<a@example.org>\nS: 530 5.7.0"])).await;
}

#[tokio::test]
async fn rates_are_per_account_and_say_how_long_to_wait() {
    let ingress = Setting::with(|s| {
        s.rules.max_messages_per_minute = at_most(2);
        s.rules.max_recipients_per_minute = at_most(3);
    })
    .start()
    .await;
    let mut talk = ingress.talk(&hello_and(&[LOGIN, MAIL])).await;
    talk.say(
        "C: RCPT TO:<a@example.net>\nS: 250\nC: RCPT TO:<b@example.net>\nS: 250\nC: RCPT TO:<c@example.net>\nS: 250",
    )
    .await;
    talk.say("C: RCPT TO:<d@example.net>\nS: 452 4.7.0 | demo | 3 recipients | 20 seconds").await;
    talk.say(&["C: DATA\nS: 354\n", CONTENT, "S: 250 2.0.0\n"].concat()).await;
    // Another session of the same account meets the same limit.
    let mut other = ingress.talk(&hello_and(&[LOGIN, MAIL])).await;
    other.say("C: RSET\nS: 250\nC: MAIL FROM:<a@example.org>\nS: 450 4.7.0 | demo | 2 messages | 30 seconds").await;
    assert_eq!(ingress.taken()[0].envelopes[0].recipients.len(), 3);
}

#[tokio::test]
async fn sessions_are_limited_per_process_address_and_account() {
    let ingress = Setting::with(|s| s.raw.max_sessions = 1).start().await;
    let mut first = ingress.talk(HELLO).await;
    ingress.talk("S: 421 4.3.2\nEND").await;
    first.say("C: QUIT\nS: 221\nEND").await;
    until(|| ingress.metric("sluice_ingress_sessions") == 0.0).await;

    let ingress = Setting::with(|s| s.raw.max_sessions_per_ip = 1).start().await;
    let _first = ingress.talk(HELLO).await;
    ingress.talk("S: 421 4.7.0 | 127.0.0.1\nEND").await;

    let ingress = Setting::with(|s| s.rules.max_sessions = at_most(1)).start().await;
    let mut first = ingress.talk(&hello_and(&[LOGIN])).await;
    ingress.talk(&hello_and(&["C: AUTH PLAIN AGRlbW8Ac2VjcmV0\nS: 421 4.7.0 | demo\nEND"])).await;
    first.say("C: QUIT\nS: 221\nEND").await;
    until(|| ingress.metric("sluice_ingress_sessions") == 0.0).await;
    ingress.talk(&hello_and(&[LOGIN])).await;

    let mut setting = Setting::trusting();
    setting.rules.max_sessions = at_most(1);
    let ingress = setting.start().await;
    let _first = ingress.talk(HELLO).await;
    ingress.talk("S: 421 4.7.0 | demo\nEND").await;
}

/// Waits until `done`, with patience.
async fn until(done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn revoked_accounts_and_passwords_end_at_the_next_mail() {
    let ingress = Setting::default().start().await;
    let mut talk = ingress.talk(&hello_and(&[LOGIN, MAIL, TO])).await;
    ingress.registry.set_password("demo", "demo", "other").await.unwrap();
    // What was begun may end.
    talk.say(&[CONTENT, "S: 250 2.0.0\nC: MAIL FROM:<a@example.org>\nS: 421 4.7.0\nEND"].concat()).await;

    let ingress = Setting::default().start().await;
    let mut talk = ingress.talk(&hello_and(&[LOGIN])).await;
    ingress.registry.delete_account("demo").await.unwrap();
    talk.say("C: MAIL FROM:<a@example.org>\nS: 421 4.7.0\nEND").await;
}

#[tokio::test]
async fn a_full_or_broken_spool_is_a_4xx() {
    let ingress = Setting::default().start().await;
    let mut talk = ingress.talk(&hello_and(&[LOGIN])).await;
    for (error, reply) in
        [(EnqueueError::Full("x".into()), "452 4.3.1"), (EnqueueError::Poisoned("x".into()), "451 4.3.0")]
    {
        *ingress.spool.no_room.lock().unwrap() = Some(error.clone());
        talk.say(&format!("C: MAIL FROM:<a@example.org>\nS: {reply}")).await;
        *ingress.spool.no_room.lock().unwrap() = None;
        *ingress.spool.error.lock().unwrap() = Some(error);
        talk.say(&[MAIL, TO, CONTENT, &format!("S: {reply}")].concat()).await;
        *ingress.spool.error.lock().unwrap() = None;
    }
    *ingress.spool.error.lock().unwrap() = Some(EnqueueError::Closing);
    talk.say(&[MAIL, TO, CONTENT, "S: 421 4.3.2\nEND"].concat()).await;
    assert!(ingress.taken().is_empty());
}

#[tokio::test]
async fn contents_are_bounded_per_message_and_per_process() {
    let ingress = Setting::with(|s| {
        s.raw.max_message_size.0 = 100_000;
        s.raw.max_bytes_in_flight.0 = 220_000;
    })
    .start()
    .await;
    let mut talk = ingress.talk(&hello_and(&[LOGIN])).await;
    talk.say("C: MAIL FROM:<a@example.org> SIZE=100001\nS: 552 5.3.4").await;
    let line = format!("{}\r\n", "x".repeat(98));
    let large = format!("From: a@example.org\r\n\r\n{}", line.repeat(990));
    talk.say(&[MAIL, TO].concat()).await;
    talk.send((large.clone() + &line.repeat(100) + ".\r\n").as_bytes()).await;
    talk.say("S: 552 5.3.4").await;

    // The first message waits to be durable, so there is no room for a second of its size, which is held twice while
    // its header is written.
    let stuck = Arc::new(Notify::new());
    *ingress.spool.stuck.lock().unwrap() = Some(stuck.clone());
    talk.say(&[MAIL, TO].concat()).await;
    talk.send(format!("{large}.\r\n").as_bytes()).await;
    until(|| ingress.taken().len() == 1).await;
    let held = ingress.metric("sluice_ingress_bytes_in_flight");
    assert!((99_000.0..110_000.0).contains(&held), "{held}");
    let mut other = ingress.talk(&hello_and(&[LOGIN, MAIL, TO])).await;
    other.send(format!("{large}.\r\n").as_bytes()).await;
    other.say("S: 452 4.3.1").await;
    stuck.notify_one();
    talk.say("S: 250 2.0.0").await;
    *ingress.spool.stuck.lock().unwrap() = None;
    other.say(&[MAIL, TO].concat()).await;
    other.send(format!("{large}.\r\n").as_bytes()).await;
    other.say("S: 250 2.0.0").await;
    assert_eq!(ingress.metric("sluice_ingress_refusals_total{reason=\"memory\"}"), 1.0);
}

#[tokio::test]
async fn bare_line_ends_and_long_lines_are_refused_at_the_true_end() {
    let ingress = Setting::default().start().await;
    let mut talk = ingress.talk(&hello_and(&[LOGIN])).await;
    for evil in ["a\nb", "a\rb", "a\n.\nQUIT", "a\r\n.\nMAIL FROM:<x@evil.example>", "a\n.\r\nb"] {
        talk.say(&[MAIL, TO].concat()).await;
        talk.send(format!("From: a@example.org\r\n\r\n{evil}\r\n.\r\n").as_bytes()).await;
        talk.say("S: 554 5.6.0").await;
    }
    talk.say(&[MAIL, TO].concat()).await;
    talk.send(format!("From: a@example.org\r\n\r\nshort\r\n{}\r\n.\r\n", "x".repeat(999)).as_bytes()).await;
    talk.say("S: 554 5.6.0 line 4").await;
    talk.say(&[MAIL, TO].concat()).await;
    talk.send(format!("From: a@example.org\r\n\r\nshort\r\n{}\r\n.\r\n", "x".repeat(998)).as_bytes()).await;
    talk.say("S: 250 2.0.0").await;
    assert_eq!(ingress.taken().len(), 1);
}

#[tokio::test]
async fn recipients_beyond_the_limit_wait() {
    let ingress = Setting::with(|s| s.raw.max_recipients = 100).start().await;
    let mut talk = ingress.talk(&hello_and(&[LOGIN, MAIL])).await;
    for i in 0..100 {
        talk.say(&format!("C: RCPT TO:<r{i}@example.net>\nS: 250 2.1.5")).await;
    }
    talk.say("C: RCPT TO:<more@example.net>\nS: 452 4.5.3").await;
    talk.say(&["C: DATA\nS: 354\n", CONTENT, "S: 250 2.0.0"].concat()).await;
    assert_eq!(ingress.taken()[0].envelopes[0].recipients.len(), 100);
}

#[tokio::test]
async fn silent_and_noisy_clients_are_sent_away() {
    let ingress = Setting::with(|s| {
        s.raw.command_timeout.0 = Duration::from_secs(1);
        s.raw.max_bad_commands = 2;
    })
    .start()
    .await;
    ingress.talk("S: 220\nS: 421 4.4.2\nEND").await;
    ingress.talk("S: 220\nC: A\nS: 500\nC: B\nS: 500\nC: C\nS: 421 4.7.0\nEND").await;
    until(|| ingress.metric("sluice_ingress_session_ends_total{reason=\"timeout\"}") == 1.0).await;
    until(|| ingress.metric("sluice_ingress_session_ends_total{reason=\"bad_commands\"}") == 1.0).await;
}

#[tokio::test]
async fn draining_lets_transactions_end_and_takes_nothing_new() {
    let ingress = Setting::default().start().await;
    let mut idle = ingress.talk(HELLO).await;
    let mut busy = ingress.talk(&hello_and(&[LOGIN, MAIL, TO])).await;
    ingress.stop.send_replace(true);
    idle.say("S: 421 4.3.2\nEND").await;
    busy.say(&[CONTENT, "S: 250 2.0.0\nS: 421 4.3.2\nEND"].concat()).await;
    tokio::time::timeout(PATIENCE, ingress.task).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(ingress.address).await.is_err(), "the port is still open");
}

#[tokio::test]
async fn sessions_that_do_not_end_are_cut_off_after_the_grace_period() {
    let ingress = Setting::with(|s| s.raw.drain_timeout.0 = Duration::from_millis(100)).start().await;
    let mut busy = ingress.talk(&hello_and(&[LOGIN, MAIL, TO])).await;
    ingress.stop.send_replace(true);
    tokio::time::timeout(PATIENCE, ingress.task).await.unwrap().unwrap();
    busy.say("END").await;
}
