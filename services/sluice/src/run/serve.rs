//! Starting the services, watching them, and ending them in the right order.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_control::Bound;
use sluice_daemon::{Health, LogFormat, LogGuard, Signals, serve_admin};
use sluice_delivery::Revival;
use sluice_feed::accounting::Accounting;
use sluice_mail::Clock;
use sluice_registry::Registry;
use sluice_route::{FixedRoute, FixedRoutes, RelayHost, Routes, TlsPolicy};
use sluice_spool::Spool;
use sluice_spool::disk::Disk;
use sluice_wire::tls::ServerTls;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tracing::{error, info, warn};

use super::accounting::{self, AccountingMetrics};
use super::ground::DataFolder;
use super::metrics::SpoolMetrics;
use super::prepare::Prepared;
use super::reload::Reload;
use super::retry::RetryView;
use super::routes::SwapRoutes;
use super::{Options, RunError};
use crate::config::Config;
use crate::first_start::{Accounts, Facts, Listener, banner};
use crate::sandbox::Sandbox;

/// How often the queue is asked whether it takes mail, for `/readyz`.
const LOOK_AT_ROOM: Duration = Duration::from_secs(1);
/// What readers of events may take to read what they have not. They go on at the next start.
const READERS_GRACE: Duration = Duration::from_secs(10);
/// What control and admin may take to end, after everything else has.
const LAST_GRACE: Duration = Duration::from_secs(2);
/// The name under which the process as a whole is ready or not.
const PROCESS: &str = "process";
/// The name under which the accounts are.
const ACCOUNTS: &str = "accounts";
/// The name under which the queue is.
const SPOOL: &str = "spool";

/// Tasks of services; each ends with what became of it.
type Services = JoinSet<Result<(), RunError>>;
/// Routes, and the handle to exchange them.
type Chosen = (Arc<dyn Routes>, Option<Arc<SwapRoutes>>);
type Ended = Result<Result<(), RunError>, JoinError>;
/// Turns true when a service is to end.
type Stop = watch::Receiver<bool>;

/// The running services, in the groups in which they end.
struct Running {
    /// Taking and sending mail.
    work: Services,
    stop_work: watch::Sender<bool>,
    /// Those who read what happened.
    readers: Services,
    stop_readers: watch::Sender<bool>,
    /// What tells of it: control and admin.
    rest: Services,
    stop_rest: watch::Sender<bool>,
    health: Health,
    spool: Disk,
    _logs: Arc<LogGuard>,
    /// Held to the end.
    _folder: DataFolder,
}

/// Serves until a signal says stop or a service fails; then ends everything. `stop_rest` also ends the sandbox.
pub(super) async fn serve(
    options: Options,
    prepared: Prepared,
    mut signals: Signals,
    stop_rest: watch::Sender<bool>,
) -> Result<(), RunError> {
    let text = describe(&options, &prepared);
    // Where the output is collected for machines a text between the lines is a nuisance; a new password is not kept back.
    let is_for_machines =
        prepared.config.log.format == LogFormat::Json && !matches!(prepared.accounts, Accounts::DemoMade(_));
    let mut running = start(options, prepared, &signals, stop_rest)?;
    if is_for_machines {
        info!("Sluice is running");
    } else {
        // Where nobody listens nothing more can be said.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
    let why = tokio::select! {
        _ = signals.drain.wait_for(|drain| *drain) => Ok(()),
        reason = running.spool.poisoned() => Err(RunError::Poisoned(reason)),
        Some(ended) = running.work.join_next() => Err(early(ended)),
        Some(ended) = running.readers.join_next() => Err(early(ended)),
        Some(ended) = running.rest.join_next() => Err(early(ended)),
    };
    if let Err(why) = &why {
        error!(%why, "stopping");
        running.health.failed(PROCESS, why.to_string());
    }
    tokio::select! {
        () = running.end() => {}
        _ = signals.abort.wait_for(|abort| *abort) => warn!("told to stop a second time: sessions were cut off"),
    }
    why
}

/// What the services share.
struct Common {
    config: Config,
    clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    spool: Disk,
    metrics: prometheus::Registry,
    tls: Arc<ServerTls>,
    health: Health,
    revival: Arc<Revival>,
}

/// Starts everything that was prepared.
fn start(
    options: Options,
    prepared: Prepared,
    signals: &Signals,
    stop_rest: watch::Sender<bool>,
) -> Result<Running, RunError> {
    let Prepared { config, clock, logs, submissions, admin, sandbox, control, tls, registry, spool, .. } = prepared;
    let Prepared { accounting, folder, .. } = prepared;
    report_losses(&spool);
    let metrics = sluice_daemon::metrics::registry(env!("CARGO_PKG_VERSION"))?;
    metrics.register(Box::new(SpoolMetrics::new(spool.clone())?))?;
    let (logs, health) = (Arc::new(logs), Health::new());
    let common = Common { config, clock, registry, spool, metrics, tls, health, revival: Arc::default() };
    let own_listeners: Vec<_> = submissions.iter().filter_map(|socket| socket.local_addr().ok()).collect();
    let (routes, swap) = common.routes(sandbox, &own_listeners)?;
    let (stop_work, work_stops) = watch::channel(false);

    let mut rest = Services::new();
    rest.spawn(common.control(control, stop_rest.subscribe()));
    rest.spawn(common.admin(admin, stop_rest.subscribe()));
    let (mut readers, (stop_readers, readers_stop)) = (Services::new(), watch::channel(false));
    common.account(accounting, &mut readers, readers_stop)?;
    let mut work = Services::new();
    work.spawn(common.delivery(routes, work_stops.clone()));
    work.spawn(common.ingress(submissions, work_stops));

    let Common { clock, spool, tls, health, registry, .. } = common;
    let reload = Reload {
        sources: options.sources,
        clock,
        routes: swap,
        own_listeners,
        tls,
        registry: Arc::clone(&registry),
        logs: Arc::clone(&logs),
    };
    tokio::spawn(reload.run(signals.reload.clone()));
    tokio::spawn(watch_stores(spool.clone(), registry, health.clone(), stop_rest.subscribe()));
    Ok(Running { work, stop_work, readers, stop_readers, rest, stop_rest, health, spool, _logs: logs, _folder: folder })
}

/// The futures of services; they borrow nothing.
impl Common {
    /// Where mail goes, and the handle to change that while running: none in the sandbox.
    fn routes(&self, sandbox: Option<Sandbox>, own_listeners: &[SocketAddr]) -> Result<Chosen, RunError> {
        if let Some(sandbox) = sandbox {
            let all = FixedRoute { tls: TlsPolicy::None, ..FixedRoute::new(None, vec![RelayHost::at(sandbox.smtp)]) };
            return Ok((Arc::new(FixedRoutes::new(vec![all], None, Arc::clone(&self.clock))), None));
        }
        let swap = Arc::new(SwapRoutes::new(self.config.delivery.routes(&self.clock, own_listeners.to_vec())?));
        Ok((Arc::clone(&swap) as Arc<dyn Routes>, Some(swap)))
    }

    fn control(&self, bound: Bound, stop: Stop) -> impl Future<Output = Result<(), RunError>> + use<> {
        let parts = sluice_control::Parts {
            registry: Arc::clone(&self.registry),
            queues: Arc::new(RetryView { spool: self.spool.clone(), revival: Arc::clone(&self.revival) }),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
        };
        async move { Ok(sluice_control::serve(bound, parts, stop).await?) }
    }

    fn admin(&self, listener: TcpListener, stop: Stop) -> impl Future<Output = Result<(), RunError>> + use<> {
        let (metrics, health) = (self.metrics.clone(), self.health.clone());
        async move { serve_admin(listener, metrics, health, stop).await.map_err(RunError::Admin) }
    }

    /// Starts the writer of accounting files, or sees to it that nothing is kept for it.
    fn account(&self, accounting: Option<Accounting>, readers: &mut Services, stop: Stop) -> Result<(), RunError> {
        let spool = self.spool.clone();
        match accounting {
            Some(accounting) => {
                let metrics = AccountingMetrics::new(accounting.stats(), Arc::clone(&self.clock))?;
                self.metrics.register(Box::new(metrics))?;
                readers.spawn(async move {
                    accounting.run(Arc::new(spool), stop).await;
                    Ok(())
                });
            }
            None => drop(tokio::spawn(accounting::forget(spool))),
        }
        Ok(())
    }

    fn delivery(&self, routes: Arc<dyn Routes>, stop: Stop) -> impl Future<Output = Result<(), RunError>> + use<> {
        let parts = sluice_delivery::Parts {
            source: Arc::new(self.spool.clone()),
            routes,
            registry: Arc::clone(&self.registry),
            clock: Arc::clone(&self.clock),
            hostname: Arc::clone(&self.config.hostname),
            metrics: self.metrics.clone(),
            revival: Arc::clone(&self.revival),
        };
        let config = self.config.delivery.clone();
        async move { Ok(sluice_delivery::run(parts, config, stop).await?) }
    }

    fn ingress(&self, sockets: Vec<TcpListener>, stop: Stop) -> impl Future<Output = Result<(), RunError>> + use<> {
        let parts = sluice_ingress::Parts {
            spool: Arc::new(self.spool.clone()),
            registry: Arc::clone(&self.registry),
            clock: Arc::clone(&self.clock),
            tls: Some(Arc::clone(&self.tls)),
            metrics: self.metrics.clone(),
        };
        let config = self.config.ingress.clone();
        async move { Ok(sluice_ingress::run(parts, config, sockets, stop).await?) }
    }
}

impl Running {
    /// Unready first; then sessions and transactions end, the queue closes, and at last those end who tell of it.
    async fn end(&mut self) {
        self.health.not_ready(PROCESS, "it is stopping");
        info!("stopping: no new sessions; running ones may finish");
        self.stop_work.send_replace(true);
        while let Some(ended) = self.work.join_next().await {
            report(ended);
        }
        self.stop_readers.send_replace(true);
        let readers = async {
            while let Some(ended) = self.readers.join_next().await {
                report(ended);
            }
        };
        if tokio::time::timeout(READERS_GRACE, readers).await.is_err() {
            warn!("not everything is in the accounting files yet; the rest is written after the next start");
            self.readers.shutdown().await;
        }
        let spool = self.spool.clone();
        if let Err(why) = spawn_blocking(move || spool.close()).await {
            error!(%why, "the queue was not closed cleanly");
        }
        self.stop_rest.send_replace(true);
        let rest = async {
            while let Some(ended) = self.rest.join_next().await {
                report(ended);
            }
        };
        // A client of the control socket that does not go away must not hold the process up.
        let _ = tokio::time::timeout(LAST_GRACE, rest).await;
        info!("stopped");
    }
}

/// Tells `/readyz` whether the queue takes mail, and `/healthz` whether accounts can no longer be changed, until the
/// process ends.
async fn watch_stores(spool: Disk, registry: Arc<Registry>, health: Health, mut stop: Stop) {
    loop {
        if registry.is_broken() {
            health.failed(ACCOUNTS, "accounts cannot be changed until a restart: their log could not be written");
        }
        match spool.room(0) {
            Ok(()) => health.ready(SPOOL),
            Err(why) => health.not_ready(SPOOL, why.to_string()),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AT_ROOM) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// What a start with `--salvage` could not read.
fn report_losses(spool: &Disk) {
    for loss in spool.losses() {
        warn!(path = %loss.path.display(), from = loss.from, to = loss.to, "salvage: this part of the queue is lost");
    }
}

/// A service that ended before it was told to.
fn early(ended: Ended) -> RunError {
    match ended {
        Ok(Ok(())) => RunError::Ended("a service".into()),
        Ok(Err(why)) => why,
        Err(why) => RunError::Ended(why.to_string()),
    }
}

fn report(ended: Ended) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(why)) => error!(%why, "a service did not end well"),
        Err(why) => error!(%why, "a service did not end well"),
    }
}

/// What is said on standard output once everything runs.
fn describe(options: &Options, prepared: &Prepared) -> String {
    let real = |(socket, listener): (&TcpListener, &Listener)| Listener {
        address: socket.local_addr().unwrap_or(listener.address),
        ..*listener
    };
    let listeners: Vec<_> = prepared.submissions.iter().zip(&prepared.config.listeners).map(real).collect();
    banner(&Facts {
        program: &options.program,
        config: &options.sources.path,
        data_dir: &prepared.config.data_dir,
        listeners: &listeners,
        admin: prepared.admin.local_addr().unwrap_or(prepared.config.admin.address),
        sandbox: prepared.sandbox.map(|sandbox| sandbox.http),
        accounts: &prepared.accounts,
    })
}
