//! An SMTP server for tests: takes mail, hands each transaction to a [`Handler`] before it answers, and misbehaves
//! where the handler says so.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{ports, wait};

/// A transaction up to its final dot.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// When the dot came.
    pub at: Instant,
    /// The connection, counted from 0 over the sink's life.
    pub connection: u64,
    /// Which final dot of its connection it is, from 0.
    pub sequence: u32,
    /// MAIL FROM's argument, as sent.
    pub mail: String,
    /// The recipients that were taken, without brackets.
    pub recipients: Vec<String>,
    /// The content, dots removed, lines with CRLF.
    pub content: Vec<u8>,
}

impl Transaction {
    /// The value of the first header field `name`, unfolded.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.content);
        let mut value: Option<String> = None;
        for line in text.split("\r\n").take_while(|line| !line.is_empty()) {
            if line.starts_with([' ', '\t']) {
                if let Some(value) = &mut value {
                    value.push_str(line);
                }
            } else if value.is_some() {
                break;
            } else if let Some((field, rest)) = line.split_once(':') {
                value = field.eq_ignore_ascii_case(name).then(|| rest.trim().to_owned());
            }
        }
        value
    }
}

/// Where the handler may step in.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A connection, before the greeting.
    Connect,
    /// A command line, before it is looked at.
    Command(&'a str),
    /// A recipient, without brackets.
    Recipient(&'a str),
    /// The final dot, before the transaction is handed on.
    Dot,
}

/// What to do at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// As a good server does.
    Accept,
    /// This reply instead, without its CRLF.
    Reply(&'static str),
    /// The same, written at once; then [`Handler::written`] is told.
    ReplyNow(&'static str),
    /// Close without a word.
    Close,
    /// This reply, then close.
    ReplyAndClose(&'static str),
    /// Nothing more is said or read; the connection stays open until the sink goes.
    Stall,
}

/// What a sink does with its mail.
pub trait Handler: Send + Sync + 'static {
    /// Asked at each step.
    fn step(&self, connection: u64, step: Step<'_>) -> Action {
        let _ = (connection, step);
        Action::Accept
    }

    /// The first line of a content has come.
    fn content(&self, connection: u64) {
        let _ = connection;
    }

    /// A message is taken; `250` is written when this returns.
    fn message(&self, transaction: Transaction);

    /// The answer to a message that was taken, or to an [`Action::ReplyNow`], is written.
    fn written(&self, connection: u64) {
        let _ = connection;
    }
}

type Steps = Box<dyn Fn(u64, Step<'_>) -> Action + Send + Sync>;

/// A handler that keeps everything and always accepts, or does what `steps` says.
#[derive(Default)]
pub struct Mailbox {
    taken: Mutex<Vec<Transaction>>,
    steps: Option<Steps>,
}

impl Mailbox {
    /// One that misbehaves as `steps` says.
    pub fn misbehaving(steps: impl Fn(u64, Step<'_>) -> Action + Send + Sync + 'static) -> Self {
        Self { taken: Mutex::default(), steps: Some(Box::new(steps)) }
    }

    /// What it has taken so far.
    #[must_use]
    pub fn taken(&self) -> Vec<Transaction> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has taken `count` messages, and gives all it has.
    pub fn wait_for(&self, count: usize) -> Result<Vec<Transaction>> {
        wait::until(wait::PATIENCE, &format!("{count} messages in the sink"), || {
            let taken = self.taken();
            Ok((taken.len() >= count).then_some(taken))
        })
    }
}

impl Handler for Mailbox {
    fn step(&self, connection: u64, step: Step<'_>) -> Action {
        self.steps.as_ref().map_or(Action::Accept, |steps| steps(connection, step))
    }

    fn message(&self, transaction: Transaction) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(transaction);
    }
}

/// A running server; its connections end with it.
pub struct Sink {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Sink {
    /// Listens on a free port.
    pub fn start(handler: Arc<dyn Handler>) -> Result<Self> {
        Self::start_on(ports::free()?, handler)
    }

    /// Listens on `port`.
    pub fn start_on(port: u16, handler: Arc<dyn Handler>) -> Result<Self> {
        Self::start_at(ports::loopback(port), handler)
    }

    /// Listens at `address`.
    pub fn start_at(address: SocketAddr, handler: Arc<dyn Handler>) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let (stop, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let acceptor = std::thread::spawn({
            let (stop, open) = (Arc::clone(&stop), Arc::clone(&open));
            move || accept(&listener, &stop, &open, &handler)
        });
        Ok(Self { address, stop, open, acceptor: Some(acceptor) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, stop: &AtomicBool, open: &Mutex<Vec<TcpStream>>, handler: &Arc<dyn Handler>) {
    let next = AtomicU64::new(0);
    for stream in listener.incoming() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(kept) = stream.try_clone() else { continue };
        {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|stream| stream.peer_addr().is_ok());
            open.push(kept);
        }
        let id = next.fetch_add(1, Ordering::Relaxed);
        let handler = Arc::clone(handler);
        std::thread::spawn(move || {
            if let Ok(mut connection) = Connection::new(id, stream, handler) {
                let _ = connection.serve();
                connection.close();
            }
        });
    }
}

/// How long a connection may be silent, and the bound of a message that a sink takes.
const SILENCE: Duration = Duration::from_secs(300);
const CONTENT_MAX: u64 = 64 << 20;

struct Connection {
    id: u64,
    input: BufReader<TcpStream>,
    output: TcpStream,
    pending: Vec<u8>,
    handler: Arc<dyn Handler>,
    mail: Option<String>,
    recipients: Vec<String>,
    sequence: u32,
}

/// The connection is to be closed.
struct Closed;

impl From<std::io::Error> for Closed {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl Connection {
    fn new(id: u64, stream: TcpStream, handler: Arc<dyn Handler>) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let output = stream.try_clone()?;
        let input = BufReader::with_capacity(64 * 1024, stream);
        let (pending, recipients) = (Vec::new(), Vec::new());
        Ok(Self { id, input, output, pending, handler, mail: None, recipients, sequence: 0 })
    }

    fn serve(&mut self) -> Result<(), Closed> {
        if self.allowed(Step::Connect)? {
            self.say("220 sink.test ESMTP")?;
        }
        loop {
            let Some(line) = self.line()? else { return Ok(()) };
            let line = String::from_utf8_lossy(&line).into_owned();
            if self.allowed(Step::Command(&line))? {
                self.command(&line)?;
            }
            if line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case("QUIT")) {
                return Ok(self.flush()?);
            }
        }
    }

    fn close(&self) {
        let _ = self.output.shutdown(Shutdown::Both);
    }

    fn command(&mut self, line: &str) -> Result<(), Closed> {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => self.say("250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-SIZE 67108864\r\n250 ENHANCEDSTATUSCODES"),
            "HELO" => self.say("250 sink.test"),
            "MAIL" => {
                self.mail = Some(line.get(10..).unwrap_or_default().to_owned());
                self.recipients.clear();
                self.say("250 2.1.0 Ok")
            }
            "RCPT" => self.recipient(line),
            "DATA" => self.data(),
            "RSET" => {
                self.mail = None;
                self.recipients.clear();
                self.say("250 2.0.0 Ok")
            }
            "NOOP" => self.say("250 2.0.0 Ok"),
            "QUIT" => self.say("221 2.0.0 Bye"),
            _ => self.say("502 5.5.1 What is that?"),
        }
    }

    fn recipient(&mut self, line: &str) -> Result<(), Closed> {
        let address = line.find('<').zip(line.rfind('>')).and_then(|(start, end)| line.get(start + 1..end));
        let Some(address) = address else { return self.say("501 5.1.3 Whom?") };
        if self.allowed(Step::Recipient(address))? {
            self.recipients.push(address.to_owned());
            self.say("250 2.1.5 Ok")?;
        }
        Ok(())
    }

    fn data(&mut self) -> Result<(), Closed> {
        if self.recipients.is_empty() {
            return self.say("554 5.5.1 No valid recipients");
        }
        self.say("354 Go on")?;
        let Some(content) = self.content()? else { return Err(Closed) };
        let at = wait::now();
        let sequence = self.sequence;
        self.sequence += 1;
        let (mail, recipients) = (self.mail.take().unwrap_or_default(), std::mem::take(&mut self.recipients));
        if self.allowed(Step::Dot)? {
            self.handler.message(Transaction { at, connection: self.id, sequence, mail, recipients, content });
            self.say("250 2.0.0 Taken")?;
            self.flush()?;
            self.handler.written(self.id);
        }
        Ok(())
    }

    fn content(&mut self) -> Result<Option<Vec<u8>>, Closed> {
        let mut content = Vec::with_capacity(8 * 1024);
        loop {
            self.flush_if_idle()?;
            let start = content.len();
            let read = (&mut self.input).take(CONTENT_MAX).read_until(b'\n', &mut content)?;
            if read == 0 || content.last() != Some(&b'\n') || content.len() as u64 > CONTENT_MAX {
                return Ok(None);
            }
            if start == 0 {
                self.handler.content(self.id);
            }
            if content[start] == b'.' {
                if &content[start..] == b".\r\n" {
                    content.truncate(start);
                    return Ok(Some(content));
                }
                content.remove(start);
            }
        }
    }

    /// Asks the handler; false when it has been answered in its way.
    fn allowed(&mut self, step: Step<'_>) -> Result<bool, Closed> {
        match self.handler.step(self.id, step) {
            Action::Accept => Ok(true),
            Action::Reply(text) => self.say(text).map(|()| false),
            Action::ReplyNow(text) => {
                self.say(text)?;
                self.flush()?;
                self.handler.written(self.id);
                Ok(false)
            }
            Action::Close => Err(Closed),
            Action::ReplyAndClose(text) => {
                self.say(text)?;
                self.flush()?;
                Err(Closed)
            }
            Action::Stall => self.stall(),
        }
    }

    fn stall(&mut self) -> Result<bool, Closed> {
        self.flush()?;
        let mut nothing = Vec::new();
        self.input.read_to_end(&mut nothing)?;
        Err(Closed)
    }

    fn say(&mut self, text: &str) -> Result<(), Closed> {
        self.pending.extend_from_slice(text.as_bytes());
        self.pending.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, Closed> {
        self.flush_if_idle()?;
        let mut line = Vec::new();
        (&mut self.input).take(64 * 1024).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(None);
        }
        line.truncate(line.len() - 1 - usize::from(line.ends_with(b"\r\n")));
        Ok(Some(line))
    }

    /// Answers go out together when the peer has nothing more in the pipe.
    fn flush_if_idle(&mut self) -> std::io::Result<()> {
        if self.input.buffer().is_empty() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.output.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}
