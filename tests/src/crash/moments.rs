//! The steps between a failing reply and the delivery of its report, and the trap that holds the sink at one of them
//! until Sluice is killed.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A step at which Sluice is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Moment {
    /// A recipient is about to be refused with 550.
    BeforeRefusal,
    /// It was.
    AfterRefusal,
    /// A message is about to be refused with 554 at the dot.
    BeforeDotRefusal,
    /// It was.
    AfterDotRefusal,
    /// MAIL of a report has come.
    ReportMail,
    /// Its RCPT.
    ReportRecipient,
    /// Its DATA.
    ReportData,
    /// The first line of its content.
    ReportContent,
    /// Its final dot, which is not answered yet.
    ReportDot,
    /// Its final dot was answered with 451.
    ReportDeferred,
    /// Its final dot was answered with 250.
    ReportTaken,
}

impl Moment {
    /// All, in the order in which they come.
    pub(super) const ALL: [Self; 11] = [
        Self::BeforeRefusal,
        Self::AfterRefusal,
        Self::BeforeDotRefusal,
        Self::AfterDotRefusal,
        Self::ReportMail,
        Self::ReportRecipient,
        Self::ReportData,
        Self::ReportContent,
        Self::ReportDot,
        Self::ReportDeferred,
        Self::ReportTaken,
    ];

    /// Whether what Sluice does next is what the kill is to hit: it is then left a moment, and the connection goes on.
    pub(super) fn is_after(self) -> bool {
        match self {
            Self::AfterRefusal | Self::AfterDotRefusal | Self::ReportDeferred | Self::ReportTaken => true,
            Self::BeforeRefusal
            | Self::BeforeDotRefusal
            | Self::ReportMail
            | Self::ReportRecipient
            | Self::ReportData
            | Self::ReportContent
            | Self::ReportDot => false,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BeforeRefusal => "before 550 to RCPT",
            Self::AfterRefusal => "after 550 to RCPT",
            Self::BeforeDotRefusal => "before 554 to the dot",
            Self::AfterDotRefusal => "after 554 to the dot",
            Self::ReportMail => "report: at MAIL",
            Self::ReportRecipient => "report: at RCPT",
            Self::ReportData => "report: at DATA",
            Self::ReportContent => "report: in the content",
            Self::ReportDot => "report: dot, before 250",
            Self::ReportDeferred => "report: after 451",
            Self::ReportTaken => "report: after 250",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Armed(Moment),
    Sprung,
}

/// Armed by the one that kills, sprung by the first of the sink's connections that comes to the moment.
#[derive(Debug)]
pub(super) struct Trap {
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Trap {
    fn default() -> Self {
        Self { state: Mutex::new(State::Idle), changed: Condvar::new() }
    }
}

/// A connection is held no longer than this, should the kill not come.
const HELD_MAX: Duration = Duration::from_secs(20);

impl Trap {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection is at `moment`. Holds it until the kill is over, unless the moment is one after which it goes on.
    pub(super) fn reached(&self, moment: Moment) {
        let mut state = self.state();
        if *state != State::Armed(moment) {
            return;
        }
        *state = State::Sprung;
        self.changed.notify_all();
        if !moment.is_after() {
            drop(self.changed.wait_timeout_while(state, HELD_MAX, |state| *state == State::Sprung));
        }
    }

    /// Waits for `moment` for `limit` at most; whether it came. It must be [released](Self::release) in either case.
    pub(super) fn wait_for(&self, moment: Moment, limit: Duration) -> bool {
        let mut state = self.state();
        *state = State::Armed(moment);
        let waited = self.changed.wait_timeout_while(state, limit, |state| *state != State::Sprung);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let came = *state == State::Sprung;
        if !came {
            *state = State::Idle;
        }
        came
    }

    /// The kill is over.
    pub(super) fn release(&self) {
        *self.state() = State::Idle;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_trap_holds_the_first_that_comes_to_its_moment() {
        let trap = Arc::new(Trap::default());
        trap.reached(Moment::ReportDot);
        let sink = std::thread::spawn({
            let trap = Arc::clone(&trap);
            move || {
                while *trap.state() == State::Idle {
                    std::thread::yield_now();
                }
                trap.reached(Moment::ReportMail);
                trap.reached(Moment::ReportDot);
            }
        });
        assert!(trap.wait_for(Moment::ReportDot, crate::wait::PATIENCE));
        assert!(!sink.is_finished(), "it is held");
        trap.release();
        sink.join().unwrap();
        assert!(!trap.wait_for(Moment::ReportMail, Duration::ZERO));
        assert_eq!(*trap.state(), State::Idle);
    }

    #[test]
    fn all_moments_have_names_of_their_own() {
        let names: std::collections::HashSet<_> = Moment::ALL.iter().map(Moment::to_string).collect();
        assert_eq!(names.len(), Moment::ALL.len());
    }
}
