//! What an operator's limits do to mail, against scripted peers on loopback.

use super::harness::Bench;
use super::peer::{Peer, Script};
use crate::{RawConfig, RawDomain};

const BODY: &str = "Subject: hi\r\n\r\nbye\r\n";

/// How long each `count + 1` messages in a row took, by when they ended, in ms.
async fn spans(bench: &Bench, n: usize, count: usize) -> Vec<u64> {
    let mut ends: Vec<_> = bench.fates(n).await.iter().map(|fate| fate.at.0).collect();
    ends.sort_unstable();
    ends.windows(count + 1).map(|window| window[count] - window[0]).collect()
}

#[tokio::test]
async fn a_rate_holds_mail_back_and_lets_it_go_in_time() {
    let peer = Peer::start(Script::default()).await;
    let slow = |c: &mut RawConfig| {
        let domain = "slow.example".into();
        c.domains = vec![RawDomain { domain, max_msg_rate: "4/s".parse().ok(), ..RawDomain::default() }];
    };
    let hosts = [peer.address];
    let bench = Bench::with(&[("slow.example", &hosts), ("quick.example", &hosts)], slow, Box::new(|spool| spool));
    for _ in 0..10 {
        bench.send("slow.example", &["ann"], BODY).await;
    }
    for _ in 0..100 {
        bench.send("quick.example", &["ann"], BODY).await;
    }
    peer.wait(|seen| seen.mails.iter().filter(|mail| mail.to[0].ends_with("quick.example")).count() == 100).await;
    assert!(peer.seen().mails.len() < 110, "the quick domain of the same site does not wait for the slow one");
    let fates = bench.fates(110).await;
    let mut ends: Vec<_> =
        fates.iter().filter(|fate| fate.about.domain.to_string() == "slow.example").map(|fate| fate.at.0).collect();
    ends.sort_unstable();
    // Some ms of play, as it is handed out in time and ends a little later.
    assert!(ends.windows(5).all(|five| five[4] - five[0] > 950), "{ends:?}");
    assert!(ends[9] - ends[0] < 10_000, "{ends:?}");
    assert!(bench.counted("sluice_delivery_rate_waits_total", &[]) >= 1);
}

#[tokio::test]
async fn a_rate_of_connections_holds_them_back() {
    let peer = Peer::start(Script::default()).await;
    let change = |c: &mut RawConfig| {
        c.max_connect_rate = "2/s".parse().unwrap();
        c.max_msg_per_connection = 1;
    };
    let bench = Bench::with(&[("example.net", &[peer.address])], change, Box::new(|spool| spool));
    for _ in 0..6 {
        bench.send("example.net", &["ann"], BODY).await;
    }
    let spans = spans(&bench, 6, 2).await;
    assert!(spans.iter().all(|span| *span > 950), "{spans:?}");
    assert_eq!(peer.seen().connections, 6);
}
