//! The ledger of the crash proof: what was accepted against what the sink took, and the judgement over both.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

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
    refused: HashSet<Recipient>,
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
        let last = book.last_dot.entry(dot.connection).or_default();
        *last = dot.sequence.max(*last);
    }

    /// The sink refused `recipient` for good: its fate is a bounce.
    pub fn refused(&self, recipient: Recipient) {
        self.book().refused.insert(recipient);
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

    /// Accepted recipients that the sink has neither taken nor refused.
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
        !self.delivered.contains_key(recipient) && !self.refused.contains(recipient)
    }

    fn judge(&self, in_flight: usize) -> Judgement {
        let mut out = Judgement { foreign: self.foreign.clone(), ..Judgement::default() };
        out.kills = self.ends.iter().filter(|end| **end == End::Killed).count();
        for (message, count) in &self.accepted {
            for recipient in recipients(*message, *count) {
                out.accepted += 1;
                if self.is_open(&recipient) {
                    out.lost.push(recipient);
                }
            }
        }
        out.lost.sort_unstable();
        out.refused = self.refused.len();
        let mut interrupted: BTreeMap<u32, HashSet<(u64, u32)>> = BTreeMap::new();
        for (recipient, dots) in &self.delivered {
            out.delivered += 1;
            out.unanswered += usize::from(!self.accepted.contains_key(&recipient.message));
            out.repeated += dots.len() - 1;
            for pair in dots.windows(2) {
                match self.excuse(pair[0], pair[1]) {
                    Ok(()) => {
                        _ = interrupted.entry(pair[0].run).or_default().insert((pair[0].connection, pair[0].sequence))
                    }
                    Err(why) => out
                        .unexcused
                        .push(format!("recipient {} of message {}: {why}", recipient.index, recipient.message)),
                }
            }
        }
        for (run, transactions) in interrupted {
            out.interrupted_max = out.interrupted_max.max(transactions.len());
            if transactions.len() > in_flight {
                let count = transactions.len();
                out.unexcused
                    .push(format!("{count} transactions of run {run} came again, {in_flight} could be in flight"));
            }
        }
        out
    }

    /// A repeat is the kill's when the first was the last final dot of its connection and its run was killed: only
    /// then can its fate have been undecided.
    fn excuse(&self, first: Dot, second: Dot) -> Result<(), String> {
        if first.run == second.run {
            return Err(format!("twice within run {}", first.run));
        }
        if self.ends.get(first.run as usize) != Some(&End::Killed) {
            return Err(format!("again after run {} ended in peace", first.run));
        }
        let last = self.last_dot.get(&first.connection).copied().unwrap_or_default();
        if first.sequence < last {
            let (run, connection) = (first.run, first.connection);
            let since = last - first.sequence;
            return Err(format!(
                "run {run}, connection {connection}: {since} more final dots followed it, so it was decided"
            ));
        }
        Ok(())
    }
}

/// What a ledger comes to, counted in recipients.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Recipients of messages answered with 250.
    pub accepted: usize,
    /// Recipients that the sink took at least once.
    pub delivered: usize,
    /// Of these, recipients of messages whose answer a kill cut off.
    pub unanswered: usize,
    /// Recipients that the sink refused for good.
    pub refused: usize,
    /// Deliveries beyond the first.
    pub repeated: usize,
    /// `kill -9`s.
    pub kills: usize,
    /// The most transactions that came again after one kill.
    pub interrupted_max: usize,
    /// Accepted recipients that were neither taken nor refused.
    pub lost: Vec<Recipient>,
    /// Repeats that no kill explains.
    pub unexcused: Vec<String>,
    /// Deliveries that are not what was submitted.
    pub foreign: Vec<String>,
}

impl Judgement {
    /// Nothing lost, nothing changed, no repeat beyond the transactions in flight.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost.is_empty() && self.unexcused.is_empty() && self.foreign.is_empty()
    }

    /// The result in a few lines.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!(
            "accepted {} recipients, delivered {} ({} of them unanswered), refused {}, repeated {} over {} kills ({} transactions at most after one)\n",
            self.accepted,
            self.delivered,
            self.unanswered,
            self.refused,
            self.repeated,
            self.kills,
            self.interrupted_max
        );
        for (what, list) in [("unexcused repeats", &self.unexcused), ("altered", &self.foreign)] {
            for line in list.iter().take(10) {
                text.push_str(&format!("  {what}: {line}\n"));
            }
        }
        for lost in self.lost.iter().take(10) {
            text.push_str(&format!("  lost: recipient {} of message {}\n", lost.index, lost.message));
        }
        let (lost, unexcused, foreign) = (self.lost.len(), self.unexcused.len(), self.foreign.len());
        text.push_str(&format!("lost {lost}, unexcused repeats {unexcused}, altered {foreign}\n"));
        text
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
    fn a_refused_recipient_and_an_unanswered_message_are_not_lost() {
        let entries = |ledger: &Ledger| {
            ledger.accepted(1, 1);
            ledger.refused(ONE);
            ledger.delivered(&[TWO], dot(0, 0, 0));
        };
        check(entries, (0, 0, 0));
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
