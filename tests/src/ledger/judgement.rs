//! What a ledger comes to.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Book, Dot, End, Recipient, Report, recipients};

/// What a ledger comes to, counted in recipients where nothing else is said.
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
    /// Recipients that were reported to their sender.
    pub reported: usize,
    /// Reports, told apart by their Message-IDs.
    pub reports: usize,
    /// Reports that name more than one recipient.
    pub common_reports: usize,
    /// Deliveries beyond the first, each report counted as one recipient.
    pub repeated: usize,
    /// Of these, of reports.
    pub repeated_reports: usize,
    /// `kill -9`s.
    pub kills: usize,
    /// The most transactions that came again after one kill.
    pub interrupted_max: usize,
    /// Accepted recipients that were neither delivered to nor reported.
    pub lost: Vec<Recipient>,
    /// Repeats that no kill explains.
    pub unexcused: Vec<String>,
    /// Reports that should not be, or not so.
    pub defects: Vec<String>,
    /// Deliveries that are not what was submitted.
    pub foreign: Vec<String>,
}

impl Judgement {
    /// Nothing lost, nothing changed, no repeat beyond the transactions in flight, one report for what failed together.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost.is_empty() && self.unexcused.is_empty() && self.defects.is_empty() && self.foreign.is_empty()
    }

    /// The result in a few lines.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!(
            "accepted {} recipients, delivered {} ({} of them unanswered), refused {}, repeated {} over {} kills ({} transactions at most after one)\n\
             reported {} recipients in {} reports ({} of them of several recipients), {} of them repeated\n",
            self.accepted,
            self.delivered,
            self.unanswered,
            self.refused,
            self.repeated,
            self.kills,
            self.interrupted_max,
            self.reported,
            self.reports,
            self.common_reports,
            self.repeated_reports,
        );
        for (what, list) in
            [("unexcused repeats", &self.unexcused), ("wrong report", &self.defects), ("altered", &self.foreign)]
        {
            for line in list.iter().take(10) {
                text.push_str(&format!("  {what}: {line}\n"));
            }
        }
        for lost in self.lost.iter().take(10) {
            text.push_str(&format!("  lost: recipient {} of message {}\n", lost.index, lost.message));
        }
        let (lost, unexcused) = (self.lost.len(), self.unexcused.len());
        let (defects, foreign) = (self.defects.len(), self.foreign.len());
        text.push_str(&format!(
            "lost {lost}, unexcused repeats {unexcused}, wrong reports {defects}, altered {foreign}\n"
        ));
        text
    }
}

/// Transactions that came again, by the run that was killed during them.
type Interrupted = BTreeMap<u32, HashSet<(u64, u32)>>;

impl Book {
    pub(super) fn judge(&self, in_flight: usize) -> Judgement {
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
        let mut interrupted = Interrupted::new();
        for (recipient, dots) in &self.delivered {
            out.delivered += 1;
            out.unanswered += usize::from(!self.accepted.contains_key(&recipient.message));
            out.repeated += dots.len() - 1;
            let what = || format!("recipient {} of message {}", recipient.index, recipient.message);
            self.judge_repeats(dots, what, &mut interrupted, &mut out);
        }
        self.judge_reports(&mut interrupted, &mut out);
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

    fn judge_repeats(
        &self,
        dots: &[Dot],
        what: impl Fn() -> String,
        interrupted: &mut Interrupted,
        out: &mut Judgement,
    ) {
        for pair in dots.windows(2) {
            match self.excuse(pair[0], pair[1]) {
                Ok(()) => {
                    _ = interrupted.entry(pair[0].run).or_default().insert((pair[0].connection, pair[0].sequence))
                }
                Err(why) => out.unexcused.push(format!("{}: {why}", what())),
            }
        }
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

    fn judge_reports(&self, interrupted: &mut Interrupted, out: &mut Judgement) {
        out.reports = self.reports.len();
        out.reported = self.reported.len();
        let mut named: HashMap<Recipient, BTreeSet<&str>> = HashMap::new();
        for (id, deliveries) in &self.reports {
            let dots: Vec<Dot> = deliveries.iter().map(|(_, dot)| *dot).collect();
            out.repeated += dots.len() - 1;
            out.repeated_reports += dots.len() - 1;
            self.judge_repeats(&dots, || format!("report {id}"), interrupted, out);
            let Some((first, _)) = deliveries.first() else { continue };
            out.common_reports += usize::from(first.failed.len() > 1);
            if deliveries.iter().any(|(report, _)| report != first) {
                out.defects.push(format!("{id} came again with another text"));
            }
            for recipient in &first.failed {
                named.entry(*recipient).or_default().insert(id);
            }
            self.judge_named(first, out);
        }
        for (recipient, ids) in &named {
            if ids.len() > 1 {
                let (index, message) = (recipient.index, recipient.message);
                out.defects.push(format!("recipient {index} of message {message} is in several reports: {ids:?}"));
            }
        }
        self.judge_togetherness(&named, out);
    }

    fn judge_named(&self, report: &Report, out: &mut Judgement) {
        for recipient in &report.failed {
            let (id, index, message) = (&report.id, recipient.index, recipient.message);
            if self.delivered.contains_key(recipient) {
                out.defects.push(format!("{id} names recipient {index} of message {message}, who was delivered to"));
            } else if !self.refused.contains_key(recipient) {
                out.defects.push(format!("{id} names recipient {index} of message {message}, who was never refused"));
            }
        }
    }

    /// What was refused for the last time in one transaction failed in one attempt, which makes one report.
    fn judge_togetherness(&self, named: &HashMap<Recipient, BTreeSet<&str>>, out: &mut Judgement) {
        let mut by_transaction: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
        for (recipient, ids) in named {
            // Several reports on one recipient are a defect of their own.
            if let (Some(transaction), Some(id)) = (self.refused.get(recipient), ids.first()) {
                by_transaction.entry((*transaction, recipient.message)).or_default().insert(id);
            }
        }
        for ((_, message), ids) in by_transaction {
            if ids.len() > 1 {
                out.defects.push(format!("recipients of message {message} failed in one transaction: {ids:?}"));
            }
        }
    }
}
