//! The sink of the proof: takes mail and reports into the ledger; puts off and refuses some of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::moments::{Moment, Trap};
use super::report;
use super::{Plan, Plant};
use crate::generator;
use crate::ledger::{Dot, Ledger, Recipient, Report, TransactionId};
use crate::random::Random;
use crate::sink::{Action, Handler, Step, Transaction};

/// What the sink does with a recipient at RCPT, told by the seed and the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Takes,
    Refuses,
    /// Puts it off once, then takes it.
    TakesLater,
    /// Puts it off once, then refuses it.
    RefusesLater,
}

/// A connection and its present transaction.
#[derive(Debug, Default)]
struct Seat {
    /// Which run opened it. Once a run has ended its sockets are closed, so this is sure at the connect and no longer
    /// at a dot that comes out of a buffer.
    run: u32,
    /// Final dots so far.
    dots: u32,
    /// MAILs so far.
    mails: u32,
    is_report: bool,
    /// Taken at RCPT.
    recipients: Vec<Recipient>,
    /// What is reached when the answer is written.
    next: Option<Moment>,
}

pub(super) struct LedgerSink {
    ledger: Arc<Ledger>,
    trap: Arc<Trap>,
    seed: u64,
    plant: Option<Plant>,
    seats: Mutex<HashMap<u64, Seat>>,
    put_off: Mutex<HashSet<Recipient>>,
}

impl LedgerSink {
    pub(super) fn new(ledger: &Arc<Ledger>, trap: &Arc<Trap>, plan: &Plan) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            trap: Arc::clone(trap),
            seed: plan.seed,
            plant: plan.plant,
            seats: Mutex::default(),
            put_off: Mutex::default(),
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<u64, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the connection's seat, or changes it, for a moment.
    fn with<T>(&self, connection: u64, change: impl FnOnce(&mut Seat) -> T) -> T {
        change(self.seats().entry(connection).or_default())
    }

    fn manner(&self, recipient: Recipient) -> Manner {
        match Random::new(self.seed ^ recipient.message << 8 ^ u64::from(recipient.index)).below(100) {
            0..4 => Manner::Refuses,
            4..6 => Manner::RefusesLater,
            6..8 => Manner::TakesLater,
            _ => Manner::Takes,
        }
    }

    /// Whether the message is refused at each final dot.
    fn refuses_content(&self, message: u64) -> bool {
        Random::new(self.seed.rotate_left(17) ^ message).one_in(40)
    }

    fn recipient(&self, connection: u64, recipient: Recipient) -> Action {
        let manner = self.manner(recipient);
        let is_new = || self.put_off.lock().unwrap_or_else(PoisonError::into_inner).insert(recipient);
        match manner {
            Manner::Takes | Manner::Refuses => {}
            Manner::TakesLater | Manner::RefusesLater if is_new() => return Action::Reply("450 4.2.0 once more"),
            Manner::TakesLater | Manner::RefusesLater => {}
        }
        match manner {
            Manner::Refuses | Manner::RefusesLater => {
                self.trap.reached(Moment::BeforeRefusal);
                let transaction = self.with(connection, |seat| {
                    seat.next = Some(Moment::AfterRefusal);
                    TransactionId { connection, mail: seat.mails }
                });
                self.ledger.refused(&[recipient], transaction);
                Action::ReplyNow("550 5.1.1 no such user")
            }
            Manner::Takes | Manner::TakesLater => {
                if dice().one_in(50) {
                    return Action::Reply("450 4.2.1 not now");
                }
                self.with(connection, |seat| seat.recipients.push(recipient));
                Action::Accept
            }
        }
    }

    fn dot(&self, connection: u64) -> Action {
        let (sequence, is_report, taken) = self.with(connection, |seat| {
            seat.dots += 1;
            (seat.dots - 1, seat.is_report, std::mem::take(&mut seat.recipients))
        });
        self.ledger.dot(connection, sequence);
        if is_report {
            if dice().one_in(12) {
                self.with(connection, |seat| seat.next = Some(Moment::ReportDeferred));
                return Action::ReplyNow("451 4.3.0 not now");
            }
        } else if taken.first().is_some_and(|first| self.refuses_content(first.message)) {
            self.trap.reached(Moment::BeforeDotRefusal);
            let transaction = self.with(connection, |seat| {
                seat.next = Some(Moment::AfterDotRefusal);
                TransactionId { connection, mail: seat.mails }
            });
            self.ledger.refused(&taken, transaction);
            return Action::ReplyNow("554 5.7.1 not this");
        }
        let mut dice = dice();
        match () {
            () if dice.one_in(200) => Action::Reply("451 4.3.0 not now"),
            () if dice.one_in(500) => Action::Close,
            () => Action::Accept,
        }
    }

    fn command(&self, connection: u64, line: &str) {
        let is_report = line.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("MAIL FROM:<>"));
        if is_report || line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("MAIL ")) {
            self.with(connection, |seat| {
                seat.mails += 1;
                seat.is_report = is_report;
                seat.recipients.clear();
            });
        }
        if is_report {
            self.trap.reached(Moment::ReportMail);
        } else if line.eq_ignore_ascii_case("DATA") && self.with(connection, |seat| seat.is_report) {
            self.trap.reached(Moment::ReportData);
        }
    }

    fn report(&self, transaction: &Transaction, dot: Dot) {
        let report = match report::read(transaction) {
            Ok(report) => report,
            Err(error) => return self.ledger.foreign(format!("a report: {error:#}")),
        };
        let planted = report.failed.first().is_some_and(|recipient| recipient.message % 10 == 5);
        if planted && self.plant == Some(Plant::ForgottenReport) {
            return;
        }
        if planted && self.plant == Some(Plant::DoubleReport) {
            self.ledger.reported(Report { id: format!("{}-again", report.id), ..report.clone() }, dot);
        }
        self.ledger.reported(report, dot);
        self.with(transaction.connection, |seat| seat.next = Some(Moment::ReportTaken));
        self.trap.reached(Moment::ReportDot);
    }
}

fn dice() -> Random {
    Random::new(Random::fresh_seed())
}

impl Handler for LedgerSink {
    fn step(&self, connection: u64, step: Step<'_>) -> Action {
        match step {
            Step::Connect => {
                let run = self.ledger.run();
                self.with(connection, |seat| seat.run = run);
                if dice().one_in(50) { Action::ReplyAndClose("421 4.3.2 come again") } else { Action::Accept }
            }
            Step::Command(line) => {
                self.command(connection, line);
                Action::Accept
            }
            Step::Recipient(address) => {
                if let Some(recipient) = generator::recipient(address) {
                    return self.recipient(connection, recipient);
                }
                self.trap.reached(Moment::ReportRecipient);
                if dice().one_in(50) { Action::Reply("450 4.2.1 not now") } else { Action::Accept }
            }
            Step::Dot => self.dot(connection),
        }
    }

    fn content(&self, connection: u64) {
        if self.with(connection, |seat| seat.is_report) {
            self.trap.reached(Moment::ReportContent);
        }
    }

    fn message(&self, transaction: Transaction) {
        let Transaction { connection, sequence, .. } = transaction;
        let (run, is_report) = self.with(connection, |seat| (seat.run, seat.is_report));
        let dot = Dot { run, connection, sequence };
        if is_report {
            return self.report(&transaction, dot);
        }
        if let Err(error) = generator::check(self.seed, &transaction.content) {
            self.ledger.foreign(format!("{error:#}"));
        }
        let recipients: Vec<_> = transaction.recipients.iter().filter_map(|text| generator::recipient(text)).collect();
        if recipients.len() < transaction.recipients.len() {
            self.ledger.foreign(format!("unknown recipients among {:?}", transaction.recipients));
        }
        let planted = recipients.first().is_some_and(|recipient| recipient.message % 1000 == 500);
        if planted && self.plant == Some(Plant::ForgottenDelivery) {
            return;
        }
        if planted && self.plant == Some(Plant::DoubleDelivery) {
            self.ledger.delivered(&recipients, dot);
        }
        self.ledger.delivered(&recipients, dot);
    }

    fn written(&self, connection: u64) {
        if let Some(moment) = self.with(connection, |seat| seat.next.take()) {
            self.trap.reached(moment);
        }
    }
}
