//! The SMTP server that takes everything: every sender, every recipient, every message.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use bytes::{Bytes, BytesMut};
use sluice_mail::{Address, EnhancedCode, Reply};
use sluice_smtp::server::{Answer, AuthAnswer, AuthPolicy, Event, Limits, Session, SessionConfig, Submission};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Shared;
use super::letter::Summary;
use super::listen::Bounded;
use super::mailbox::Delivery;

/// Sessions at once; a delivery that opens more waits for its greeting.
const MAX_SESSIONS: usize = 256;

/// Larger than what any ingress takes, as headers were added since.
const MAX_MESSAGE_SIZE: u64 = 1 << 30;

/// What is read at once.
const READ_SIZE: usize = 64 << 10;

/// How long a reply may take to be written, and how long silence may last where the session names no time.
const PATIENCE: Duration = Duration::from_secs(300);

/// Serves until `shutdown`. Sessions that run then go on until their peer, which drains too, closes them.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, mut shutdown: watch::Receiver<bool>) {
    let mut listener = Bounded::new(listener, MAX_SESSIONS);
    let config = Arc::new(session_config());
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|down| *down) => return,
        };
        let sink = Sink { shared: shared.clone(), config: config.clone() };
        tokio::spawn(async move {
            if let Err(error) = sink.converse(stream).await {
                tracing::debug!(%peer, %error, "a session with the sandbox broke");
            }
        });
    }
}

fn session_config() -> SessionConfig {
    SessionConfig {
        authenticated: true,
        auth: AuthPolicy::Never,
        dsn: true,
        limits: Limits { max_message_size: MAX_MESSAGE_SIZE, max_recipients: 1_000, ..Limits::default() },
        ..SessionConfig::new("sandbox.localhost")
    }
}

struct Sink {
    shared: Arc<Shared>,
    config: Arc<SessionConfig>,
}

impl Sink {
    /// Drives one session to its end.
    async fn converse(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let clock = &self.shared.clock;
        let mut session = Session::new(self.config.clone(), clock.now());
        let mut input = BytesMut::new();
        loop {
            session.handle_input(clock.now(), &mut input);
            while let Some(event) = session.poll_event() {
                if !self.answer(&mut session, event) {
                    return flush(&mut session, &mut stream).await;
                }
                session.handle_input(clock.now(), &mut input);
            }
            flush(&mut session, &mut stream).await?;
            let patience = session.poll_timeout().map_or(PATIENCE, |at| at.saturating_duration_since(clock.now()));
            input.reserve(READ_SIZE);
            match timeout(patience, stream.read_buf(&mut input)).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => session.handle_timeout(clock.now()),
            }
        }
    }

    /// Does what the session asks; false when it has ended.
    fn answer(&self, session: &mut Session, event: Event) -> bool {
        let now = self.shared.clock.now();
        match event {
            Event::Mail(_) | Event::Recipient(_) => session.handle_answer(now, Answer::Accept),
            Event::Message(submission) => {
                let reply = self.keep(*submission);
                session.handle_answer(now, Answer::Reply(reply));
            }
            // Neither TLS nor AUTH is offered.
            Event::Authenticate(_) => session.handle_auth(now, AuthAnswer::Unavailable),
            Event::ContentRefused(reply) => tracing::warn!(%reply, "the sandbox could not take a message"),
            Event::StartTls | Event::Close(_) => return false,
        }
        true
    }

    fn keep(&self, submission: Submission) -> Reply {
        let address = |address: &Address| address.as_str().to_owned();
        let delivery = Delivery {
            mail_from: submission.mail.reverse_path.as_ref().map(address).unwrap_or_default(),
            recipients: submission.recipients.iter().map(|recipient| address(&recipient.address)).collect(),
            // A copy has exactly the size that it is counted with.
            content: Bytes::copy_from_slice(&submission.content.body),
        };
        let summary = Summary::read(&delivery.content);
        self.shared.mailbox().add(self.shared.clock.wall(), delivery, summary);
        Reply::new(250, EnhancedCode(2, 0, 0), "kept in the sandbox")
    }
}

async fn flush(session: &mut Session, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    while let Some(output) = session.poll_output() {
        timeout(PATIENCE, stream.write_all(&output)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    }
    Ok(())
}
