//! Serving one connection: transaction after transaction, until there is no more work for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_mail::{Cause, Failure, Stage};
use sluice_queue::{Diverted, Feedback, Next, speaks_of_site, try_next_host, worth_a_fresh_connection};
use sluice_route::{Route, Target};
use sluice_smtp::client::{TlsMode, TransactionId, TransactionResult};
use sluice_wire::client::{Connection, Content, Progress};

use crate::courier::Courier;
use crate::job::{Job, Where};
use crate::shared::NoBody;

/// How often an envelope is begun again on a fresh connection within one attempt.
const RESTARTS_MAX: u8 = 2;
/// A peer that took longer for its last message gets its envelopes one at a time.
const QUICK: Duration = Duration::from_secs(1);
/// How long a large message is put off when there is no memory for it.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(30);

/// A connection, and what it may carry.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    /// Where it leads.
    pub(crate) target: Target,
    /// For whose mail it was made.
    pub(crate) route: Arc<Route>,
    /// How that mail wanted it protected; it may be less, where that is left to the host.
    pub(crate) tls: TlsMode,
    /// Whence it comes: the source's name, or our address.
    pub(crate) source: Option<Arc<str>>,
}

/// A connection that is being served.
pub(crate) struct Line<'a> {
    courier: &'a mut Courier,
    link: Link,
    /// Transactions that ended on it.
    served: u32,
    /// How long the last one took.
    last_took: Duration,
    is_ready: bool,
}

/// How serving a connection ended.
pub(crate) enum Served {
    /// Nothing is left to do.
    Over,
    /// This envelope has to begin on a fresh connection.
    Fresh(Job),
    /// The first envelope failed in a way that lets another host be tried.
    NextHost(Job, Failure),
}

/// An envelope whose transaction was begun.
struct Begun {
    job: Job,
    id: TransactionId,
    at: Instant,
    result: Option<TransactionResult>,
}

/// What comes after a transaction.
enum After {
    Next,
    End(Served),
}

impl<'a> Line<'a> {
    pub(crate) fn new(courier: &'a mut Courier, link: Link) -> Self {
        Self { courier, link, served: 0, last_took: QUICK, is_ready: false }
    }

    /// Carries `first`, then whatever else there is for this host.
    pub(crate) async fn serve(mut self, first: Job) -> Served {
        let mut current = match self.begin_first(first).await {
            Ok(begun) => begun,
            Err(served) => return served,
        };
        loop {
            let mut ahead = self.look_ahead();
            // Nothing was decided and nothing may be any more: both come again after a restart.
            let Some(result) = self.transact(&mut current, &mut ahead).await else { return Served::Over };
            match self.finish(current, result).await {
                After::Next => {}
                After::End(served) => {
                    if let Some(ahead) = ahead {
                        self.courier.shared.queue(ahead.job);
                    }
                    return served;
                }
            }
            current = match ahead {
                Some(ahead) => ahead,
                None => match self.next().await {
                    Ok(begun) => begun,
                    Err(served) => return served,
                },
            };
        }
    }

    /// The first envelope, begun with the connection itself, so that its commands leave with the first reply. A large
    /// one only when the peer is ready, so that it takes no memory while a peer keeps silent.
    async fn begin_first(&mut self, job: Job) -> Result<Begun, Served> {
        if job.work.body.is_some() {
            return self.begin(job).map_err(Served::Fresh);
        }
        match self.link.connection.progress().await {
            Progress::Ready => self.ready(),
            Progress::Closed(Some(failure)) => return Err(Served::NextHost(job, failure)),
            // Not reached: nothing was begun, and a session that is not ready does not end in peace.
            Progress::Done(_) | Progress::Closed(None) => return Err(Served::Fresh(job)),
        }
        match self.load(job).await {
            Some(job) => self.begin(job).map_err(Served::Fresh),
            None => self.next().await,
        }
    }

    fn ready(&mut self) {
        self.is_ready = true;
        self.courier.shared.telemetry.opened(Ok(()));
    }

    /// The job with its body in memory; `None` when that cannot be had now, and the job was dealt with.
    async fn load(&mut self, mut job: Job) -> Option<Job> {
        match self.courier.shared.load_body(&mut job).await {
            Ok(()) => Some(job),
            Err(NoBody::NoRoom) => {
                self.courier.shared.divert(Diverted { item: job, eta: NO_ROOM_PAUSE });
                None
            }
            Err(NoBody::Unreadable(error)) => {
                self.courier.shared.telemetry.body_unreadable(job.envelope(), &error);
                let failure = Failure::new(Stage::Body, Cause::Io(error.to_string()));
                self.courier.conclude_all(job, failure, Where::default()).await;
                None
            }
        }
    }

    fn begin(&mut self, job: Job) -> Result<Begun, Job> {
        if !self.link.connection.can_begin() {
            return Err(job);
        }
        match self.link.connection.begin(job.transaction()) {
            Ok(id) => Ok(Begun { job, id, at: self.courier.shared.clock.now(), result: None }),
            Err(_) => Err(job),
        }
    }

    /// Takes the next envelope before the current one is done, when there is plenty of mail and the peer is quick:
    /// its commands then travel with the current one's final dot.
    fn look_ahead(&mut self) -> Option<Begun> {
        if self.served == 0
            || self.last_took >= QUICK
            || !self.link.connection.can_begin()
            || !self.link.connection.pipelines()
        {
            return None;
        }
        let accepts = |job: &Job| job.work.body.is_some() && self.accepts(job);
        let (now, id) = (self.courier.shared.clock.now(), self.courier.id);
        let mut job = self.courier.shared.dispatch(|dispatcher| dispatcher.ahead(now, id, &accepts))?;
        if !self.courier.begin(&mut job) {
            return None;
        }
        match self.begin(job) {
            Ok(begun) => Some(begun),
            Err(job) => {
                self.courier.shared.queue(job);
                None
            }
        }
    }

    /// Drives the current transaction to its end; `None` when nothing may be sent any more.
    async fn transact(&mut self, current: &mut Begun, ahead: &mut Option<Begun>) -> Option<TransactionResult> {
        if let Some(result) = current.result.take() {
            return Some(result);
        }
        if !self.courier.has_settled() {
            self.link.connection.flush().await;
            if !self.courier.settled().await {
                return None;
            }
        }
        let shard = current.job.shard();
        let source = self.courier.shared.source.clone();
        let body = current.job.body().unwrap_or_default();
        let may_finish = Box::new(move || source.may_send(shard));
        self.link.connection.release(current.id, Content { body, may_finish });
        loop {
            match self.link.connection.progress().await {
                Progress::Ready => self.ready(),
                Progress::Done(result) if result.id == current.id => return Some(result),
                Progress::Done(result) => {
                    if let Some(ahead) = ahead.as_mut().filter(|ahead| ahead.id == result.id) {
                        ahead.result = Some(result);
                    }
                }
                // Not reached: every transaction ends before its connection. If it were, the peer might have it.
                Progress::Closed(_) => return Some(lost(current)),
            }
        }
    }

    /// Decides what becomes of an envelope whose transaction ended.
    async fn finish(&mut self, begun: Begun, result: TransactionResult) -> After {
        let Begun { mut job, at, .. } = begun;
        let took = self.courier.shared.clock.now().saturating_duration_since(at);
        let is_first = self.served == 0;
        self.served += 1;
        self.last_took = took;
        if let Some(failure) = common_failure(&result) {
            if !self.courier.may_send(&job) {
                return After::End(Served::Over);
            }
            if is_first && try_next_host(failure) {
                return After::End(Served::NextHost(job, failure.clone()));
            }
            if !is_first && job.restarts < RESTARTS_MAX && went_stale(failure, result.answered) {
                job.restarts += 1;
                return After::End(Served::Fresh(job));
            }
        }
        let is_good = result.results.iter().any(|r| r.as_ref().err().is_none_or(|failure| !speaks_of_site(failure)));
        if self.is_ready && result.answered && is_good {
            self.courier.report(Feedback::Good);
        }
        let at = Where {
            mx: Some(self.link.target.name.clone()),
            peer: Some(self.link.target.address),
            source: self.link.source.clone(),
            tls: self.link.connection.tls().cloned(),
            duration: took,
        };
        self.courier.conclude(job, result.results, at).await;
        After::Next
    }

    /// The next envelope, begun; or how it ended for lack of one.
    async fn next(&mut self) -> Result<Begun, Served> {
        loop {
            let next = self.courier.next(&|job| self.accepts(job));
            match next {
                Next::Job(mut job) => {
                    if !self.courier.begin(&mut job) {
                        continue;
                    }
                    if let Some(job) = self.load(job).await {
                        return self.begin(job).map_err(Served::Fresh);
                    }
                }
                Next::Idle => {
                    if !self.idle().await {
                        return Err(Served::Over);
                    }
                }
                Next::Quit => {
                    self.quit().await;
                    return Err(Served::Over);
                }
            }
        }
    }

    /// Whether this connection may carry the job: to this host, in this way.
    fn accepts(&self, job: &Job) -> bool {
        let Link { connection, target, route, tls, .. } = &self.link;
        let is_alike = || {
            let config = &self.courier.shared.config;
            job.route.carries_alike(route) && config.tls(&job.route, &job.envelope().domain) == *tls
        };
        job.route.leads_to(target) && is_alike() && (!job.needs_tls() || connection.tls().is_some())
    }

    /// Waits for work; `false` when the connection has ended, or nobody came in time.
    async fn idle(&mut self) -> bool {
        if !self.courier.settled().await {
            return false;
        }
        let timeout = self.courier.shared.config.idle_timeout;
        tokio::select! {
            biased;
            () = self.courier.door.notified() => return true,
            _ = self.link.connection.progress() => return false,
            () = tokio::time::sleep(timeout) => {}
        }
        // Before the QUIT, whose answer takes time: nothing is to wait for this connection meanwhile.
        if !self.courier.retire() {
            return true;
        }
        self.quit().await;
        false
    }

    async fn quit(&mut self) {
        self.link.connection.quit();
        while !matches!(self.link.connection.progress().await, Progress::Closed(_)) {}
    }
}

/// The result of a transaction that ended without one.
fn lost(begun: &Begun) -> TransactionResult {
    let failure = Failure::new(Stage::Dot, Cause::Closed);
    let open = begun.job.envelope().open_recipients().count();
    TransactionResult { id: begun.id, results: vec![Err(failure); open], answered: true }
}

/// What all recipients failed with, when it is one thing that happened to the connection.
fn common_failure(result: &TransactionResult) -> Option<&Failure> {
    let first = result.results.first()?.as_ref().err()?;
    result.results.iter().all(|r| r.as_ref().err() == Some(first)).then_some(first)
}

/// Whether a reused connection turned out to be gone, or not to be fit for another message: of this one nothing was
/// heard.
fn went_stale(failure: &Failure, answered: bool) -> bool {
    let is_unheard = failure.stage == Stage::Rset || matches!(failure.cause, Cause::Timeout);
    worth_a_fresh_connection(failure) || (!answered && is_unheard)
}
