//! From a listening socket to sessions: who comes in, and what kind of session they get.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sluice_limits::Lease;
use sluice_mail::{EnhancedCode, Reply};
use sluice_smtp::server::{AuthPolicy, Session, SessionConfig, TlsState};
use sluice_wire::server::{self, Arrival, End, Entrance, Peer, Stream, Surroundings, TlsUse};
use sluice_wire::tls::ServerTls;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::RunError;
use crate::config::{Config, Listener, ListenerTls};
use crate::gate::neighbourhood;
use crate::host::{Right, SessionHost};
use crate::shared::Shared;
use crate::telemetry::Turned;

/// Connections that are told at the same time that there is no room; more are just closed.
const MAX_REFUSALS: usize = 64;

/// Room for sessions, shared by all listeners.
pub(crate) struct Places {
    sessions: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Places {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            sessions: Arc::new(Semaphore::new(config.max_sessions)),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        }
    }

    /// A place for a session, or for being told that there is none, or nothing.
    fn take(&self) -> Option<Place> {
        if let Ok(permit) = Arc::clone(&self.sessions).try_acquire_owned() {
            return Some(Place::Session(permit));
        }
        Arc::clone(&self.refusals).try_acquire_owned().ok().map(Place::Refusal)
    }
}

enum Place {
    Session(#[expect(dead_code, reason = "held until dropped")] OwnedSemaphorePermit),
    Refusal(#[expect(dead_code, reason = "held until dropped")] OwnedSemaphorePermit),
}

/// One listener at work. Dropping what [`Self::run`] returns cuts its sessions off.
pub(crate) struct Reception {
    desk: Arc<Desk>,
    places: Arc<Places>,
    stop: watch::Receiver<bool>,
}

/// What the sessions of a listener share.
struct Desk {
    shared: Arc<Shared>,
    listener: Listener,
    around: Surroundings,
    /// Session kinds: by whether AUTH is taken in the clear, then by whether the client is trusted.
    kinds: [[Arc<SessionConfig>; 2]; 2],
}

impl Reception {
    pub(crate) fn new(
        listener: &Listener,
        tls: &Option<Arc<ServerTls>>,
        shared: Arc<Shared>,
        places: Arc<Places>,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, RunError> {
        let certificate = || tls.clone().ok_or(RunError::NoCertificate(listener.address));
        let entrance = Entrance {
            proxy_protocol_from: listener.proxy_protocol_from.clone(),
            tls: match listener.tls {
                ListenerTls::None => TlsUse::None,
                ListenerTls::StartTls => TlsUse::StartTls(certificate()?),
                ListenerTls::Implicit => TlsUse::Implicit(certificate()?),
            },
            timeout: shared.config.handshake_timeout,
        };
        let around =
            Surroundings { entrance: Arc::new(entrance), clock: Arc::clone(&shared.clock), stop: stop.clone() };
        let kind = |auth, authenticated| Arc::new(session_config(&shared.config, listener.tls, auth, authenticated));
        let kinds = [
            [kind(AuthPolicy::UnderTls, false), kind(AuthPolicy::UnderTls, true)],
            [kind(AuthPolicy::Always, false), kind(AuthPolicy::Always, true)],
        ];
        let desk = Arc::new(Desk { shared, listener: listener.clone(), around, kinds });
        Ok(Self { desk, places, stop })
    }

    /// Takes connections until it is told to stop, then waits for its sessions to end.
    pub(crate) async fn run(mut self, socket: TcpListener) {
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                (stream, address) = server::accept(&socket) => {
                    if let Some(place) = self.places.take() {
                        sessions.spawn(Arc::clone(&self.desk).receive(stream, address, place));
                    } else {
                        self.desk.shared.telemetry.turned_away(&Peer::direct(address), Turned::Sessions);
                    }
                }
                Some(_) = sessions.join_next() => {}
                _ = self.stop.wait_for(|stop| *stop) => break,
            }
        }
        drop(socket);
        while sessions.join_next().await.is_some() {}
    }
}

fn session_config(config: &Config, tls: ListenerTls, auth: AuthPolicy, authenticated: bool) -> SessionConfig {
    SessionConfig {
        tls: match tls {
            ListenerTls::None => TlsState::Unavailable,
            ListenerTls::StartTls => TlsState::Offered,
            ListenerTls::Implicit => TlsState::Active,
        },
        auth,
        authenticated,
        limits: config.limits.clone(),
        ..SessionConfig::new(Arc::clone(&config.hostname))
    }
}

/// What a connection gets.
enum Welcome {
    Session(Right, Option<Lease<Arc<str>>>),
    Refused(Turned, Reply),
}

impl Desk {
    /// One connection, from accept to close.
    async fn receive(self: Arc<Self>, stream: TcpStream, address: SocketAddr, place: Place) {
        let telemetry = &self.shared.telemetry;
        let entrance = &self.around.entrance;
        let (stream, peer) = match entrance.identify(stream, address).await {
            Ok(identified) => identified,
            Err(error) => return telemetry.not_arrived(address, &error),
        };
        // Held to the end of the session.
        let by_address = self.shared.by_address.take(neighbourhood(peer.ip()), self.shared.config.max_sessions_per_ip);
        let Arrival { stream, tls, .. } = match entrance.secure(stream, peer).await {
            Ok(arrival) => arrival,
            Err(error) => return telemetry.not_arrived(peer.address, &error),
        };
        if let Some(info) = tls {
            telemetry.secured(&info);
        }
        match self.welcome(&peer, &place, by_address.as_ref()) {
            Welcome::Session(right, lease) => self.serve(stream, peer, right, lease).await,
            Welcome::Refused(why, reply) => {
                telemetry.turned_away(&peer, why);
                let session = Session::refused(Arc::clone(&self.kinds[0][0]), &reply);
                let mut host = SessionHost::new(Arc::clone(&self.shared), peer, Right::None, None);
                server::serve(stream, session, &mut host, &self.around).await;
            }
        }
    }

    fn welcome(&self, peer: &Peer, place: &Place, by_address: Option<&Lease<IpAddr>>) -> Welcome {
        let hostname = &self.shared.config.hostname;
        match place {
            Place::Session(_) => {}
            Place::Refusal(_) => {
                let words = format!("{hostname} has too many sessions; try again later");
                return Welcome::Refused(Turned::Sessions, Reply::new(421, EnhancedCode(4, 3, 2), words));
            }
        }
        if by_address.is_none() {
            let words = format!("{hostname} has too many sessions from {}; try again later", peer.ip());
            return Welcome::Refused(Turned::AddressSessions, Reply::new(421, EnhancedCode(4, 7, 0), words));
        }
        let Some(id) = self.trusted_account(peer) else {
            return Welcome::Session(Right::None, None);
        };
        match self.shared.registry.account(&id).map(|account| self.shared.account_session(&account)) {
            Some(Ok(lease)) => Welcome::Session(Right::Network(id), lease),
            Some(Err(reply)) => Welcome::Refused(Turned::AccountSessions, reply),
            // To be told at MAIL; the account may exist by then.
            None => Welcome::Session(Right::Network(id), None),
        }
    }

    /// The account that the client's network is trusted to send as; the narrowest network counts. Only addresses
    /// that are certainly the client's are looked at: from a PROXY header, or of a connection that is direct.
    fn trusted_account(&self, peer: &Peer) -> Option<Arc<str>> {
        if !peer.known || (peer.proxy.is_none() && !self.listener.direct) {
            return None;
        }
        let networks = self.listener.trusted_networks.iter().filter(|t| t.network.contains(&peer.ip()));
        networks.max_by_key(|trusted| trusted.network.prefix_len()).map(|trusted| Arc::clone(&trusted.account))
    }

    async fn serve(&self, stream: Stream, peer: Peer, right: Right, lease: Option<Lease<Arc<str>>>) {
        let on_this_machine = peer.known && peer.proxy.is_none() && peer.ip().is_loopback();
        let in_clear = on_this_machine && self.listener.auth_without_tls_on_loopback;
        let trusted = matches!(right, Right::Network(_));
        let kind = &self.kinds[usize::from(in_clear)][usize::from(trusted)];
        let session = Session::new(Arc::clone(kind), self.around.clock.now());
        let mut host = SessionHost::new(Arc::clone(&self.shared), peer, right, lease);
        let mut presence = Presence::new(&self.shared, peer);
        let end = server::serve(stream, session, &mut host, &self.around).await;
        presence.ended(&end, host.messages);
    }
}

/// A session as telemetry sees it, also when its task is dropped.
struct Presence<'a> {
    shared: &'a Shared,
    peer: Peer,
    ended: bool,
}

impl<'a> Presence<'a> {
    fn new(shared: &'a Shared, peer: Peer) -> Self {
        shared.telemetry.session_began();
        Self { shared, peer, ended: false }
    }

    fn ended(&mut self, end: &End, messages: u64) {
        self.ended = true;
        self.shared.telemetry.session_ended(&self.peer, end, messages);
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.telemetry.session_cut(&self.peer);
        }
    }
}
