//! The ledger of the crash proof: what was accepted against what the sink took and what was returned to the senders,
//! and the judgement over all of it.

mod judgement;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

pub use judgement::Judgement;

/// A recipient of a generated message: the message's number and the recipient's index within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient {
    /// The message's number.
    pub message: u64,
    /// From 0.
    pub index: u8,
}

/// A final dot that the sink answered with 250.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dot {
    /// Which start of Sluice opened the connection, from 0.
    pub run: u32,
    /// The sink's connection.
    pub connection: u64,
    /// Which final dot of the connection, from 0.
    pub sequence: u32,
}

/// A transaction of the sink, whether it came to a final dot or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId {
    /// The sink's connection.
    pub connection: u64,
    /// Which MAIL of the connection, from 1.
    pub mail: u32,
}

/// A report of failure (DSN) that came to the sender of the message that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its Message-ID.
    pub id: String,
    /// Whom it names with `Action: failed`.
    pub failed: Vec<Recipient>,
    /// Of its octets behind the header.
    pub digest: u64,
}

/// How a start of Sluice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `kill -9`: what was in flight may come again.
    Killed,
    /// SIGTERM and exit 0: nothing may.
    Drained,
}

#[derive(Default)]
struct Book {
    accepted: HashMap<u64, u8>,
    delivered: HashMap<Recipient, Vec<Dot>>,
    /// By the last transaction in which it was.
    refused: HashMap<Recipient, TransactionId>,
    /// By Message-ID: each delivery of it.
    reports: HashMap<String, Vec<(Report, Dot)>>,
    reported: HashSet<Recipient>,
    last_dot: HashMap<u64, u32>,
    ends: Vec<End>,
    foreign: Vec<String>,
}

/// Written by the generator and the sink as things happen, so it holds one lock for a few instructions at a time.
#[derive(Default)]
pub struct Ledger {
    book: Mutex<Book>,
}

impl Ledger {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sluice answered 250 for `message` with this many recipients.
    pub fn accepted(&self, message: u64, recipients: u8) {
        self.book().accepted.insert(message, recipients);
    }

    /// The sink is about to answer 250 for `recipients`.
    pub fn delivered(&self, recipients: &[Recipient], dot: Dot) {
        let mut book = self.book();
        for recipient in recipients {
            book.delivered.entry(*recipient).or_default().push(dot);
        }
        book.dot(dot.connection, dot.sequence);
    }

    /// A final dot has come, whatever it is answered with.
    pub fn dot(&self, connection: u64, sequence: u32) {
        self.book().dot(connection, sequence);
    }

    /// The sink is about to refuse `recipients` for good: they are to be reported to their sender, together.
    pub fn refused(&self, recipients: &[Recipient], transaction: TransactionId) {
        let mut book = self.book();
        book.refused.extend(recipients.iter().map(|recipient| (*recipient, transaction)));
    }

    /// The sink is about to answer 250 for a report.
    pub fn reported(&self, report: Report, dot: Dot) {
        let mut book = self.book();
        book.dot(dot.connection, dot.sequence);
        book.reported.extend(&report.failed);
        book.reports.entry(report.id.clone()).or_default().push((report, dot));
    }

    /// The sink was given what no generator made, or not as it was made.
    pub fn foreign(&self, what: String) {
        let mut book = self.book();
        if book.foreign.len() < 20 {
            book.foreign.push(what);
        }
    }

    /// The present run has ended, and all its sockets are closed.
    pub fn ended(&self, how: End) {
        self.book().ends.push(how);
    }

    /// The present run: how many have ended.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.book().ends.len() as u32
    }

    /// Messages accepted so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.book().accepted.len() as u64
    }

    /// Accepted recipients that were neither delivered to nor reported to their sender.
    #[must_use]
    pub fn open(&self) -> usize {
        let book = self.book();
        book.accepted
            .iter()
            .flat_map(|(message, count)| recipients(*message, *count))
            .filter(|r| book.is_open(r))
            .count()
    }

    /// What it comes to; `in_flight` is the most transactions that a kill can have interrupted.
    #[must_use]
    pub fn judge(&self, in_flight: usize) -> Judgement {
        self.book().judge(in_flight)
    }
}

fn recipients(message: u64, count: u8) -> impl Iterator<Item = Recipient> {
    (0..count).map(move |index| Recipient { message, index })
}

impl Book {
    fn is_open(&self, recipient: &Recipient) -> bool {
        !self.delivered.contains_key(recipient) && !self.reported.contains(recipient)
    }

    fn dot(&mut self, connection: u64, sequence: u32) {
        let last = self.last_dot.entry(connection).or_default();
        *last = sequence.max(*last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Recipient = Recipient { message: 1, index: 0 };
    const TWO: Recipient = Recipient { message: 2, index: 0 };

    fn dot(run: u32, connection: u64, sequence: u32) -> Dot {
        Dot { run, connection, sequence }
    }

    const FIRST: TransactionId = TransactionId { connection: 9, mail: 1 };
    const SECOND: TransactionId = TransactionId { connection: 9, mail: 2 };

    fn report(id: &str, failed: &[Recipient]) -> Report {
        Report { id: id.to_owned(), failed: failed.to_vec(), digest: 1 }
    }

    /// What is entered, and what the judgement must hold: lost, repeated, unexcused.
    fn check(entries: impl FnOnce(&Ledger), expect: (usize, usize, usize)) {
        let ledger = Ledger::default();
        entries(&ledger);
        let judgement = ledger.judge(1);
        let got = (judgement.lost.len(), judgement.repeated, judgement.unexcused.len());
        assert_eq!(got, expect, "{}", judgement.summary());
        assert_eq!(judgement.holds(), expect.0 == 0 && expect.2 == 0);
    }

    #[test]
    fn a_lost_recipient_is_found() {
        let two_recipients = |ledger: &Ledger| {
            ledger.accepted(1, 2);
            ledger.delivered(&[ONE], dot(0, 0, 0));
        };
        check(two_recipients, (1, 0, 0));
        check(|ledger| ledger.accepted(1, 1), (1, 0, 0));
    }

    #[test]
    fn a_reported_recipient_and_an_unanswered_message_are_not_lost() {
        let entries = |ledger: &Ledger| {
            ledger.accepted(1, 1);
            ledger.refused(&[ONE], FIRST);
            ledger.reported(report("a", &[ONE]), dot(0, 1, 0));
            ledger.delivered(&[TWO], dot(0, 0, 0));
        };
        check(entries, (0, 0, 0));
    }

    #[test]
    fn a_refused_recipient_that_is_not_reported_is_lost() {
        let entries = |ledger: &Ledger| {
            ledger.accepted(1, 1);
            ledger.refused(&[ONE], FIRST);
            assert_eq!(ledger.open(), 1);
        };
        check(entries, (1, 0, 0));
    }

    #[test]
    fn a_report_may_come_again_as_other_mail_may() {
        let again = |end: End| {
            move |ledger: &Ledger| {
                ledger.refused(&[ONE], FIRST);
                ledger.reported(report("a", &[ONE]), dot(0, 0, 0));
                ledger.ended(end);
                ledger.reported(report("a", &[ONE]), dot(1, 1, 0));
            }
        };
        check(again(End::Killed), (0, 1, 0));
        check(again(End::Drained), (0, 1, 1));
        let decided = |ledger: &Ledger| {
            ledger.refused(&[ONE], FIRST);
            ledger.reported(report("a", &[ONE]), dot(0, 0, 0));
            ledger.dot(0, 1);
            ledger.ended(End::Killed);
            ledger.reported(report("a", &[ONE]), dot(1, 1, 0));
        };
        check(decided, (0, 1, 1));
    }

    /// What is entered, and what is wrong with it.
    fn defect(entries: impl FnOnce(&Ledger), expect: &str) {
        let ledger = Ledger::default();
        entries(&ledger);
        let judgement = ledger.judge(10);
        let found = judgement.defects.join("\n");
        assert_eq!(judgement.defects.len(), usize::from(!expect.is_empty()), "{found}");
        assert!(found.contains(expect) && judgement.holds() == expect.is_empty(), "{found}");
    }

    #[test]
    fn what_is_wrong_with_reports_is_found() {
        let other = Recipient { message: 1, index: 1 };
        let doubled = |ledger: &Ledger| {
            ledger.refused(&[ONE], FIRST);
            ledger.reported(report("a", &[ONE]), dot(0, 0, 0));
            ledger.reported(report("b", &[ONE]), dot(0, 0, 1));
        };
        defect(doubled, "several reports");
        let split = |ledger: &Ledger| {
            ledger.refused(&[ONE, other], FIRST);
            ledger.reported(report("a", &[ONE]), dot(0, 0, 0));
            ledger.reported(report("b", &[other]), dot(0, 0, 1));
        };
        defect(split, "in one transaction");
        let apart = |ledger: &Ledger| {
            ledger.refused(&[ONE, other], FIRST);
            ledger.refused(&[other], SECOND);
            ledger.reported(report("a", &[ONE]), dot(0, 0, 0));
            ledger.reported(report("b", &[other]), dot(0, 0, 1));
        };
        defect(apart, "");
        let delivered_too = |ledger: &Ledger| {
            ledger.refused(&[ONE], FIRST);
            ledger.reported(report("a", &[ONE]), dot(0, 0, 0));
            ledger.delivered(&[ONE], dot(0, 0, 1));
        };
        defect(delivered_too, "delivered");
        let unfounded = |ledger: &Ledger| ledger.reported(report("a", &[ONE]), dot(0, 0, 0));
        defect(unfounded, "never refused");
        let changed = |ledger: &Ledger| {
            ledger.refused(&[ONE], FIRST);
            ledger.reported(report("a", &[ONE]), dot(0, 0, 0));
            ledger.ended(End::Killed);
            ledger.reported(Report { digest: 2, ..report("a", &[ONE]) }, dot(1, 1, 0));
        };
        defect(changed, "another text");
    }

    #[test]
    fn the_last_transaction_before_a_kill_may_come_again() {
        let entries = |ledger: &Ledger| {
            ledger.accepted(1, 1);
            ledger.delivered(&[ONE], dot(0, 0, 0));
            ledger.ended(End::Killed);
            ledger.delivered(&[ONE], dot(1, 1, 0));
        };
        check(entries, (0, 1, 0));
    }

    #[test]
    fn no_other_repeat_is_excused() {
        let within_a_run = |ledger: &Ledger| {
            ledger.delivered(&[ONE], dot(0, 0, 0));
            ledger.delivered(&[ONE], dot(0, 1, 0));
        };
        check(within_a_run, (0, 1, 1));
        let after_a_drain = |ledger: &Ledger| {
            ledger.delivered(&[ONE], dot(0, 0, 0));
            ledger.ended(End::Drained);
            ledger.delivered(&[ONE], dot(1, 1, 0));
        };
        check(after_a_drain, (0, 1, 1));
        let decided_before_the_kill = |ledger: &Ledger| {
            ledger.delivered(&[ONE], dot(0, 0, 0));
            ledger.delivered(&[TWO], dot(0, 0, 1));
            ledger.ended(End::Killed);
            ledger.delivered(&[ONE], dot(1, 1, 0));
        };
        check(decided_before_the_kill, (0, 1, 1));
        let more_than_could_be_in_flight = |ledger: &Ledger| {
            ledger.delivered(&[ONE], dot(0, 0, 0));
            ledger.delivered(&[TWO], dot(0, 1, 0));
            ledger.ended(End::Killed);
            ledger.delivered(&[ONE, TWO], dot(1, 2, 0));
        };
        check(more_than_could_be_in_flight, (0, 2, 1));
    }

    #[test]
    fn an_altered_message_fails_it() {
        let ledger = Ledger::default();
        ledger.foreign("message 1 is not what was submitted".to_owned());
        assert!(!ledger.judge(1).holds());
    }
}
