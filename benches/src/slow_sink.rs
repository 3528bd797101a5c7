//! A sink at many addresses that takes its time for each reply, in this process: thousands of connections on one
//! thread.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sluice_tests::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Takes all mail and keeps none. It ends when it is dropped.
pub struct SlowSink {
    addresses: Vec<SocketAddr>,
    seen: Arc<Seen>,
    _runtime: Runtime,
}

/// What it has seen so far.
#[derive(Debug, Default)]
struct Seen {
    open: AtomicU64,
    most_open: AtomicU64,
    connections: AtomicU64,
    messages: AtomicU64,
    replies: AtomicU64,
    /// Microseconds that the replies took in all.
    took: AtomicU64,
    /// How many messages had come when somebody looked.
    marks: Mutex<Vec<(Duration, u64)>>,
}

/// The numbers of a [`SlowSink`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// Connections that were opened.
    pub connections: u64,
    /// The most of them at once.
    pub most_open: u64,
    /// Messages taken.
    pub messages: u64,
    /// How long a reply took in truth, timers being what they are.
    pub reply: Duration,
}

impl SlowSink {
    /// Listens at `count` addresses of 127.1.0.0/16, on the same port; each reply comes `delay` after its command, or
    /// after the reply before it.
    pub fn start(count: usize, port: u16, delay: Duration) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let seen = Arc::new(Seen::default());
        let address = |n: usize| {
            let (high, low) = ((n / 250) as u8, (n % 250 + 1) as u8);
            SocketAddr::from((Ipv4Addr::new(127, 1, high, low), port))
        };
        let addresses: Vec<_> = (0..count).map(address).collect();
        for address in &addresses {
            let listener = runtime.block_on(TcpListener::bind(address));
            let listener = listener.with_context(|| format!("cannot listen at {address}"))?;
            runtime.spawn(listen(listener, delay, Arc::clone(&seen)));
        }
        Ok(Self { addresses, seen, _runtime: runtime })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it has seen.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let load = |number: &AtomicU64| number.load(Ordering::Acquire);
        Numbers {
            connections: load(&self.seen.connections),
            most_open: load(&self.seen.most_open),
            messages: load(&self.seen.messages),
            reply: Duration::from_micros(load(&self.seen.took) / load(&self.seen.replies).max(1)),
        }
    }

    /// Waits until `count` messages have come; the times by which so many had.
    pub fn wait_for(&self, count: u64, limit: Duration) -> Result<Vec<(Duration, u64)>> {
        let start = wait::now();
        wait::until(limit, "all messages to arrive", || {
            let now = self.seen.messages.load(Ordering::Acquire);
            let mut marks = self.seen.marks.lock().unwrap_or_else(PoisonError::into_inner);
            marks.push((wait::elapsed(start), now));
            Ok((now >= count).then(|| std::mem::take(&mut *marks)))
        })
    }
}

async fn listen(listener: TcpListener, delay: Duration, seen: Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let open = seen.open.fetch_add(1, Ordering::AcqRel) + 1;
            seen.most_open.fetch_max(open, Ordering::AcqRel);
            seen.connections.fetch_add(1, Ordering::AcqRel);
            // A peer that hangs up is none of a sink's business.
            let _ = Session { stream, delay, seen: &seen, input: Vec::new() }.run().await;
            seen.open.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

struct Session<'a> {
    stream: TcpStream,
    delay: Duration,
    seen: &'a Seen,
    input: Vec<u8>,
}

impl Session<'_> {
    async fn run(&mut self) -> std::io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.reply("220 slow.test ESMTP").await?;
        while let Some(line) = self.take(b"\r\n").await? {
            let verb = line.get(..4).map(<[u8]>::to_ascii_uppercase).unwrap_or_default();
            match verb.as_slice() {
                b"EHLO" => self.reply("250-slow.test\r\n250-PIPELINING\r\n250 8BITMIME").await?,
                b"DATA" => {
                    self.reply("354 go on").await?;
                    let Some(_) = self.take(b"\r\n.\r\n").await? else { break };
                    self.reply("250 2.0.0 taken").await?;
                    self.seen.messages.fetch_add(1, Ordering::AcqRel);
                }
                b"QUIT" => return self.reply("221 2.0.0 bye").await,
                _ => self.reply("250 2.0.0 ok").await?,
            }
        }
        Ok(())
    }

    async fn reply(&mut self, text: &str) -> std::io::Result<()> {
        let start = wait::now();
        tokio::time::sleep(self.delay).await;
        let took = u64::try_from(wait::elapsed(start).as_micros()).unwrap_or(u64::MAX);
        self.seen.took.fetch_add(took, Ordering::AcqRel);
        self.seen.replies.fetch_add(1, Ordering::AcqRel);
        self.stream.write_all(format!("{text}\r\n").as_bytes()).await
    }

    /// What comes before `end`; `None` when the peer has gone.
    async fn take(&mut self, end: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.input[looked..].windows(end.len()).position(|window| window == end) {
                let rest = self.input.split_off(looked + at + end.len());
                return Ok(Some(std::mem::replace(&mut self.input, rest)));
            }
            looked = self.input.len().saturating_sub(end.len() - 1);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }
}
