//! Drives a client session over its connection.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sluice_mail::{Clock, Failure};
use sluice_smtp::client::{ClientConfig, Event, Output, Session, Transaction, TransactionId, TransactionResult, stuff};

use super::connector::Peer;
use super::stream::Stream;
use super::timer::Timer;

/// Room for the replies of one read. Replies are short; a busy connection reads four or so at once.
const READ_BUFFER: usize = 4 << 10;
/// A body up to this size goes out in one write with its final dot.
const ONE_WRITE: usize = 64 << 10;
/// How long the last words of a session (QUIT after a refusal) may take to be written.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection to a peer with its session. Dropping it closes it without a word.
///
/// The host begins transactions, releases their content one after the other, and calls [`Self::progress`] for
/// what came of them. One task owns it; nothing is shared.
pub struct Connection {
    stream: Stream,
    session: Session,
    /// Taken from the session, not yet dealt with.
    events: VecDeque<Event>,
    clock: Arc<dyn Clock>,
    timer: Timer,
    buffer: Box<[u8]>,
    content: Option<(TransactionId, Content)>,
    tls_timeout: Duration,
    peer: Peer,
    /// Whether we use PIPELINING where it is offered.
    pipelines: bool,
    is_over: bool,
}

/// What a transaction is to carry.
pub struct Content {
    /// The message: CRLF lines, without dot-stuffing and without the final dot.
    pub body: Bytes,
    /// Asked right before the final dot, the point of no return. `false` ends the connection without the dot.
    pub may_finish: Box<dyn Fn() -> bool + Send + Sync>,
}

/// What came of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The handshake is done, TLS included.
    Ready,
    /// A transaction ended.
    Done(TransactionResult),
    /// The connection is over: why, unless in peace.
    Closed(Option<Failure>),
}

/// What one turn of waiting brought.
enum Turn {
    Wrote(usize),
    Flushed,
    NotWritten(io::Error),
    Read(usize),
    Failed(io::Error),
    TimedOut(Instant),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).field("tls", &self.tls()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} octets", self.body.len())
    }
}

impl Connection {
    pub(super) fn new(stream: Stream, peer: Peer, config: ClientConfig, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let (tls_timeout, pipelines) = (config.timeouts.start_tls, config.pipelining);
        let session = Session::new(config, now);
        Self {
            stream,
            timer: Timer::new(session.poll_timeout().unwrap_or(now + tls_timeout)),
            session,
            events: VecDeque::new(),
            clock,
            buffer: vec![0; READ_BUFFER].into(),
            content: None,
            tls_timeout,
            peer,
            pipelines,
            is_over: false,
        }
    }

    /// Where the peer is.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer.address
    }

    /// Our end.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.stream.local()
    }

    /// Under TLS its version and cipher suite, and whether the peer's certificate was verified.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<str>> {
        self.stream.agreed()
    }

    /// Begins a transaction; see [`Session::begin`].
    pub fn begin(&mut self, transaction: Transaction) -> Result<TransactionId, Transaction> {
        self.session.begin(self.clock.now(), transaction)
    }

    /// Whether the peer takes commands before it has answered those before them, and we use it.
    #[must_use]
    pub fn pipelines(&self) -> bool {
        self.pipelines && self.session.capabilities().pipelining
    }

    /// Whether [`Self::begin`] takes another transaction.
    #[must_use]
    pub fn can_begin(&self) -> bool {
        self.session.can_begin()
    }

    /// Opens the gate for the content of this transaction, the oldest that was begun and has not ended.
    pub fn release(&mut self, id: TransactionId, content: Content) {
        self.content = Some((id, content));
        self.session.release_content(self.clock.now(), id);
    }

    /// Asks for a QUIT; [`Self::progress`] then leads to [`Progress::Closed`].
    pub fn quit(&mut self) {
        self.session.quit(self.clock.now());
    }

    /// Writes the commands that may be sent now, without waiting for replies.
    pub async fn flush(&mut self) {
        self.write_output().await;
    }

    /// Drives the session until something came of it. Cancel-safe while the session is idle: there is nothing to
    /// write then.
    pub async fn progress(&mut self) -> Progress {
        loop {
            self.collect_events();
            while let Some(event) = self.events.pop_front() {
                match event {
                    Event::Ready(_) => return Progress::Ready,
                    Event::StartTls => self.handshake().await,
                    Event::Done(result) => return Progress::Done(result),
                    Event::Closed(failure) => {
                        self.farewell().await;
                        return Progress::Closed(failure);
                    }
                }
            }
            if self.is_over {
                return Progress::Closed(None);
            }
            if !self.write_output().await {
                let turn = self.turn(None).await;
                self.take(turn);
            }
        }
    }

    /// Writes what the session has to say; whether there was anything.
    async fn write_output(&mut self) -> bool {
        let mut wrote = false;
        while let Some(output) = self.session.poll_output() {
            wrote = true;
            match output {
                Output::Bytes(bytes) => drop(self.write(&[&bytes], None).await),
                Output::Content(id) => self.write_content(id).await,
            }
        }
        wrote
    }

    async fn write_content(&mut self, id: TransactionId) {
        let Some((_, content)) = self.content.take_if(|(of, _)| *of == id) else {
            return self.session.handle_io_error(self.clock.now(), "there is no content to send");
        };
        let mut stuffed = stuff(content.body);
        if stuffed.len() > ONE_WRITE {
            if !self.write(&[&stuffed.content], Some(usize::MAX)).await {
                return;
            }
            stuffed.content = Bytes::new();
        }
        if !(content.may_finish)() {
            return self.session.handle_io_error(self.clock.now(), "given up before the final dot");
        }
        let trailer = self.session.poll_trailer(self.clock.now()).unwrap_or_default();
        self.write(&[&stuffed.content, stuffed.end, &trailer], Some(stuffed.len())).await;
    }

    /// Writes all parts, reading meanwhile when the peer does not take them, so that neither waits for the other.
    /// With `content`, the first so many octets are content, after which the session is told that it was sent.
    /// `false` when the session is over.
    async fn write(&mut self, parts: &[&[u8]], mut content: Option<usize>) -> bool {
        let mut slices: [_; 3] = std::array::from_fn(|i| IoSlice::new(parts.get(i).copied().unwrap_or_default()));
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0);
        let mut written = 0;
        loop {
            match self.turn(Some(rest)).await {
                Turn::Wrote(n) => {
                    written += n;
                    IoSlice::advance_slices(&mut rest, n);
                    if content.is_some_and(|content| written >= content) {
                        content = None;
                        self.session.handle_content_sent(self.clock.now());
                    } else if content.is_some() {
                        self.session.handle_progress(self.clock.now());
                    }
                }
                Turn::Flushed => return true,
                // The peer may have said why it hangs up.
                Turn::NotWritten(e) => match self.turn(None).await {
                    turn @ (Turn::Read(1..) | Turn::TimedOut(_)) => self.take(turn),
                    Turn::Read(0) | Turn::Failed(_) | Turn::Wrote(_) | Turn::Flushed | Turn::NotWritten(_) => {
                        self.take(Turn::Failed(e));
                    }
                },
                turn @ (Turn::Read(_) | Turn::Failed(_) | Turn::TimedOut(_)) => self.take(turn),
            }
            self.collect_events();
            if matches!(self.events.back(), Some(Event::Closed(_))) {
                return false;
            }
        }
    }

    /// Waits until one thing happened: some of `rest` was written (or, when it is empty, flushed), something was
    /// read, or what the session waits for is late.
    async fn turn(&mut self, rest: Option<&[IoSlice<'_>]>) -> Turn {
        let Self { stream, buffer, timer, session, .. } = self;
        let deadline = session.poll_timeout();
        poll_fn(|cx| {
            if let Some(rest) = rest
                && let Poll::Ready(turn) = poll_write(stream, cx, rest)
            {
                return Poll::Ready(turn);
            }
            match stream.poll_read(cx, buffer) {
                Poll::Ready(Ok(n)) => return Poll::Ready(Turn::Read(n)),
                Poll::Ready(Err(e)) => return Poll::Ready(Turn::Failed(e)),
                Poll::Pending => {}
            }
            match deadline {
                Some(deadline) => timer.poll(cx, deadline).map(|()| Turn::TimedOut(deadline)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Tells the session what a turn brought.
    fn take(&mut self, turn: Turn) {
        let now = self.clock.now();
        match turn {
            Turn::Wrote(_) | Turn::Flushed => {}
            Turn::Read(0) => self.session.handle_closed(now),
            Turn::Read(n) => self.session.handle_input(now, &self.buffer[..n]),
            Turn::Failed(e) | Turn::NotWritten(e) if is_hang_up(&e) => self.session.handle_closed(now),
            Turn::Failed(e) | Turn::NotWritten(e) => self.session.handle_io_error(now, e.to_string()),
            // The timer may ring a hair before the clock is there.
            Turn::TimedOut(deadline) => self.session.handle_timeout(now.max(deadline)),
        }
    }

    fn collect_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.events.push_back(event);
        }
    }

    async fn handshake(&mut self) {
        let outcome = self.stream.handshake(&self.peer, self.tls_timeout).await;
        self.session.handle_tls(self.clock.now(), outcome);
    }

    /// The session is over: its last words, as far as the peer takes them at once.
    async fn farewell(&mut self) {
        self.is_over = true;
        if let Some(Output::Bytes(bytes)) = self.session.poll_output() {
            let words = poll_fn(|cx| self.stream.poll_write(cx, &[IoSlice::new(&bytes)]));
            // Nobody needs them.
            _ = tokio::time::timeout(FAREWELL, words).await;
        }
        _ = tokio::time::timeout(FAREWELL, poll_fn(|cx| self.stream.poll_flush(cx))).await;
    }
}

fn poll_write(stream: &mut Stream, cx: &mut Context<'_>, rest: &[IoSlice<'_>]) -> Poll<Turn> {
    let done = if rest.is_empty() {
        stream.poll_flush(cx).map_ok(|()| Turn::Flushed)
    } else {
        stream.poll_write(cx, rest).map(|wrote| match wrote {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            wrote => wrote.map(Turn::Wrote),
        })
    };
    done.map(|result| result.unwrap_or_else(Turn::NotWritten))
}

/// Whether the error only says that the peer is gone.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionAborted
    )
}

#[cfg(test)]
mod tests;
