//! What the pump and the couriers of a delivery share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sluice_mail::{AttemptInfo, Clock, Failure, Reply};
use sluice_queue::{Action, ConnId, Dispatcher, Diverted};
use sluice_route::Routes;
use sluice_spool::{BodyError, Decision, SettleError, ShardSource, Ticket, Work, WorkId};
use sluice_wire::client::Connector;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::Revival;
use crate::config::Config;
use crate::courier::Courier;
use crate::job::{Job, Where};
use crate::outcome;
use crate::plain_hosts::PlainHosts;
use crate::telemetry::{Story, Telemetry};

/// Octets per permit of the memory for large bodies.
const PERMIT: u64 = 64 << 10;

/// How long a connection waits for room for a large body, before it carries something else.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);

/// Decisions made without a connection whose fate is not known yet, at most. More are not looked at: where the log
/// fails them it fails these.
const UNDECIDED_MAX: usize = 1_000;

/// Why a body is not in memory.
pub(crate) enum NoBody {
    /// There is no room for it now.
    NoRoom,
    /// It cannot be read.
    Unreadable(BodyError),
}

/// Held by the pump and by each courier. The locks are never held across a wait: the dispatcher's is taken twice
/// per envelope for well under a microsecond, the others once per connection.
pub(crate) struct Shared {
    pub(crate) source: Arc<dyn ShardSource>,
    pub(crate) routes: Arc<dyn Routes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Config,
    pub(crate) hostname: Arc<str>,
    pub(crate) telemetry: Telemetry,
    pub(crate) connector: Connector,
    pub(crate) plain_hosts: PlainHosts,
    dispatcher: Mutex<Dispatcher<Job>>,
    /// By which an idle connection is woken.
    doors: Mutex<HashMap<ConnId, Arc<Notify>>>,
    couriers: Mutex<JoinSet<()>>,
    /// Memory for large bodies.
    room: Arc<Semaphore>,
    room_permits: u32,
    is_draining: AtomicBool,
    revival: Arc<Revival>,
    /// What [`Revival::asked`] said when the dispatcher was told last.
    revived: AtomicU64,
    /// To the pump: decisions that no courier waits for.
    undecided: mpsc::Sender<Ticket>,
    poison: OnceLock<SettleError>,
    poisoned: Notify,
}

impl Shared {
    /// With the tickets that the pump has to look at.
    pub(crate) fn new(
        parts: crate::Parts,
        config: Config,
        connector: Connector,
        telemetry: Telemetry,
    ) -> (Self, mpsc::Receiver<Ticket>) {
        let (undecided, tickets) = mpsc::channel(UNDECIDED_MAX);
        let room_permits = u32::try_from(config.max_large_bodies / PERMIT).unwrap_or(u32::MAX >> 3).max(1);
        let shared = Self {
            source: parts.source,
            routes: parts.routes,
            clock: parts.clock,
            hostname: parts.hostname,
            telemetry,
            connector,
            plain_hosts: PlainHosts::default(),
            dispatcher: Mutex::new(Dispatcher::new(config.limits.clone())),
            doors: Mutex::default(),
            couriers: Mutex::default(),
            room: Arc::new(Semaphore::new(room_permits as usize)),
            room_permits,
            config,
            is_draining: AtomicBool::new(false),
            revival: parts.revival,
            revived: AtomicU64::new(0),
            undecided,
            poison: OnceLock::new(),
            poisoned: Notify::new(),
        };
        (shared, tickets)
    }

    /// Calls the dispatcher, then does what it asks for.
    pub(crate) fn dispatch<R>(self: &Arc<Self>, call: impl FnOnce(&mut Dispatcher<Job>) -> R) -> R {
        let mut dispatcher = lock(&self.dispatcher);
        let result = call(&mut dispatcher);
        let Some(first) = dispatcher.poll_action() else { return result };
        let mut actions = vec![first];
        actions.extend(std::iter::from_fn(|| dispatcher.poll_action()));
        drop(dispatcher);
        for action in actions {
            self.act(action);
        }
        result
    }

    /// A connection was cut off. Leaves what the dispatcher asks for to the next caller.
    pub(crate) fn abandon(&self, conn: ConnId) {
        lock(&self.dispatcher).closed(conn);
    }

    /// Queues a job for its site, or diverts it.
    pub(crate) fn queue(self: &Arc<Self>, job: Job) {
        if self.is_draining.load(Ordering::Relaxed) {
            return self.source.give_back(job.id());
        }
        let site = job.route.site.clone();
        let now = self.clock.now();
        let asked = self.revival.asked();
        if self.revived.load(Ordering::Acquire) != asked && self.revived.swap(asked, Ordering::AcqRel) != asked {
            self.dispatch(|dispatcher| dispatcher.revive(now));
        }
        if let Err(diverted) = self.dispatch(|dispatcher| dispatcher.push(now, &site, job.queued())) {
            self.divert(diverted);
        }
    }

    pub(crate) fn divert(&self, Diverted { item: job, eta }: Diverted<Job>) {
        self.telemetry.diverted(job.envelope(), eta);
        self.settle_unwatched(job.id(), Decision::Divert { eta });
    }

    /// Settles work that no connection depends on; the pump looks what becomes of it.
    pub(crate) fn settle_unwatched(&self, work: WorkId, decision: Decision) {
        self.watch(self.source.settle(work, decision));
    }

    /// Hands a ticket to the pump.
    pub(crate) fn watch(&self, ticket: Ticket) {
        // Not when there are too many already.
        let _ = self.undecided.try_send(ticket);
    }

    /// What became of a decision. `false` when nothing may be sent any more.
    pub(crate) fn settled(self: &Arc<Self>, result: Result<(), SettleError>) -> bool {
        match result {
            Ok(()) => true,
            Err(error @ SettleError::Poisoned(_)) => {
                self.poison(error);
                false
            }
            // The shard was lost meanwhile; whoever owns it now will decide.
            Err(error @ SettleError::Unknown) => {
                self.telemetry.settle_failed(&error);
                true
            }
        }
    }

    /// An attempt ended with these results: tells of it and settles the work.
    pub(crate) fn conclude(
        &self,
        work: Work,
        site: Option<&Arc<str>>,
        results: Vec<Result<Reply, Failure>>,
        at: Where,
    ) -> Ticket {
        let Work { id, mut envelope, .. } = work;
        let wall = self.clock.wall();
        let info = AttemptInfo {
            site: site.cloned(),
            mx: at.mx.clone(),
            peer: at.peer,
            source: at.source.clone(),
            tls: at.tls.clone(),
            duration: at.duration,
        };
        let summary = outcome::note(&mut envelope, results, &info, &self.config.judgement);
        let retry_in =
            (summary.deferred > 0).then(|| outcome::wait(&envelope, wall, &self.config.retry, rand::random()));
        let site = site.map(|site| &**site);
        self.telemetry.attempt(&Story { envelope: &envelope, site, summary: &summary, at: &at, wall, retry_in });
        self.source.settle(id, outcome::decision(envelope, info, wall, retry_in))
    }

    /// The job's body into memory, unless it is there. A large one waits a little for room.
    pub(crate) async fn load_body(&self, job: &mut Job) -> Result<(), NoBody> {
        if job.work.body.is_some() {
            return Ok(());
        }
        let permits = u32::try_from(u64::from(job.envelope().size).div_ceil(PERMIT)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(permits.clamp(1, self.room_permits));
        job.room = match tokio::time::timeout(ROOM_PATIENCE, room).await {
            Ok(Ok(room)) => Some(room),
            Ok(Err(_)) | Err(_) => return Err(NoBody::NoRoom),
        };
        job.work.body = Some(self.source.body(job.id()).await.map_err(NoBody::Unreadable)?);
        Ok(())
    }

    /// Begins nothing new, and gives back what was not begun.
    pub(crate) fn drain(self: &Arc<Self>) {
        self.is_draining.store(true, Ordering::Relaxed);
        for job in self.dispatch(Dispatcher::drain) {
            self.source.give_back(job.id());
        }
    }

    /// The log cannot be written any more: nothing is sent from now on.
    pub(crate) fn poison(self: &Arc<Self>, error: SettleError) {
        self.telemetry.settle_failed(&error);
        if self.poison.set(error).is_ok() {
            // What was queued stays unsettled, and comes again after a restart.
            drop(self.dispatch(Dispatcher::drain));
            self.poisoned.notify_one();
        }
    }

    /// Waits until the log cannot be written any more.
    pub(crate) async fn wait_for_poison(&self) -> SettleError {
        loop {
            self.poisoned.notified().await;
            if let Some(error) = self.poison.get() {
                return error.clone();
            }
        }
    }

    pub(crate) fn door(&self, conn: ConnId) -> Arc<Notify> {
        lock(&self.doors).entry(conn).or_default().clone()
    }

    /// Cuts off all connections.
    pub(crate) fn cut_off(&self) {
        let couriers = std::mem::take(&mut *lock(&self.couriers));
        drop(couriers);
    }

    /// Waits until every connection has ended, `within` at most; what is left then is cut off.
    pub(crate) async fn wait_for_couriers(&self, within: Duration) {
        let mut couriers = std::mem::take(&mut *lock(&self.couriers));
        _ = tokio::time::timeout(within, async { while couriers.join_next().await.is_some() {} }).await;
    }

    fn act(self: &Arc<Self>, action: Action) {
        match action {
            Action::Open(conn) => {
                let courier = Courier::new(self.clone(), conn);
                let mut couriers = lock(&self.couriers);
                while couriers.try_join_next().is_some() {}
                couriers.spawn(courier.run());
            }
            Action::Wake(conn) => self.door(conn).notify_one(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
