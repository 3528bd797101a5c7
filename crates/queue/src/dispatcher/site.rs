//! What is known of one site, and of one domain with limits of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Limits;
use super::window::Window;
use crate::{DomainLimits, SiteLimits};

/// A site: its queues share its window, its health and its limits.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) name: Arc<str>,
    pub(super) limits: SiteLimits,
    pub(super) health: Health,
    pub(super) window: Window,
    /// How far the window may grow: the widest limit that one of its queues is held to.
    pub(super) window_max: u32,
    /// Of all its queues.
    pub(super) connections: u32,
    /// Of them, those that count against its `max_smtp_out`.
    pub(super) counted: u32,
    /// Connections that are about to end.
    pub(super) going: u32,
    /// Idle ones that were not asked to give up their places.
    pub(super) idle: u32,
    /// The queue of all domains without limits of their own, first; then those of the others.
    pub(super) queues: Vec<usize>,
    /// Queues that could go on if a connection of the site ended. Empty while there is but one queue.
    pub(super) line: VecDeque<usize>,
    pub(super) message_meter: Option<usize>,
    pub(super) connect_meter: Option<usize>,
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

impl Site {
    pub(super) fn new(now: Instant, name: Arc<str>, limits: SiteLimits) -> Self {
        Self {
            name,
            health: Health::Open,
            window: Window::new(1),
            window_max: limits.max_smtp_out,
            limits,
            connections: 0,
            counted: 0,
            going: 0,
            idle: 0,
            queues: Vec::new(),
            line: VecDeque::new(),
            message_meter: None,
            connect_meter: None,
            last_used: now,
        }
    }

    /// The window that it begins with, at first and when it lives again.
    pub(super) fn open_window(&mut self, limits: &Limits) {
        self.health = Health::Open;
        self.window = Window::new(limits.initial_destination_concurrency.min(self.window_max));
    }

    /// How many connections its own state allows.
    pub(super) fn allowed(&self) -> u32 {
        match self.health {
            Health::Open => self.window.size().min(self.window_max),
            Health::Probing => 1,
            Health::Dead(_) => 0,
        }
    }

    /// Whether one of its queues may open another connection.
    pub(super) fn has_room(&self, counts: bool) -> bool {
        self.connections < self.allowed() && !(counts && self.counted >= self.limits.max_smtp_out)
    }

    /// Whether it has more connections than are good for it now.
    pub(super) fn is_crowded(&self) -> bool {
        self.connections > self.allowed()
    }

    /// Whether another queue may want what one of its queues has.
    pub(super) fn is_shared(&self) -> bool {
        self.queues.len() > 1
    }
}

/// A domain with limits of its own, at whichever sites its mail goes to.
#[derive(Debug)]
pub(super) struct Area {
    pub(super) limits: DomainLimits,
    pub(super) connections: u32,
    /// Connections that are about to end.
    pub(super) going: u32,
    /// Its queues, one for each site.
    pub(super) queues: Vec<usize>,
    /// Of them, those that could go on if a connection of the domain ended.
    pub(super) line: VecDeque<usize>,
    pub(super) message_meter: Option<usize>,
    pub(super) connect_meter: Option<usize>,
}

impl Area {
    pub(super) fn has_room(&self) -> bool {
        self.limits.max_smtp_out.is_none_or(|max| self.connections < max)
    }
}
