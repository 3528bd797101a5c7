//! Moves octets between a session and its connection, and questions between the session and its host.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sluice_mail::{Clock, Reply};
use sluice_smtp::server::{
    Answer, AuthAnswer, CloseReason, Event, Login, MailCommand, RcptCommand, Session, Submission,
};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep_until};

use super::arrive::{Entrance, TlsUse};
use super::stream::{HandshakeError, Stream, TlsInfo};

/// Octets read at once while commands come, and while a large content comes. A session that waits holds no buffer.
const COMMAND_READ: usize = 8 << 10;
const CONTENT_READ: usize = 64 << 10;

/// How long a client may refuse to read a reply.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long, and how many octets, we go on reading after our last words, so that the client gets to see them:
/// closing a connection with unread input resets it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_OCTETS: usize = 256 << 10;

/// Answers what a session asks. One for each session; dropped when the session ends.
pub trait Host: Send {
    /// May this sender begin a message?
    fn mail(&mut self, now: Instant, command: &MailCommand) -> Answer;

    /// Is this recipient taken?
    fn recipient(&mut self, now: Instant, command: &RcptCommand) -> Answer;

    /// Who is it? May take its time; the client is not read from meanwhile.
    fn authenticate(&mut self, login: Login) -> impl Future<Output = AuthAnswer> + Send;

    /// Keeps the message. A positive answer means that it is durable. What [`Self::holding`] was told last counts until
    /// the host itself counts the message; with the answer the host holds nothing of it any more.
    fn message(&mut self, submission: Box<Submission>) -> impl Future<Output = Answer> + Send;

    /// The session's content now holds so many octets of memory; `Err` refuses the rest of the content.
    fn holding(&mut self, octets: usize) -> Result<(), Reply>;

    /// The session refused a content by itself.
    fn content_refused(&mut self, reply: &Reply);

    /// The connection is now under TLS, by STARTTLS.
    fn secured(&mut self, info: TlsInfo);
}

/// What all sessions of a listener share.
#[derive(Clone)]
pub struct Surroundings {
    /// The listener's TLS and time-outs.
    pub entrance: Arc<Entrance>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Becomes true when sessions are to end at their next good moment.
    pub stop: watch::Receiver<bool>,
}

/// How a session ended.
#[derive(Debug)]
pub enum End {
    /// In an orderly way.
    Closed(CloseReason),
    /// The client closed the connection.
    Disconnected,
    /// The connection broke, or the client did not read.
    Broken(io::Error),
    /// STARTTLS came to nothing.
    Tls(HandshakeError),
}

/// Drives `session` over `stream` to its end. Dropping the future breaks the connection off.
pub async fn serve<H: Host>(stream: Stream, session: Session, host: &mut H, around: &Surroundings) -> End {
    let now = around.clock.now();
    let first = session.poll_timeout().unwrap_or(now);
    let timer = pin!(sleep_until(first.into()));
    let mut stop = around.stop.clone();
    let stop = pin!(async move {
        // A sender that is gone cannot say stop any more: then it is time, too.
        let _ = stop.wait_for(|stop| *stop).await;
    });
    let input = BytesMut::new();
    let mut driver = Driver { stream, session, input, held: 0, armed: first, host, around };
    match driver.run(now, timer, stop).await {
        Ok(reason) => {
            driver.linger(reason).await;
            End::Closed(reason)
        }
        Err(end) => end,
    }
}

struct Driver<'a, H> {
    stream: Stream,
    session: Session,
    input: BytesMut,
    /// What the host was last told with [`Host::holding`].
    held: usize,
    /// When the timer fires. Sessions move their deadline with each command; the timer is set again only when it
    /// fired too early or the deadline came nearer, as that costs more than most commands.
    armed: Instant,
    host: &'a mut H,
    around: &'a Surroundings,
}

enum Wake {
    Input(io::Result<usize>),
    Timer,
    Stop,
}

impl<H: Host> Driver<'_, H> {
    async fn run(
        &mut self,
        mut now: Instant,
        mut timer: Pin<&mut Sleep>,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<CloseReason, End> {
        let mut stopping = false;
        loop {
            if let Some(reason) = self.answer_all(now).await? {
                self.flush().await?;
                return Ok(reason);
            }
            self.flush().await?;
            let deadline = self.session.poll_timeout();
            if let Some(nearer) = deadline.filter(|at| *at < self.armed) {
                self.arm(timer.as_mut(), nearer);
            }
            let wake = poll_fn(|cx| self.poll_wake(cx, timer.as_mut(), (!stopping).then_some(stop.as_mut()))).await;
            now = self.around.clock.now();
            match wake {
                Wake::Input(Ok(0)) => return Err(End::Disconnected),
                Wake::Input(Ok(_)) => self.session.handle_input(now, &mut self.input),
                // TLS clients often close without saying so.
                Wake::Input(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(End::Disconnected),
                Wake::Input(Err(e)) => return Err(End::Broken(e)),
                Wake::Timer => {
                    // The timer may run a little ahead of the clock.
                    now = now.max(self.armed);
                    match deadline {
                        Some(at) if at > now => self.arm(timer.as_mut(), at),
                        Some(_) | None => {
                            self.session.handle_timeout(now);
                            self.arm(timer.as_mut(), now + WRITE_TIMEOUT);
                        }
                    }
                }
                Wake::Stop => {
                    stopping = true;
                    self.session.handle_shutdown(now);
                }
            }
        }
    }

    /// Does what the session asks until it asks no more, or ends.
    async fn answer_all(&mut self, mut now: Instant) -> Result<Option<CloseReason>, End> {
        loop {
            let Some(event) = self.next_event() else {
                return Ok(None);
            };
            match event {
                Event::Mail(command) => {
                    let answer = self.host.mail(now, &command);
                    self.session.handle_answer(now, answer);
                }
                Event::Recipient(command) => {
                    let answer = self.host.recipient(now, &command);
                    self.session.handle_answer(now, answer);
                }
                Event::Message(submission) => {
                    self.flush().await?;
                    let answer = self.host.message(submission).await;
                    self.held = 0;
                    now = self.around.clock.now();
                    self.session.handle_answer(now, answer);
                }
                Event::Authenticate(login) => {
                    self.flush().await?;
                    let answer = self.host.authenticate(login).await;
                    now = self.around.clock.now();
                    self.session.handle_auth(now, answer);
                }
                Event::StartTls => {
                    self.flush().await?;
                    self.start_tls().await?;
                    now = self.around.clock.now();
                    self.session.handle_tls(now);
                }
                Event::ContentRefused(reply) => self.host.content_refused(&reply),
                Event::Close(reason) => return Ok(Some(reason)),
            }
            if !self.input.is_empty() {
                self.session.handle_input(now, &mut self.input);
            }
        }
    }

    fn next_event(&mut self) -> Option<Event> {
        let event = self.session.poll_event();
        // The session has handed the content over, but it is still there: the host goes on from the last count.
        if matches!(event, Some(Event::Message(_))) {
            return event;
        }
        self.tell_holding();
        // Content that the host refuses may be an event.
        event.or_else(|| self.session.poll_event())
    }

    fn tell_holding(&mut self) {
        let octets = self.session.buffered();
        if octets == self.held {
            return;
        }
        self.held = octets;
        if let Err(reply) = self.host.holding(octets) {
            self.session.refuse_content(reply);
        }
    }

    /// Whatever the client sent in the clear before the handshake is thrown away: it could be anybody's.
    async fn start_tls(&mut self) -> Result<(), End> {
        let TlsUse::StartTls(tls) = &self.around.entrance.tls else {
            return Err(End::Tls(HandshakeError::Twice));
        };
        self.input.clear();
        let mut stream = std::mem::replace(&mut self.stream, Stream::Gone);
        stream.forget_ahead();
        let upgraded = stream.upgrade(tls.config(), self.around.entrance.timeout).await;
        let (stream, info) = upgraded.map_err(End::Tls)?;
        self.stream = stream;
        self.host.secured(info);
        Ok(())
    }

    fn arm(&mut self, timer: Pin<&mut Sleep>, at: Instant) {
        self.armed = at;
        timer.reset(at.into());
    }

    fn poll_wake(
        &mut self,
        cx: &mut Context<'_>,
        timer: Pin<&mut Sleep>,
        stop: Option<Pin<&mut impl Future<Output = ()>>>,
    ) -> Poll<Wake> {
        if self.session.wants_input()
            && let Poll::Ready(read) = self.poll_input(cx)
        {
            return Poll::Ready(Wake::Input(read));
        }
        if stop.is_some_and(|stop| stop.poll(cx).is_ready()) {
            return Poll::Ready(Wake::Stop);
        }
        timer.poll(cx).map(|()| Wake::Timer)
    }

    /// Reads what is there. While nothing is there, no buffer is held.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(if self.session.buffered() > 0 { CONTENT_READ } else { COMMAND_READ });
        let read = pin!(self.stream.read_buf(&mut self.input)).poll(cx);
        if read.is_pending() && self.input.is_empty() {
            self.input = BytesMut::new();
        }
        read
    }

    /// Writes all replies so far, as a rule with one call and without a timer.
    async fn flush(&mut self) -> Result<(), End> {
        let Some(out) = self.session.poll_output() else {
            return Ok(());
        };
        let stream = &mut self.stream;
        let first = poll_fn(|cx| Poll::Ready(poll_write_once(Pin::new(&mut *stream), cx, &out))).await;
        let written = match first.map_err(End::Broken)? {
            Written::All => return Ok(()),
            Written::Some(n) => n,
        };
        let rest = async {
            stream.write_all(&out[written..]).await?;
            stream.flush().await
        };
        let late = || End::Broken(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its replies"));
        tokio::time::timeout(WRITE_TIMEOUT, rest).await.map_err(|_| late())?.map_err(End::Broken)
    }

    /// Closes so that the client can read our last words.
    async fn linger(&mut self, reason: CloseReason) {
        if reason == CloseReason::Quit && matches!(self.stream, Stream::Plain(_)) {
            return;
        }
        let farewell = async {
            if self.stream.shutdown().await.is_err() || reason == CloseReason::Quit {
                return;
            }
            let mut left = LINGER_OCTETS;
            let mut sink = BytesMut::with_capacity(COMMAND_READ);
            while let Ok(n @ 1..) = self.stream.read_buf(&mut sink).await
                && n < left
            {
                left -= n;
                sink.clear();
            }
        };
        let _ = tokio::time::timeout(LINGER, farewell).await;
    }
}

enum Written {
    All,
    Some(usize),
}

/// Writes what can be written without waiting.
fn poll_write_once(mut stream: Pin<&mut Stream>, cx: &mut Context<'_>, out: &[u8]) -> io::Result<Written> {
    let n = match stream.as_mut().poll_write(cx, out) {
        Poll::Ready(n) => n?,
        Poll::Pending => return Ok(Written::Some(0)),
    };
    if n < out.len() {
        return Ok(Written::Some(n));
    }
    match stream.poll_flush(cx) {
        Poll::Ready(flushed) => flushed.map(|()| Written::All),
        Poll::Pending => Ok(Written::Some(n)),
    }
}
