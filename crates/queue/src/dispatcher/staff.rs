//! Which site is given a connection, and which site and connection stand where.

use std::sync::Arc;
use std::time::Instant;

use super::site::{Health, Site};
use super::{Action, ConnId, ConnState, Connection, Dispatcher};

impl<T> Dispatcher<T> {
    /// Wakes or opens connections for a site while it has mail that nobody is coming for.
    pub(super) fn staff(&mut self, at: usize) {
        if self.draining {
            return;
        }
        while let Some(site) = self.sites[at].as_mut() {
            if !site.wants_connection() {
                return;
            }
            if let Some(conn) = site.idle.pop_back() {
                site.coming += 1;
                self.idle -= 1;
                self.set_state(conn, ConnState::Coming);
                self.actions.push_back(Action::Wake(conn));
                continue;
            }
            if site.connections >= site.allowed(&self.limits.site) {
                return;
            }
            let free = self.limits.total_max_smtp_out.saturating_sub(self.open);
            // The scarcer connections are, the fewer a site may have: a slow one cannot take them all.
            if free == 0 || (site.connections > 0 && site.connections >= (free / 8).max(1)) {
                if site.connections == 0 {
                    self.stand_in_line(at);
                }
                return;
            }
            site.connections += 1;
            site.coming += 1;
            self.open += 1;
            let conn = self.new_connection(at);
            self.actions.push_back(Action::Open(conn));
        }
    }

    /// The total is used up: the site gets the next place that falls free, an idle connection's at once.
    fn stand_in_line(&mut self, at: usize) {
        if let Some(site) = self.sites[at].as_mut().filter(|site| !site.in_line) {
            site.in_line = true;
            self.line.push_back(at);
        }
        if self.idle == 0 {
            return;
        }
        let idle = self.sites.iter().flatten().find_map(|site| site.idle.front().copied());
        if let Some(conn) = idle
            && let Some(connection) = self.connections[conn.0 as usize].as_mut()
            && !connection.give_up_place
        {
            connection.give_up_place = true;
            self.actions.push_back(Action::Wake(conn));
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.open >= self.limits.total_max_smtp_out
    }

    pub(super) fn connection(&self, conn: ConnId) -> Option<Connection> {
        self.connections.get(conn.0 as usize).copied().flatten()
    }

    fn set_state(&mut self, conn: ConnId, state: ConnState) {
        if let Some(Some(connection)) = self.connections.get_mut(conn.0 as usize) {
            connection.state = state;
        }
    }

    fn new_connection(&mut self, site: usize) -> ConnId {
        let connection = Connection { site, served: 0, state: ConnState::Coming, give_up_place: false };
        if let Some(place) = self.free.pop() {
            self.connections[place as usize] = Some(connection);
            return ConnId(place);
        }
        self.connections.push(Some(connection));
        ConnId((self.connections.len() - 1) as u32)
    }

    /// The place of a site, made when it is new; `None` when too many are known and in use.
    pub(super) fn site_at(&mut self, now: Instant, name: &Arc<str>) -> Option<usize> {
        if let Some(at) = self.by_name.get(name) {
            return Some(*at);
        }
        if self.vacant.is_empty() && self.sites.len() >= self.limits.max_sites {
            self.forget(&|site| site.health == Health::Open);
        }
        let site = Some(Site::new(now, name.clone(), &self.limits.site));
        let at = match self.vacant.pop() {
            Some(at) => {
                self.sites[at] = site;
                at
            }
            None if self.sites.len() < self.limits.max_sites => {
                self.sites.push(site);
                self.sites.len() - 1
            }
            None => return None,
        };
        self.by_name.insert(name.clone(), at);
        Some(at)
    }

    /// Forgets the unused sites that `which` names.
    pub(super) fn forget(&mut self, which: &dyn Fn(&Site<T>) -> bool) {
        for (at, slot) in self.sites.iter_mut().enumerate() {
            if let Some(site) = slot.take_if(|site| site.is_unused() && which(site)) {
                self.by_name.remove(&site.name);
                self.vacant.push(at);
            }
        }
    }
}
