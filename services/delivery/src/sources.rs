//! The addresses that connections come from, by turns, and the names we go by.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{Config, Source};

/// Rows of turns. Hosts share them by chance, so that their number is bounded; with one row for all, hosts that are
/// connected to in a rhythm would always meet the same source.
const ROWS: usize = 64;
/// How often it is told that a source cannot be used, at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// All sources by IP family. Each host sees those of its family by turns, and hosts begin with different ones. Shared by
/// all couriers without a lock: whose turn it is need not be exact.
#[derive(Debug)]
pub(crate) struct Sources {
    v4: Turns,
    v6: Turns,
    /// No peer may go by one of these.
    pub(crate) own_names: Arc<[Arc<str>]>,
}

#[derive(Debug)]
struct Turns {
    sources: Vec<Place>,
    next: [AtomicUsize; ROWS],
}

#[derive(Debug)]
struct Place {
    source: Source,
    /// When it was told last that it cannot be used.
    told: Mutex<Option<Instant>>,
}

impl Sources {
    pub(crate) fn new(config: &Config, hostname: &Arc<str>) -> Self {
        let turns = |is_v6| Turns {
            sources: config.sources.iter().filter(|source| source.address.is_ipv6() == is_v6).map(Place::new).collect(),
            next: std::array::from_fn(|_| AtomicUsize::new(0)),
        };
        let of_sources = config.sources.iter().filter_map(|source| source.ehlo_name.as_ref());
        let mut own_names: Vec<_> =
            [hostname].into_iter().chain(&config.ehlo_name).chain(of_sources).cloned().collect();
        own_names.sort();
        own_names.dedup();
        Self { v4: turns(false), v6: turns(true), own_names: own_names.into() }
    }

    /// Whether no source was named: connections come from wherever the system says.
    pub(crate) fn is_empty(&self) -> bool {
        self.v4.sources.is_empty() && self.v6.sources.is_empty()
    }

    /// Whether a host at this address can be connected to. When sources are named, nothing is sent from any other
    /// address: so one of the host's IP family is needed.
    pub(crate) fn reach(&self, address: SocketAddr) -> bool {
        self.is_empty() || !self.turns(address).sources.is_empty()
    }

    /// The sources for a connection to this host, beginning with the one whose turn it is: each is to be tried when
    /// those before it cannot be used.
    pub(crate) fn by_turns(&self, host: &str, address: SocketAddr) -> impl Iterator<Item = &Source> {
        let turns = self.turns(address);
        let n = turns.sources.len();
        let first = if n > 1 { turns.take_turn(host) } else { 0 };
        (0..n).filter_map(move |i| turns.sources.get(first.wrapping_add(i) % n)).map(|place| &place.source)
    }

    /// Whether it is to be told that this source cannot be used: it was not told lately.
    pub(crate) fn is_news(&self, source: &Source, now: Instant) -> bool {
        let places = self.v4.sources.iter().chain(&self.v6.sources);
        let Some(place) = places.into_iter().find(|place| place.source.address == source.address) else { return false };
        let mut told = place.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| now.saturating_duration_since(told) < TOLD_EVERY) {
            return false;
        }
        *told = Some(now);
        true
    }

    fn turns(&self, address: SocketAddr) -> &Turns {
        if address.is_ipv6() { &self.v6 } else { &self.v4 }
    }
}

impl Turns {
    fn take_turn(&self, host: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        host.hash(&mut hasher);
        let hash = hasher.finish() as usize;
        self.next[hash % ROWS].fetch_add(1, Ordering::Relaxed).wrapping_add(hash / ROWS)
    }
}

impl Place {
    fn new(source: &Source) -> Self {
        Self { source: source.clone(), told: Mutex::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RawConfig;

    fn sources(addresses: &[&str]) -> Sources {
        let mut config = Config::try_from(RawConfig::default()).unwrap();
        config.ehlo_name = Some("out.example.org".into());
        config.sources = addresses
            .iter()
            .map(|text| Source {
                name: (*text).into(),
                address: text.parse().unwrap(),
                ehlo_name: Some("a.org".into()),
            })
            .collect();
        Sources::new(&config, &"mail.example.org".into())
    }

    fn order(sources: &Sources, to: &str) -> Vec<String> {
        sources.by_turns("mx.example.net", to.parse().unwrap()).map(|source| source.name.to_string()).collect()
    }

    #[test]
    fn those_of_the_peers_family_take_turns() {
        let sources = sources(&["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"]);
        let mut before = order(&sources, "198.51.100.1:25");
        for _ in 0..5 {
            let next = order(&sources, "198.51.100.1:25");
            before.rotate_left(1);
            assert_eq!(next, before);
            assert_eq!(order(&sources, "[2001:db8::9]:25"), ["2001:db8::1"]);
        }
        before.sort();
        assert_eq!(before, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    }

    #[test]
    fn hosts_that_are_connected_to_in_a_rhythm_or_only_once_share_the_sources_too() {
        let sources = sources(&["192.0.2.1", "192.0.2.2"]);
        let first =
            |host: &str| sources.by_turns(host, "198.51.100.1:25".parse().unwrap()).next().unwrap().name.clone();
        for _ in 0..10 {
            let [one, two] = [first("a.example"), first("a.example")];
            assert_ne!(one, two);
            first("b.example");
        }
        let once = (0..1000).filter(|i| *first(&format!("mx{i}.example")) == *"192.0.2.1").count();
        assert!((400..=600).contains(&once), "{once}");
    }

    #[test]
    fn nothing_is_sent_from_an_address_that_was_not_named() {
        let (none, v4) = (sources(&[]), sources(&["192.0.2.1"]));
        for (sources, to, reached) in [
            (&none, "198.51.100.1:25", true),
            (&none, "[2001:db8::9]:25", true),
            (&v4, "198.51.100.1:25", true),
            (&v4, "[2001:db8::9]:25", false),
        ] {
            assert_eq!(sources.reach(to.parse().unwrap()), reached, "{to}");
        }
        assert_eq!(order(&none, "198.51.100.1:25"), Vec::<String>::new());
        assert_eq!(order(&v4, "[2001:db8::9]:25"), Vec::<String>::new());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an instant cannot be made without the clock")]
    fn a_source_that_cannot_be_used_is_told_of_once_a_minute() {
        let (sources, now) = (sources(&["192.0.2.1", "192.0.2.2"]), Instant::now());
        let [a, b] = [0, 1].map(|i| sources.v4.sources[i].source.clone());
        let at = |seconds| now + Duration::from_secs(seconds);
        for (source, when, news) in
            [(&a, at(0), true), (&a, at(59), false), (&b, at(59), true), (&a, at(60), true), (&b, at(61), false)]
        {
            assert_eq!(sources.is_news(source, when), news);
        }
    }

    #[test]
    fn all_our_names_are_known() {
        let names = sources(&["192.0.2.1", "192.0.2.2"]).own_names;
        assert_eq!(
            names.iter().map(|name| &**name).collect::<Vec<_>>(),
            ["a.org", "mail.example.org", "out.example.org"]
        );
    }
}
