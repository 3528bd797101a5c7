//! HTTP/1.1 GET, as much as the tests need.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// The value of its Content-Type field.
    pub content_type: String,
    /// Its body, not decoded.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| self.text())
    }
}

/// Asks for `path`; the answer's body must have a Content-Length or end with the connection.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    request(address, "GET", path)
}

/// Asks `method` for `path` with no body.
pub fn request(address: SocketAddr, method: &str, path: &str) -> Result<Answer> {
    request_with(address, method, path, "")
}

/// Asks `method` for `path` with JSON, or nothing, as the body.
pub fn request_with(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("http://{address}{path}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").context("no end of the header")?;
    let header = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = header.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status code")?;
    let field = |name: &str| {
        let lines = header.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
    };
    let mut body = bytes.split_off(end + 4);
    if field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        body = dechunk(&body)?;
    }
    Ok(Answer { status, content_type: field("content-type").unwrap_or_default(), body })
}

fn dechunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n").context("no chunk size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end])?, 16)?;
        let chunk = rest.get(end + 2..end + 2 + size);
        let Some(chunk) = chunk else { bail!("a chunk is cut off") };
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + size..).context("a chunk is cut off")?;
    }
}
