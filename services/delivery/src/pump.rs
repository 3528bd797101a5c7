//! From the shards to the sites: takes due envelopes, finds where they go, queues them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use sluice_mail::{Failure, Host, Shard};
use sluice_queue::Dispatcher;
use sluice_route::Resolved;
use sluice_spool::{ShardEvent, Work};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::DeliveryError;
use crate::desk;
use crate::job::{Job, Where};
use crate::shared::{Inbox, Shared};

/// How often sizes are told.
const TICK: Duration = Duration::from_secs(1);
/// Domains that are asked for at once.
const RESOLVING_MAX: usize = 200;

/// Decisions without a connection that are watched at once.
const WATCHED_MAX: usize = 100;

/// Runs until shutdown, or until the log cannot be written any more.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    inbox: Inbox,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), DeliveryError> {
    let _cut_off = CutOff(shared);
    let Inbox { mut tickets, tasks } = inbox;
    let mut writers = JoinSet::new();
    writers.spawn(desk::run(shared.clone(), tasks));
    let mut lobby = Lobby::new(shared.clone());
    let source = shared.source.clone();
    let mut undecided = FuturesUnordered::new();
    let mut tick = tokio::time::interval(TICK);
    let mut event = source.next();
    let mut wake_at = None;
    let stop = async { drop(shutdown.wait_for(|stop| *stop).await) };
    let poison = shared.wait_for_poison();
    tokio::pin!(stop, poison);
    loop {
        tokio::select! {
            biased;
            error = &mut poison => return Err(DeliveryError::Spool(error)),
            () = &mut stop => break,
            _ = tick.tick() => lobby.tick(),
            Some(result) = undecided.next() => drop(shared.settled(result)),
            Some(ticket) = tickets.recv(), if undecided.len() < WATCHED_MAX => undecided.push(ticket),
            Some((host, answer)) = lobby.resolving.next() => lobby.resolved(&host, &answer),
            () = shared.rearm.notified() => wake_at = lobby.next_timeout(),
            () = until(wake_at), if wake_at.is_some() => wake_at = lobby.timed_out(),
            taken = &mut event => {
                event = source.next();
                lobby.take(taken);
                // A long row of envelopes at hand must not keep the thread to itself.
                tokio::task::consume_budget().await;
            }
        }
    }
    drop(event);
    lobby.give_back(&|_| true);
    shared.drain();
    tokio::select! {
        error = &mut poison => Err(DeliveryError::Spool(error)),
        () = finish(shared, &mut writers) => Ok(()),
    }
}

/// Waits within the drain's time until every connection has ended, and every report that is owed by then is written.
async fn finish(shared: &Arc<Shared>, writers: &mut JoinSet<()>) {
    let all = async {
        shared.wait_for_couriers().await;
        shared.desk.close();
        while writers.join_next().await.is_some() {}
    };
    _ = tokio::time::timeout(shared.config.drain_timeout, all).await;
}

/// Waits until then; for ever when there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// However the pump ends, no connection outlives it.
struct CutOff<'a>(&'a Shared);

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        self.0.cut_off();
    }
}

/// Where envelopes wait for the routes of their domains. Bounded by what the window lets out of the shards.
struct Lobby {
    shared: Arc<Shared>,
    #[expect(clippy::vec_box, reason = "work comes boxed and goes boxed")]
    waiting: HashMap<Host, Vec<Box<Work>>>,
    resolving: FuturesUnordered<BoxFuture<'static, (Host, Resolved)>>,
    /// Domains whose turn to be asked for has not come.
    next: VecDeque<Host>,
    ticks: u32,
}

impl Lobby {
    fn new(shared: Arc<Shared>) -> Self {
        let resolving = FuturesUnordered::new();
        Self { shared, waiting: HashMap::new(), resolving, next: VecDeque::new(), ticks: 0 }
    }

    fn take(&mut self, event: ShardEvent) {
        match event {
            ShardEvent::Work(work) => self.arrive(work),
            ShardEvent::Owned(shard, _) => self.shared.source.window(shard, self.shared.config.window),
            ShardEvent::Draining(shard, _) => {
                self.give_back(&|of| of == shard);
                for job in self.shared.dispatch(|dispatcher| dispatcher.take(&|job: &Job| job.shard() == shard)) {
                    self.shared.source.give_back(job.id());
                }
            }
            ShardEvent::Lost(shard) => {
                drop(self.leave(&|of| of == shard));
                drop(self.shared.dispatch(|dispatcher| dispatcher.take(&|job: &Job| job.shard() == shard)));
            }
        }
    }

    fn arrive(&mut self, work: Box<Work>) {
        let wall = self.shared.clock.wall();
        if work.envelope.expires <= wall {
            return self.shared.watch(self.shared.expire(*work));
        }
        let host = &work.envelope.domain;
        if let Some(waiting) = self.waiting.get_mut(host) {
            return waiting.push(work);
        }
        if let Some(answer) = self.shared.routes.at_hand(host) {
            return self.route(work, &answer);
        }
        let host = host.clone();
        self.waiting.insert(host.clone(), vec![work]);
        self.next.push_back(host);
        self.resolve_more();
    }

    fn resolve_more(&mut self) {
        while self.resolving.len() < RESOLVING_MAX
            && let Some(host) = self.next.pop_front()
        {
            let routes = self.shared.routes.clone();
            self.resolving.push(Box::pin(async move {
                let answer = routes.resolve(&host).await;
                (host, answer)
            }));
        }
    }

    fn resolved(&mut self, host: &Host, answer: &Resolved) {
        for work in self.waiting.remove(host).unwrap_or_default() {
            self.route(work, answer);
        }
        self.resolve_more();
    }

    fn route(&self, work: Box<Work>, answer: &Resolved) {
        match answer {
            Ok(route) => self.shared.queue(Job::new(work, route.clone())),
            Err(failure) => self.fail(work, failure),
        }
    }

    /// There is no route: an attempt that failed before it had a site.
    fn fail(&self, work: Box<Work>, failure: &Failure) {
        if work.envelope.attempts == 0 {
            self.shared.telemetry.first_attempt(&work.envelope, self.shared.clock.wall());
        }
        let open = work.envelope.open_recipients().count();
        let results = vec![Err(failure.clone()); open];
        self.shared.watch(self.shared.conclude(*work, None, results, Where::default()));
    }

    fn give_back(&mut self, which: &dyn Fn(Shard) -> bool) {
        for work in self.leave(which) {
            self.shared.source.give_back(work.id);
        }
    }

    /// Takes out what waits here of these shards.
    #[expect(clippy::vec_box, reason = "work comes boxed and goes boxed")]
    fn leave(&mut self, which: &dyn Fn(Shard) -> bool) -> Vec<Box<Work>> {
        let mut left = Vec::new();
        for waiting in self.waiting.values_mut() {
            let (out, kept): (Vec<_>, Vec<_>) = std::mem::take(waiting).into_iter().partition(|w| which(w.shard));
            left.extend(out);
            *waiting = kept;
        }
        left
    }

    /// When a rate lets more mail out.
    fn next_timeout(&self) -> Option<Instant> {
        self.shared.dispatch(|dispatcher| dispatcher.poll_timeout())
    }

    /// It may do so now.
    fn timed_out(&self) -> Option<Instant> {
        let now = self.shared.clock.now();
        self.shared.telemetry.rate_waited();
        self.shared.dispatch(|dispatcher| {
            dispatcher.handle_timeout(now);
            dispatcher.poll_timeout()
        })
    }

    fn tick(&mut self) {
        let now = self.shared.clock.now();
        self.ticks = self.ticks.wrapping_add(1);
        let forget = self.ticks.is_multiple_of(60);
        let stats = self.shared.dispatch(|dispatcher: &mut Dispatcher<Job>| {
            if forget {
                dispatcher.forget_unused(now);
            }
            dispatcher.stats()
        });
        self.shared.telemetry.sizes(stats, self.waiting.values().map(Vec::len).sum());
    }
}
