//! Which site and queue stand where: made when mail comes for them, forgotten when they are not used any more.

use std::sync::Arc;
use std::time::Instant;

use sluice_mail::{Host, Rate};

use super::Dispatcher;
use super::meter::Meter;
use super::queue::{Queue, Terms};
use super::site::{Area, Health, Site};
use super::waits::Gate;
use crate::{DomainLimits, SiteLimits};

impl<T> Dispatcher<T> {
    /// The place of a site, made when it is new; `None` when too many are known and in use.
    pub(super) fn site_at(&mut self, now: Instant, name: &Arc<str>) -> Option<usize> {
        if let Some(at) = self.by_name.get(name) {
            return Some(*at);
        }
        if self.sites.len() >= self.limits.max_sites {
            self.forget(now, &|site| site.health == Health::Open);
            if self.sites.len() >= self.limits.max_sites {
                return None;
            }
        }
        let limits = self.policy.site_limits(name);
        let mut site = Site::new(now, name.clone(), limits);
        site.message_meter = self.gate(limits.max_msg_rate);
        site.connect_meter = self.gate(limits.max_connect_rate);
        site.open_window(&self.limits);
        let at = self.sites.insert(site);
        let terms = self.terms(at, None)?;
        self.add_queue(Queue::new(at, None, terms));
        self.by_name.insert(name.clone(), at);
        Some(at)
    }

    /// The queue for a domain's mail to a site, made when it is new; `None` when too many are known.
    pub(super) fn queue_at(&mut self, site: usize, domain: &Host) -> Option<usize> {
        let Some(limits) = self.policy.domain_limits(domain).copied() else {
            return self.sites.get(site)?.queues.first().copied();
        };
        if let Some(at) = self.by_domain.get(&(site, limits.place)) {
            return Some(*at);
        }
        if self.by_domain.len() >= self.limits.max_sites {
            return None;
        }
        self.know_area(limits);
        let terms = self.terms(site, Some(&limits))?;
        if !terms.counts
            && let Some(site) = self.sites.get_mut(site)
        {
            site.window_max = site.window_max.max(limits.max_smtp_out.unwrap_or(0));
        }
        let at = self.add_queue(Queue::new(site, Some(limits.place), terms));
        self.by_domain.insert((site, limits.place), at);
        Some(at)
    }

    fn add_queue(&mut self, queue: Queue<T>) -> usize {
        let (site, domain) = (queue.site, queue.domain);
        let at = self.queues.insert(queue);
        if let Some(site) = self.sites.get_mut(site) {
            site.queues.push(at);
        }
        if let Some(Some(area)) = domain.and_then(|place| self.areas.get_mut(place)) {
            area.queues.push(at);
        }
        at
    }

    fn know_area(&mut self, limits: DomainLimits) {
        if self.areas.get(limits.place).is_none_or(Option::is_some) {
            return;
        }
        let area = Area {
            limits,
            connections: 0,
            going: 0,
            queues: Vec::new(),
            line: std::collections::VecDeque::new(),
            message_meter: self.gate(limits.max_msg_rate.flatten()),
            connect_meter: self.gate(limits.max_connect_rate.flatten()),
        };
        self.areas[limits.place] = Some(area);
    }

    fn gate(&mut self, rate: Option<Rate>) -> Option<usize> {
        let rate = rate.filter(|rate| !rate.is_none())?;
        Some(self.gates.insert(Gate::new(Meter::new(rate))))
    }

    /// What holds for a queue of the site: the site's limits and those of the domain. A domain's own limit that is
    /// wider than the site's holds instead of it, unless the site's was said of that site by name.
    fn terms(&self, site: usize, domain: Option<&DomainLimits>) -> Option<Terms> {
        let site = self.sites.get(site)?;
        let area = domain.and_then(|domain| self.areas.get(domain.place)?.as_ref());
        let SiteLimits { max_smtp_out, max_msg_per_connection, max_msg_rate, max_connect_rate, said } = site.limits;
        let own = domain.copied().unwrap_or_default();
        let wider = |own: Option<Option<Rate>>, rate: Option<Rate>| match (own, rate) {
            (Some(own), Some(rate)) => own.is_none_or(|own| own.per_second() > rate.per_second()),
            (_, None) | (None, _) => false,
        };
        let counts = said.max_smtp_out || own.max_smtp_out.is_none_or(|own| own <= max_smtp_out);
        let messages = said.max_msg_rate || !wider(own.max_msg_rate, max_msg_rate);
        let connects = said.max_connect_rate || !wider(own.max_connect_rate, max_connect_rate);
        let rates = [max_msg_rate.filter(|_| messages), own.max_msg_rate.flatten()];
        let connect_rates = [max_connect_rate.filter(|_| connects), own.max_connect_rate.flatten()];
        let rate = rates.into_iter().flatten().min_by(|a, b| a.per_second().total_cmp(&b.per_second()));
        let nothing_may_go = rates.iter().chain(&connect_rates).flatten().any(Rate::is_none);
        Some(Terms {
            paused: nothing_may_go || own.max_smtp_out == Some(0) || (counts && max_smtp_out == 0),
            max_msg_per_connection: own.max_msg_per_connection.unwrap_or(max_msg_per_connection),
            counts,
            messages: [site.message_meter.filter(|_| messages), area.and_then(|area| area.message_meter)],
            connects: [site.connect_meter.filter(|_| connects), area.and_then(|area| area.connect_meter)],
            rate,
            max_queued: Terms::held(rate, self.limits.max_queued),
        })
    }

    /// Forgets the unused sites that `which` names. One whose rate still remembers something is used.
    pub(super) fn forget(&mut self, now: Instant, which: &dyn Fn(&Site) -> bool) {
        let is_fresh =
            |gate: &Option<usize>| gate.is_none_or(|at| self.gates.get(at).is_none_or(|gate| gate.meter.is_fresh(now)));
        let is_unused = |site: &Site| {
            site.connections == 0
                && site.queues.iter().all(|at| self.queues.get(*at).is_none_or(Queue::is_unused))
                && is_fresh(&site.message_meter)
                && is_fresh(&site.connect_meter)
        };
        let unused: Vec<usize> =
            self.sites.iter().filter(|(_, site)| which(site) && is_unused(site)).map(|(at, _)| at).collect();
        for at in unused {
            let Some(site) = self.sites.remove(at) else { continue };
            self.by_name.remove(&site.name);
            for gate in [site.message_meter, site.connect_meter].into_iter().flatten() {
                self.gates.remove(gate);
            }
            for queue in site.queues {
                let Some(place) = self.queues.remove(queue).and_then(|queue| queue.domain) else { continue };
                self.by_domain.remove(&(at, place));
                if let Some(Some(area)) = self.areas.get_mut(place) {
                    area.queues.retain(|other| *other != queue);
                }
            }
        }
    }
}
