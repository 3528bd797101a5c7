//! A scripted SMTP server on loopback that notes what it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the peer does when it is asked something.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Say(String),
    /// Hangs up.
    Close,
    /// Says this, then hangs up.
    SayAndClose(String),
    /// Waits until the test opens the peer's gate, then says this.
    AtGate(String),
}

pub(crate) fn say(text: &str) -> Answer {
    Answer::Say(text.into())
}

type OnCommand = Box<dyn Fn(&str, usize) -> Option<Answer> + Send + Sync>;

/// How the peer behaves.
pub(crate) struct Script {
    pub(crate) greeting: Answer,
    pub(crate) ehlo: String,
    /// Given each command line (`.` for the end of a message) and how often it was asked before with the same verb;
    /// `None` is the usual answer.
    pub(crate) on: OnCommand,
    /// Before each answer.
    pub(crate) delay: Duration,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            greeting: say("220 peer.example ESMTP"),
            ehlo: "250-peer.example\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250 8BITMIME".into(),
            on: Box::new(|_, _| None),
            delay: Duration::ZERO,
        }
    }
}

/// A peer that answers so.
pub(crate) fn on(script: impl Fn(&str, usize) -> Option<Answer> + Send + Sync + 'static) -> Script {
    Script { on: Box::new(script), ..Script::default() }
}

/// A message that the peer received whole.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// Without dot-stuffing and final dot.
    pub(crate) body: String,
    /// Which connection, from 1.
    pub(crate) connection: usize,
    /// Whether the peer said 250 to it.
    pub(crate) taken: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    pub(crate) live: usize,
    pub(crate) mails: Vec<Mail>,
    /// All command lines.
    pub(crate) lines: Vec<String>,
}

pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) seen: watch::Receiver<Seen>,
    gate: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Peer {
    pub(crate) async fn start(script: Script) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    pub(crate) async fn at(address: SocketAddr, script: Script) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, receiver) = watch::channel(Seen::default());
        let (gate, at_gate) = watch::channel(false);
        let host = Arc::new(Host { script, seen, counts: Mutex::default(), gate: at_gate });
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(host.clone().serve(socket));
            }
        });
        Self { address, seen: receiver, gate, task }
    }

    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Waits until what the peer saw satisfies `enough`, and gives it.
    pub(crate) async fn wait(&self, enough: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let waited = tokio::time::timeout(Duration::from_secs(20), seen.wait_for(|seen| enough(seen)));
        let found = waited.await.map(|seen| seen.unwrap().clone());
        found.unwrap_or_else(|_| panic!("the peer saw only {:#?}", self.seen()))
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Host {
    script: Script,
    seen: watch::Sender<Seen>,
    counts: Mutex<std::collections::HashMap<String, usize>>,
    gate: watch::Receiver<bool>,
}

impl Host {
    async fn serve(self: Arc<Self>, socket: TcpStream) {
        socket.set_nodelay(true).unwrap();
        let mut connection = 0;
        self.seen.send_modify(|seen| {
            seen.connections += 1;
            seen.live += 1;
            connection = seen.connections;
        });
        let mut stream = BufReader::new(socket);
        _ = self.converse(&mut stream, connection).await;
        self.seen.send_modify(|seen| seen.live -= 1);
    }

    async fn converse(&self, stream: &mut BufReader<TcpStream>, connection: usize) -> Option<()> {
        self.answer(stream, self.script.greeting.clone()).await?;
        let mut mail = Mail { from: String::new(), to: vec![], body: String::new(), connection, taken: false };
        loop {
            let line = line(stream).await?;
            self.seen.send_modify(|seen| seen.lines.push(line.clone()));
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let special = self.special(&line, &verb);
            match verb.as_str() {
                "EHLO" => self.answer(stream, special.unwrap_or(say(&self.script.ehlo))).await?,
                "MAIL" => {
                    mail.from = argument(&line);
                    mail.to.clear();
                    self.answer(stream, special.unwrap_or(say("250 2.1.0 sender ok"))).await?;
                }
                "RCPT" => {
                    let answer = special.unwrap_or(say("250 2.1.5 recipient ok"));
                    if matches!(&answer, Answer::Say(text) if text.starts_with('2')) {
                        mail.to.push(argument(&line));
                    }
                    self.answer(stream, answer).await?;
                }
                "DATA" if mail.to.is_empty() => self.answer(stream, say("503 5.5.1 no recipients")).await?,
                "DATA" => {
                    self.answer(stream, special.unwrap_or(say("354 go on"))).await?;
                    mail.body = content(stream).await?;
                    let answer = self.special(".", ".").unwrap_or(say("250 2.0.0 kept"));
                    mail.taken = matches!(&answer, Answer::Say(t) | Answer::AtGate(t) if t.starts_with('2'));
                    self.seen.send_modify(|seen| seen.mails.push(mail.clone()));
                    self.answer(stream, answer).await?;
                }
                "QUIT" => self.answer(stream, special.unwrap_or(Answer::SayAndClose("221 2.0.0 bye".into()))).await?,
                _ => self.answer(stream, special.unwrap_or(say("250 2.0.0 ok"))).await?,
            }
        }
    }

    fn special(&self, line: &str, verb: &str) -> Option<Answer> {
        let mut counts = self.counts.lock().unwrap();
        let count = counts.entry(verb.to_owned()).or_default();
        *count += 1;
        (self.script.on)(line, *count - 1)
    }

    async fn answer(&self, stream: &mut BufReader<TcpStream>, answer: Answer) -> Option<()> {
        if !self.script.delay.is_zero() {
            tokio::time::sleep(self.script.delay).await;
        }
        let (text, go_on) = match answer {
            Answer::Close => return None,
            Answer::Say(text) => (text, true),
            Answer::SayAndClose(text) => (text, false),
            Answer::AtGate(text) => {
                self.gate.clone().wait_for(|open| *open).await.ok()?;
                (text, true)
            }
        };
        stream.write_all(format!("{text}\r\n").as_bytes()).await.ok()?;
        go_on.then_some(())
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await.ok().filter(|n| *n > 0)?;
    Some(String::from_utf8_lossy(&line).trim_end().to_owned())
}

async fn content(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await.ok().filter(|n| *n > 0)?;
        if line == b".\r\n" {
            return String::from_utf8(body).ok();
        }
        body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

fn argument(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}

/// A port that nobody listens at.
pub(crate) async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Accepts connections and never says a word.
pub(crate) async fn silent() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            held.push(tokio::spawn(async move { while socket.read_u8().await.is_ok() {} }));
        }
    });
    (address, task)
}
