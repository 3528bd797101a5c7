//! The load of the crash proof: messages that are told by their number alone, and sessions that submit them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::ledger::{Ledger, Recipient};
use crate::random::Random;
use crate::smtp::dot_stuff;

/// The header field with a message's number; it and all below it must arrive as they were sent.
pub const FIELD: &str = "X-Ledger";

/// A generated message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its number.
    pub number: u64,
    /// How many recipients it has: `r<index>.<number>@<domain>`.
    pub recipients: Vec<String>,
    /// Its content from [`FIELD`] on, not stuffed.
    pub content: Vec<u8>,
}

/// Recipients are spread over this many domains.
const DOMAINS: u64 = 7;

impl Message {
    /// Message `number` of the run told by `seed`.
    #[must_use]
    pub fn new(seed: u64, number: u64) -> Self {
        let mut random = Random::new(seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let count = 1 + random.below(3) as u8;
        let domain = random.below(DOMAINS);
        let recipients = (0..count).map(|index| {
            let domain = if random.one_in(3) { random.below(DOMAINS) } else { domain };
            format!("r{index}.{number}@d{domain}.ledger.test")
        });
        let recipients = recipients.collect();
        let mut content = format!("{FIELD}: {number}\r\nSubject: message {number}\r\n\r\n").into_bytes();
        let size_max = if random.one_in(20) { 100_000 } else { 6_000 };
        let size = 200 + random.below(size_max) as usize;
        while content.len() < size {
            write_line(&mut content, &mut random);
        }
        Self { number, recipients, content }
    }
}

/// A line of up to 78 octets, some with 8-bit octets, some beginning with dots, some empty.
fn write_line(content: &mut Vec<u8>, random: &mut Random) {
    match random.below(12) {
        0 => content.extend_from_slice(b"."),
        1 => content.extend_from_slice(b".."),
        2 => {}
        3 => content.extend_from_slice("Grüße, 8-bit: \u{1F4EE}".as_bytes()),
        _ => {
            let mut left = 8 + random.below(9);
            while left > 0 {
                let word = random.bits();
                content.extend((0..8).map(|i| b'a' + (word >> (8 * i) & 0xf) as u8));
                left -= 1;
            }
        }
    }
    content.extend_from_slice(b"\r\n");
}

/// The recipient that an address names, if a generator made it.
#[must_use]
pub fn recipient(address: &str) -> Option<Recipient> {
    let (local, domain) = address.split_once('@')?;
    let (index, message) = local.strip_prefix('r')?.split_once('.')?;
    domain.ends_with(".ledger.test").then_some(())?;
    Some(Recipient { message: message.parse().ok()?, index: index.parse().ok()? })
}

/// The reverse-path of message `number`.
fn sender_of(number: u64) -> String {
    format!("s{number}@ledger.test")
}

/// The number of the message whose reverse-path this is, if a generator made it.
#[must_use]
pub fn sender(address: &str) -> Option<u64> {
    address.strip_prefix('s')?.strip_suffix("@ledger.test")?.parse().ok()
}

/// Compares what arrived with what message it claims to be; its number, or what is wrong with it.
pub fn check(seed: u64, arrived: &[u8]) -> Result<u64> {
    let start = arrived.windows(FIELD.len()).position(|w| w == FIELD.as_bytes()).context("no X-Ledger field")?;
    let rest = &arrived[start..];
    let line = rest.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let number = std::str::from_utf8(line)?.split_once(": ").and_then(|(_, number)| number.parse().ok());
    let number = number.context("no number in X-Ledger")?;
    ensure!(Message::new(seed, number).content == rest, "message {number} is not what was submitted");
    Ok(number)
}

/// Where and how to submit.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The listener that trusts loopback.
    pub address: SocketAddr,
    /// The seed of all messages.
    pub seed: u64,
    /// Sessions at once.
    pub sessions: usize,
    /// A pause after each message and session, which bounds the rate.
    pub pause: Duration,
}

/// Sessions that submit until they are stopped, and start again when the server goes away.
pub struct Generator {
    stop: Arc<AtomicBool>,
    submitted: Arc<AtomicU64>,
    sessions: Vec<JoinHandle<()>>,
}

impl Generator {
    /// Starts the sessions; each 250 is entered in `ledger`.
    #[must_use]
    pub fn start(load: Load, ledger: &Arc<Ledger>) -> Self {
        let (stop, submitted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sessions = (0..load.sessions).map(|_| {
            let (stop, submitted, ledger) = (Arc::clone(&stop), Arc::clone(&submitted), Arc::clone(ledger));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    // The server was killed or is not up yet; the next connection tells.
                    if session(load, &stop, &submitted, &ledger).is_err() {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            })
        });
        let sessions = sessions.collect();
        Self { stop, submitted, sessions }
    }

    /// Stops the sessions between two messages; the number of messages that were begun.
    pub fn stop(mut self) -> u64 {
        self.halt();
        self.submitted.load(Ordering::Acquire)
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Release);
        for session in self.sessions.drain(..) {
            let _ = session.join();
        }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.halt();
    }
}

fn session(load: Load, stop: &AtomicBool, submitted: &AtomicU64, ledger: &Ledger) -> Result<()> {
    let stream = TcpStream::connect(load.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    expect(&mut input, "220")?;
    output.write_all(b"EHLO generator.test\r\n")?;
    expect(&mut input, "250")?;
    while !stop.load(Ordering::Acquire) {
        let message = Message::new(load.seed, submitted.fetch_add(1, Ordering::AcqRel));
        let mut commands = format!("MAIL FROM:<{}>\r\n", sender_of(message.number));
        for recipient in &message.recipients {
            commands.push_str(&format!("RCPT TO:<{recipient}>\r\n"));
        }
        commands.push_str("DATA\r\n");
        output.write_all(commands.as_bytes())?;
        for _ in 0..=message.recipients.len() {
            expect(&mut input, "250")?;
        }
        expect(&mut input, "354")?;
        let mut content = b"From: Ledger <sender@ledger.test>\r\n".to_vec();
        content.extend_from_slice(&dot_stuff(&message.content));
        content.extend_from_slice(b".\r\n");
        output.write_all(&content)?;
        expect(&mut input, "250")?;
        ledger.accepted(message.number, message.recipients.len() as u8);
        if !load.pause.is_zero() {
            std::thread::sleep(load.pause);
        }
    }
    output.write_all(b"QUIT\r\n")?;
    expect(&mut input, "221")
}

fn expect(input: &mut BufReader<TcpStream>, code: &str) -> Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        ensure!(input.read_line(&mut line)? > 0, "closed");
        ensure!(line.starts_with(code), "expected {code}: {line:?}");
        if line.as_bytes().get(3) == Some(&b' ') {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_by_its_number_and_any_change_is_seen() {
        for number in 0..50 {
            let message = Message::new(7, number);
            let mut arrived = b"Received: from x\r\nFrom: Ledger <sender@ledger.test>\r\n".to_vec();
            arrived.extend_from_slice(&message.content);
            assert_eq!(check(7, &arrived).unwrap(), number);
            assert!(check(8, &arrived).is_err(), "another seed");
            let last = arrived.len() - 5;
            arrived[last] ^= 1;
            assert!(check(7, &arrived).is_err(), "a changed octet");
            assert!(check(7, &arrived[..last]).is_err(), "cut off");
            assert_eq!(sender(&sender_of(number)), Some(number));
            for (index, address) in message.recipients.iter().enumerate() {
                assert_eq!(recipient(address), Some(Recipient { message: number, index: index as u8 }));
            }
        }
    }
}
