//! What is known of one site: its mail, its connections, how it fares.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::lanes::Lanes;
use super::pace::Pace;
use super::window::Window;
use super::{ConnId, SiteLimits};

#[derive(Debug)]
pub(super) struct Site<T> {
    pub(super) name: Arc<str>,
    pub(super) lanes: Lanes<T>,
    pub(super) health: Health,
    pub(super) window: Window,
    pub(super) pace: Pace,
    /// All of its connections, those that are about to ask for their first envelope included.
    pub(super) connections: u32,
    /// Connections that were opened or woken and have not asked yet: each will take an envelope.
    pub(super) coming: u32,
    /// The idle ones; the last to become idle is woken first, so that the others may end.
    pub(super) idle: VecDeque<ConnId>,
    /// Stands in the line for a connection of the process-wide total.
    pub(super) in_line: bool,
    pub(super) last_used: Instant,
}

/// Whether mail to the site is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Yes.
    Open,
    /// Over one connection, to see whether it lives again.
    Probing,
    /// Not before then.
    Dead(Instant),
}

impl<T> Site<T> {
    pub(super) fn new(now: Instant, name: Arc<str>, limits: &SiteLimits) -> Self {
        Self {
            name,
            lanes: Lanes::new(),
            health: Health::Open,
            window: Window::new(limits.initial_destination_concurrency.min(limits.max_smtp_out)),
            pace: Pace::default(),
            connections: 0,
            coming: 0,
            idle: VecDeque::new(),
            in_line: false,
            last_used: now,
        }
    }

    /// How many connections its own state allows.
    pub(super) fn allowed(&self, limits: &SiteLimits) -> u32 {
        match self.health {
            Health::Open => self.window.size().min(limits.max_smtp_out),
            Health::Probing => 1,
            Health::Dead(_) => 0,
        }
    }

    /// Whether there is mail that nobody is coming for.
    pub(super) fn wants_connection(&self) -> bool {
        self.lanes.len() > self.coming as usize
    }

    /// Whether nothing but its history would be lost with it.
    pub(super) fn is_unused(&self) -> bool {
        self.connections == 0 && self.lanes.len() == 0 && !self.in_line
    }
}
