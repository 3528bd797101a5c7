//! An SMTP client by hand: says exactly the octets it is told to, and checks the answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::certificate;

/// How long an answer may take. Failed log-ins are slowed down on purpose, so this is generous.
const ANSWER: Duration = Duration::from_secs(40);

/// A reply: its code and its lines without the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// Its lines, code and separator taken off.
    pub lines: Vec<String>,
}

impl Reply {
    /// Code and lines as one text: `250 2.1.0 Ok / …`.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" / "))
    }

    /// Itself when it starts with `start`, such as `250` or `553 5.7.1`; else an error that shows it.
    pub fn expect(self, start: &str) -> Result<Self> {
        ensure!(self.text().starts_with(start), "expected {start:?}, got {:?}", self.text());
        Ok(self)
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A connection to a server.
pub struct Client {
    stream: Stream,
    input: Vec<u8>,
}

impl Client {
    /// Connects; the greeting is not read.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        Self::connect_after(address, b"")
    }

    /// Connects and sends `preface` (a PROXY header) first; the greeting is not read.
    pub fn connect_after(address: SocketAddr, preface: &[u8]) -> Result<Self> {
        let mut stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        stream.write_all(preface)?;
        Ok(Self { stream: Stream::Plain(stream), input: Vec::new() })
    }

    /// Connects, takes the greeting and says EHLO.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let mut client = Self::connect(address)?;
        client.reply()?.expect("220")?;
        client.command("EHLO client.test")?.expect("250")?;
        Ok(client)
    }

    /// [`Self::open`] on a port that begins with TLS; `pem` is the certificate that it must show.
    pub fn open_tls(address: SocketAddr, pem: &Path) -> Result<Self> {
        let mut client = Self::connect(address)?.handshake(pem)?;
        client.reply()?.expect("220")?;
        client.command("EHLO client.test")?.expect("250")?;
        Ok(client)
    }

    /// STARTTLS, the handshake against `pem` and a new EHLO.
    pub fn starttls(mut self, pem: &Path) -> Result<Self> {
        self.command("STARTTLS")?.expect("220")?;
        let mut client = self.handshake(pem)?;
        client.command("EHLO client.test")?.expect("250")?;
        Ok(client)
    }

    /// The TLS handshake alone; the server must show the certificate in `pem` for the name `sluice.test`.
    pub fn handshake(self, pem: &Path) -> Result<Self> {
        let Stream::Plain(stream) = self.stream else { bail!("TLS is already on") };
        let connection = ClientConnection::new(certificate::trusting(pem)?, ServerName::try_from("sluice.test")?)?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).context("TLS handshake")?;
        }
        Ok(Self { stream: Stream::Tls(Box::new(stream)), input: Vec::new() })
    }

    /// The certificate that the server showed, in DER.
    pub fn peer_certificate(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(stream.conn.peer_certificates()?.first()?.to_vec()),
        }
    }

    /// Sends `bytes` as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes)?,
            Stream::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()?;
            }
        }
        Ok(())
    }

    /// No more octets will follow from this side.
    pub fn shut_down_write(&mut self) -> Result<()> {
        match &self.stream {
            Stream::Plain(stream) => stream.shutdown(Shutdown::Write)?,
            Stream::Tls(stream) => stream.sock.shutdown(Shutdown::Write)?,
        }
        Ok(())
    }

    /// Sends `line` with its CRLF and reads the reply.
    pub fn command(&mut self, line: &str) -> Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply().with_context(|| format!("after {line:?}"))
    }

    /// Reads one whole reply.
    pub fn reply(&mut self) -> Result<Reply> {
        let mut reply = Reply { code: 0, lines: Vec::new() };
        loop {
            let line = self.line()?;
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let Some(code) = code else { bail!("not a reply: {line:?}") };
            ensure!(reply.code == 0 || reply.code == code, "the code changes within a reply: {line:?}");
            reply.code = code;
            reply.lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(reply);
            }
        }
    }

    /// Waits for the server to close; what it says before is returned.
    pub fn rest(&mut self) -> Result<String> {
        while self.fill()? {}
        Ok(String::from_utf8_lossy(&std::mem::take(&mut self.input)).into_owned())
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            ensure!(self.fill()?, "closed by the server, after {:?}", String::from_utf8_lossy(&self.input));
        }
    }

    fn fill(&mut self) -> Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut chunk),
            Stream::Tls(stream) => stream.read(&mut chunk),
        };
        match read {
            Ok(0) => Ok(false),
            Ok(n) => {
                self.input.extend_from_slice(&chunk[..n]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => Ok(false),
            Err(error) => Err(error).context("no answer from the server"),
        }
    }

    /// AUTH PLAIN with the credentials at once.
    pub fn auth_plain(&mut self, login: &str, password: &str) -> Result<Reply> {
        self.command(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{login}\0{password}"))))
    }

    /// AUTH LOGIN, a step at a time; stops at the first refusal.
    pub fn auth_login(&mut self, login: &str, password: &str) -> Result<Reply> {
        let mut reply = self.command("AUTH LOGIN")?;
        for word in [login, password] {
            if reply.code != 334 {
                break;
            }
            reply = self.command(&STANDARD.encode(word))?;
        }
        Ok(reply)
    }

    /// One transaction a step at a time; `content` is dot-stuffed here and ends with CRLF. The first refusal, or the
    /// last reply.
    pub fn submit(&mut self, from: &str, to: &[&str], content: &[u8]) -> Result<Reply> {
        let parameter = if from.is_ascii() && to.iter().all(|to| to.is_ascii()) { "" } else { " SMTPUTF8" };
        let mut reply = self.command(&format!("MAIL FROM:<{from}>{parameter}"))?;
        for to in to {
            if reply.code != 250 {
                return Ok(reply);
            }
            reply = self.command(&format!("RCPT TO:<{to}>"))?;
        }
        if reply.code != 250 {
            return Ok(reply);
        }
        reply = self.command("DATA")?;
        if reply.code != 354 {
            return Ok(reply);
        }
        let mut bytes = dot_stuff(content);
        bytes.extend_from_slice(b".\r\n");
        self.send(&bytes)?;
        self.reply()
    }

    /// Plays a transcript. `C: ` sends the rest with CRLF, in which `\r \n \t \\ \0 \xHH` are octets, and a line that
    /// ends with `\` gets no CRLF. `S: ` reads a reply, which starts so and holds what follows each ` … `; `S: -` is
    /// the server's closing. Other lines are remarks.
    pub fn play(&mut self, transcript: &str) -> Result<()> {
        for line in transcript.lines().map(str::trim) {
            let done = if let Some(text) = line.strip_prefix("C: ") {
                self.send(&unescape(text)?)
            } else if line == "S: -" {
                self.rest().and_then(|rest| {
                    ensure!(rest.is_empty(), "not closed but {rest:?}");
                    Ok(())
                })
            } else if let Some(pattern) = line.strip_prefix("S: ") {
                self.reply().and_then(|reply| matches(&reply, pattern))
            } else {
                Ok(())
            };
            done.with_context(|| format!("at `{line}`"))?;
        }
        Ok(())
    }
}

fn matches(reply: &Reply, pattern: &str) -> Result<()> {
    let text = reply.text();
    let mut parts = pattern.split('…').map(str::trim);
    let start = parts.next().unwrap_or_default();
    let lower = text.to_lowercase();
    let fits = text.starts_with(start) && parts.all(|part| lower.contains(&part.to_lowercase()));
    ensure!(fits, "got {text:?}");
    Ok(())
}

fn unescape(text: &str) -> Result<Vec<u8>> {
    let (text, end) = text.strip_suffix('\\').map_or((text, &b"\r\n"[..]), |text| (text, b""));
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match chars.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => u8::from_str_radix(&chars.by_ref().take(2).collect::<String>(), 16)?,
            other => bail!("no such escape: {other:?}"),
        });
    }
    bytes.extend_from_slice(end);
    Ok(bytes)
}

/// `content` with a dot before each line that begins with one.
#[must_use]
pub fn dot_stuff(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 16);
    let mut line_start = true;
    for &byte in content {
        if line_start && byte == b'.' {
            out.push(b'.');
        }
        out.push(byte);
        line_start = byte == b'\n';
    }
    out
}

/// `lines` with CRLF after each.
#[must_use]
pub fn crlf(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcripts_can_say_any_octet() {
        for (text, bytes) in [
            ("NOOP", &b"NOOP\r\n"[..]),
            ("half\\", b"half"),
            ("a\\r\\n.\\n\\\\b\\", b"a\r\n.\n\\b"),
            ("\\x00\\xffé", b"\x00\xff\xc3\xa9\r\n"),
        ] {
            assert_eq!(unescape(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn patterns_match_start_and_parts() {
        let reply = Reply { code: 553, lines: vec!["5.7.1 No: a@b is not yours".to_owned(), "5.7.1 more".to_owned()] };
        assert!(matches(&reply, "553 5.7.1 … a@b … MORE").is_ok());
        assert!(matches(&reply, "553 5.7.2").is_err());
        assert!(matches(&reply, "553 … c@d").is_err());
    }

    #[test]
    fn dots_are_stuffed_at_line_starts_only() {
        assert_eq!(dot_stuff(b".\r\na.b\r\n..\r\n"), b"..\r\na.b\r\n...\r\n");
    }
}
