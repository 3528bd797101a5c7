//! Receivers that misbehave, smtp-sink in its modes and a sink of ours: mail is tried again or given up as it should
//! be, and none is lost or doubled.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sluice_tests::sink::{Action, Mailbox, Sink, Step};
use sluice_tests::sluice::{Settings, Sluice};
use sluice_tests::smtp::Client;
use sluice_tests::smtp_sink::SmtpSink;
use sluice_tests::wait;

use crate::TestResult;
use crate::fixture::{FROM, MESSAGE, Scene, queue_id};

const SENDER: &str = "sender@ledger.test";
const LETTER: &[u8] = b"From: sender@ledger.test\r\nSubject: x\r\n\r\n.\r\ntext\r\n";

/// Submits a letter to `to` on the trusted listener; its queue id.
fn submit(sluice: &Sluice, to: &str) -> Result<String> {
    let reply = Client::open(sluice.ports.trusted)?.submit(SENDER, &[to], LETTER)?.expect("250 2.0.0")?;
    Ok(queue_id(&reply.text()).context("no queue id")?.to_owned())
}

/// What `sluice queue show` says, once its line on where the letter stands, the second, holds `word`.
fn shown(sluice: &Sluice, id: &str, word: &str) -> Result<String> {
    let mut last = String::new();
    let found = wait::until(wait::PATIENCE, &format!("{word:?} in queue show"), || {
        last = sluice.cli(&["queue", "show", id])?.stdout;
        let stands = last.lines().nth(1).unwrap_or_default().trim_start().to_lowercase();
        Ok(stands.contains(word).then(|| last.clone()))
    });
    found.with_context(|| format!("{last}\n{}", sluice.log()))
}

/// smtp-sink with `options`; the letter must stay, with `reason` shown, and be delivered once the sink is well again.
fn deferred_then_delivered(options: &[&str], reason: &str) -> TestResult {
    let ill = SmtpSink::start(options)?;
    let mut settings = Settings::to(ill.address());
    settings.delivery = "retry_after = [\"1s\"]\nmax_smtp_out = 4\n".to_owned();
    let mut sluice = Sluice::start(&settings)?;
    let id = submit(&sluice, "bob@example.net")?;
    let text = shown(&sluice, &id, reason)?;
    ensure!(text.contains(&ill.address().to_string()), "whom it was tried at: {text}");
    // What it refuses at the dot it has written down nevertheless.
    ensure!(options[1] == "." || ill.taken()?.is_empty(), "{options:?}: {:?}", ill.taken()?);
    let well = SmtpSink::start(&[])?;
    sluice.terminate()?;
    settings.routes = vec![("*".to_owned(), well.address())];
    sluice.configure(&settings)?;
    sluice.run()?;
    shown(&sluice, &id, "delivered")?;
    well.wait_for(1)?;
    Ok(())
}

macro_rules! deferring_modes {
    ($($name:ident: $options:expr, $reason:expr;)*) => {
        $(#[test]
        fn $name() -> TestResult {
            deferred_then_delivered(&$options, $reason)
        })*
    };
}

deferring_modes! {
    closing_at_connect_is_tried_again: ["-q", "CONNECT"], "closed";
    closing_at_ehlo_is_tried_again: ["-q", "EHLO,HELO"], "closed";
    closing_at_mail_is_tried_again: ["-q", "MAIL"], "closed";
    closing_at_rcpt_is_tried_again: ["-q", "RCPT"], "closed";
    closing_at_data_is_tried_again: ["-q", "DATA"], "closed";
    closing_at_the_dot_is_tried_again: ["-q", "."], "closed";
    a_421_at_connect_is_tried_again: ["-Q", "CONNECT"], "421";
    a_421_at_mail_is_tried_again: ["-Q", "MAIL"], "421";
    a_421_at_rcpt_is_tried_again: ["-Q", "RCPT"], "421";
    a_421_at_the_dot_is_tried_again: ["-Q", "."], "421";
    a_soft_no_at_connect_is_tried_again: ["-r", "CONNECT"], "450";
    a_soft_no_to_ehlo_and_helo_is_tried_again: ["-r", "EHLO,HELO"], "450";
    a_soft_no_at_mail_is_tried_again: ["-r", "MAIL"], "450";
    a_soft_no_at_rcpt_is_tried_again: ["-r", "RCPT"], "450";
    a_soft_no_at_data_is_tried_again: ["-r", "DATA"], "450";
    a_soft_no_at_the_dot_is_tried_again: ["-r", "."], "450";
}

/// smtp-sink with `options`; the letter must be given up with the sink's word.
fn given_up(options: &[&str]) -> TestResult {
    let sink = SmtpSink::start(options)?;
    let sluice = Sluice::start(&Settings::to(sink.address()))?;
    let id = submit(&sluice, "bob@example.net")?;
    let text = shown(&sluice, &id, "bounced")?;
    ensure!(text.contains("500 5.3.0"), "{text}");
    ensure!(options[1] == "." || sink.taken()?.is_empty(), "{options:?}: {:?}", sink.taken()?);
    Ok(())
}

macro_rules! refusing_modes {
    ($($name:ident: $options:expr;)*) => {
        $(#[test]
        fn $name() -> TestResult {
            given_up(&$options)
        })*
    };
}

refusing_modes! {
    a_hard_no_at_mail_ends_it: ["-f", "MAIL"];
    a_hard_no_at_rcpt_ends_it: ["-f", "RCPT"];
    a_hard_no_at_data_ends_it: ["-f", "DATA"];
    a_hard_no_at_the_dot_ends_it: ["-f", "."];
}

/// smtp-sink with `options` that only cost it features; the letter must arrive.
fn delivered(options: &[&str]) -> TestResult {
    let sink = SmtpSink::start(options)?;
    let sluice = Sluice::start(&Settings::to(sink.address()))?;
    let ids = (0..5).map(|n| submit(&sluice, &format!("r{n}@example.net"))).collect::<Result<Vec<_>>>()?;
    for id in ids {
        shown(&sluice, &id, "delivered")?;
    }
    let taken = sink.wait_for(5)?;
    ensure!(taken.iter().all(|mail| mail.contains("\n.\ntext\n")), "{taken:?}");
    Ok(())
}

macro_rules! lacking_modes {
    ($($name:ident: $options:expr;)*) => {
        $(#[test]
        fn $name() -> TestResult {
            delivered(&$options)
        })*
    };
}

lacking_modes! {
    a_server_with_all_features: ["-v"];
    a_server_without_esmtp: ["-e"];
    a_server_without_8bitmime: ["-8"];
    a_server_without_pipelining: ["-p"];
    a_server_without_enhanced_codes: ["-E"];
    a_pix: ["-P"];
    a_server_that_refuses_ehlo_but_takes_helo: ["-f", "EHLO"];
    a_slow_server: ["-w", "1"];
    a_server_slow_at_the_dot: ["-W", ".:1"];
    a_server_that_refuses_rset_and_quit: ["-f", "RSET,QUIT"];
}

#[test]
fn one_recipient_of_three_is_refused_and_one_is_put_off() -> TestResult {
    let tries = AtomicU32::new(0);
    let mailbox = Mailbox::misbehaving(move |_, step| match step {
        Step::Recipient("gone@example.net") => Action::Reply("550 5.1.1 no such user"),
        Step::Recipient("later@example.net") if tries.fetch_add(1, Ordering::Relaxed) < 2 => {
            Action::Reply("450 4.2.1 later")
        }
        Step::Connect | Step::Command(_) | Step::Recipient(_) | Step::Dot => Action::Accept,
    });
    let scene = Scene::before(mailbox, |_| ())?;
    let to = ["bob@example.net", "gone@example.net", "later@example.net"];
    let reply = scene.alice()?.submit(FROM, &to, MESSAGE)?.expect("250 2.0.0")?;
    let taken = scene.mailbox.wait_for(3)?;
    let of = |to: &str| taken.iter().find(|transaction| transaction.recipients == [to]).context(to.to_owned());
    let (first, second) = (&of("bob@example.net")?.content, &of("later@example.net")?.content);
    ensure!(first == second, "Message-ID, Date and all the rest stay as they were");
    let report = String::from_utf8_lossy(&of(FROM)?.content).into_owned();
    ensure!(report.contains("Final-Recipient: rfc822; gone@example.net"), "{report}");
    let id = queue_id(&reply.text()).context("no queue id")?.to_owned();
    let text = shown(&scene.sluice, &id, "550 5.1.1")?;
    ensure!(text.contains("gone@example.net"), "{text}");
    Ok(())
}

#[test]
fn a_lost_answer_to_the_dot_is_tried_again() -> TestResult {
    let dots = AtomicU32::new(0);
    let mailbox = Mailbox::misbehaving(move |_, step| match step {
        Step::Dot if dots.fetch_add(1, Ordering::Relaxed) == 0 => Action::Close,
        Step::Connect | Step::Command(_) | Step::Recipient(_) | Step::Dot => Action::Accept,
    });
    let scene = Scene::before(mailbox, |_| ())?;
    scene.alice()?.submit(FROM, &["bob@example.net"], MESSAGE)?.expect("250 2.0.0")?;
    scene.mailbox.wait_for(1)?;
    Ok(())
}

#[test]
fn odd_replies_are_understood_or_survived() -> TestResult {
    const ODD: [&str; 6] = [
        "250-one\r\n250-two\r\n250 three",
        "250",
        "250-\r\n250 ",
        "2xx what",
        "550-5.1.1 first\r\n550 5.1.1 second",
        "99999999999999999999",
    ];
    for reply in ODD {
        let mailbox = Mailbox::misbehaving(move |_, step| match step {
            Step::Recipient("odd@example.net") => Action::Reply(reply),
            Step::Connect | Step::Command(_) | Step::Recipient(_) | Step::Dot => Action::Accept,
        });
        let scene = Scene::before(mailbox, |_| ())?;
        let mut client = scene.alice()?;
        client.submit(FROM, &["odd@example.net"], MESSAGE)?.expect("250 2.0.0")?;
        client.submit(FROM, &["bob@example.com"], MESSAGE)?.expect("250 2.0.0")?;
        let good = |mail: &sluice_tests::sink::Transaction| mail.recipients == ["bob@example.com"];
        wait::for_condition("the good letter", || Ok(scene.mailbox.taken().iter().any(good))).context(reply)?;
    }
    Ok(())
}

#[test]
fn a_dead_host_does_not_hold_up_another() -> TestResult {
    let mailbox = std::sync::Arc::new(Mailbox::default());
    let sink = Sink::start(mailbox.clone())?;
    let stalled = Sink::start(std::sync::Arc::new(Mailbox::misbehaving(|_, step| match step {
        Step::Connect => Action::Stall,
        Step::Command(_) | Step::Recipient(_) | Step::Dot => Action::Accept,
    })))?;
    let mut settings = Settings::to(sink.address());
    settings.routes.insert(0, ("stalled.test".to_owned(), stalled.address()));
    let sluice = Sluice::start(&settings)?;
    for number in 0..200 {
        submit(&sluice, &format!("r{number}@stalled.test"))?;
    }
    let start = wait::now();
    submit(&sluice, "bob@example.net")?;
    mailbox.wait_for(1)?;
    ensure!(wait::elapsed(start) < Duration::from_secs(20), "{:?}", wait::elapsed(start));
    Ok(())
}
