//! What the pump and the couriers of a delivery share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sluice_limits::Rates;
use sluice_mail::{Clock, Domain};
use sluice_queue::{Action, ConnId, Dispatcher, Diverted};
use sluice_registry::Registry;
use sluice_route::Routes;
use sluice_spool::{BodyError, SettleError, ShardSource, Ticket};
use sluice_wire::client::Connector;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::Revival;
use crate::config::Config;
use crate::courier::Courier;
use crate::desk::{Desk, Task};
use crate::job::Job;
use crate::plain_hosts::PlainHosts;
use crate::sources::Sources;
use crate::telemetry::Telemetry;

/// Octets per permit of the memory for large bodies.
const PERMIT: u64 = 64 << 10;

/// How long a connection waits for room for a large body, before it carries something else.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);

/// Decisions made without a connection whose fate is not known yet, at most. More are not looked at: where the log
/// fails them it fails these.
const UNDECIDED_MAX: usize = 1_000;

/// Accounts whose rate of reports is remembered at once, per process.
const REPORTING_ACCOUNTS_MAX: usize = 100_000;

/// What the pump has to look after.
pub(crate) struct Inbox {
    /// Decisions that no courier waits for.
    pub(crate) tickets: mpsc::Receiver<Ticket>,
    /// Reports to be written.
    pub(crate) tasks: mpsc::UnboundedReceiver<Task>,
}

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
    pub(crate) registry: Arc<Registry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Config,
    pub(crate) hostname: Arc<str>,
    /// The hostname, when it is a domain: whose keys sign reports.
    pub(crate) domain: Option<Domain>,
    pub(crate) telemetry: Telemetry,
    pub(crate) connector: Connector,
    pub(crate) plain_hosts: PlainHosts,
    pub(crate) sources: Sources,
    /// Where reports are written.
    pub(crate) desk: Desk,
    /// Reports to senders, per account.
    pub(crate) report_rates: Rates<Arc<str>>,
    dispatcher: Mutex<Dispatcher<Job>>,
    /// The pump waits with it until [`Dispatcher::poll_timeout`]; knocked at when that has changed.
    pub(crate) rearm: Notify,
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
    /// With what the pump has to look after.
    pub(crate) fn new(
        parts: crate::Parts,
        config: Config,
        connector: Connector,
        telemetry: Telemetry,
    ) -> (Self, Inbox) {
        let (undecided, tickets) = mpsc::channel(UNDECIDED_MAX);
        let (desk, tasks) = Desk::new(config.max_large_bodies / 4);
        let room_permits = u32::try_from(config.max_large_bodies / PERMIT).unwrap_or(u32::MAX >> 3).max(1);
        let sources = Sources::new(&config, &parts.hostname);
        let shared = Self {
            source: parts.source,
            routes: parts.routes,
            registry: parts.registry,
            desk,
            report_rates: Rates::new(REPORTING_ACCOUNTS_MAX),
            clock: parts.clock,
            domain: Domain::parse(&parts.hostname).ok(),
            hostname: parts.hostname,
            telemetry,
            connector,
            plain_hosts: PlainHosts::default(),
            sources,
            dispatcher: Mutex::new(Dispatcher::new(config.limits.clone(), config.policy.clone())),
            rearm: Notify::new(),
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
        (shared, Inbox { tickets, tasks })
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
        let now = self.clock.now();
        lock(&self.dispatcher).closed(now, conn);
    }

    /// Queues a job for its site, or diverts it.
    pub(crate) fn queue(self: &Arc<Self>, job: Job) {
        if self.is_draining.load(Ordering::Relaxed) {
            return self.source.give_back(job.id());
        }
        let (site, domain) = (job.route.site.clone(), job.envelope().domain.clone());
        let now = self.clock.now();
        let asked = self.revival.asked();
        if self.revived.load(Ordering::Acquire) != asked && self.revived.swap(asked, Ordering::AcqRel) != asked {
            self.dispatch(|dispatcher| dispatcher.revive(now));
        }
        if let Err(diverted) = self.dispatch(|dispatcher| dispatcher.push(now, &site, &domain, job.queued())) {
            self.divert(diverted);
        }
    }

    pub(crate) fn divert(&self, Diverted { item: job, eta }: Diverted<Job>) {
        self.telemetry.diverted(job.envelope(), eta);
        self.watch(self.postpone(*job.work, eta));
    }

    /// Hands the ticket of work that no connection depends on to the pump, which looks what becomes of it.
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

    /// Waits until every connection has ended. Who waits no longer cuts off what is left.
    pub(crate) async fn wait_for_couriers(&self) {
        let mut couriers = std::mem::take(&mut *lock(&self.couriers));
        while couriers.join_next().await.is_some() {}
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
            Action::Rearm => self.rearm.notify_one(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
