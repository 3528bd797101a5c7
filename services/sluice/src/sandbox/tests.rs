//! The sandbox from outside: HTTP requests against its routes, and SMTP against its sink.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use sluice_mail::{Clock, ManualClock, UnixMs};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tower::ServiceExt;

use super::letter::Summary;
use super::mailbox::Delivery;
use super::*;

const RICH: &str = "Received: by mx id 01J\r\nFrom: Ann <ann@example.org>\r\nTo: Bob <bob@example.net>\r\n\
    Reply-To: help@example.org\r\nSubject: Order 42\r\nDate: Mon, 23 Nov 2026 19:59:00 +0000\r\n\
    Message-ID: <m1@example.org>\r\nList-Unsubscribe: <mailto:u@example.org>, <https://example.org/u>\r\n\
    MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n\
    --m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n\
    --a\r\nContent-Type: text/plain\r\n\r\nThank you, Bob.\r\n\
    --a\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script><img src=\"cid:logo\">\r\n--a--\r\n\
    --m\r\nContent-Type: image/svg+xml\r\nContent-ID: <logo>\r\nContent-Disposition: inline\r\n\r\n<svg/>\r\n\
    --m\r\nContent-Type: text/html; name=\"a\\\"b.html\"\r\nContent-Disposition: attachment\r\n\r\n<b>x</b>\r\n--m--\r\n";

fn clock() -> Arc<dyn Clock> {
    #[expect(clippy::disallowed_methods, reason = "a ManualClock needs an instant to start from")]
    let now = Instant::now();
    Arc::new(ManualClock::new(now, UnixMs(1_795_464_000_000)))
}

fn shared() -> Arc<Shared> {
    Shared::new(&Config::try_from(RawConfig::default()).unwrap(), clock())
}

fn add(shared: &Shared, recipients: &[&str], content: &str) {
    let delivery = Delivery {
        mail_from: "bounce@example.org".to_owned(),
        recipients: recipients.iter().map(|r| (*r).to_owned()).collect(),
        content: Bytes::copy_from_slice(content.as_bytes()),
    };
    let summary = Summary::read(content.as_bytes());
    shared.mailbox().add(shared.clock.wall(), delivery, summary);
}

/// A mailbox with a plain message and, newer, [`RICH`].
fn filled() -> Arc<Shared> {
    let shared = shared();
    add(&shared, &["bob@example.net"], "From: x@example.org\r\nSubject: plain\r\n\r\nHello\r\n");
    add(&shared, &["bob@example.net", "audit@example.com"], RICH);
    shared
}

async fn send(shared: &Arc<Shared>, method: &str, path: &str, body: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
    let request = Request::builder().method(method).uri(path).header("host", "localhost:8025");
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let (head, body) = http::router(shared.clone()).oneshot(request).await.unwrap().into_parts();
    (head.status, head.headers, to_bytes(body, usize::MAX).await.unwrap().to_vec())
}

async fn get_json(shared: &Arc<Shared>, path: &str) -> Value {
    let (status, _, body) = send(shared, "GET", path, "").await;
    assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

async fn total(shared: &Arc<Shared>) -> u64 {
    get_json(shared, "/api/v1/messages").await["total"].as_u64().unwrap()
}

#[tokio::test]
async fn the_list_is_mailpits() {
    let list = get_json(&filled(), "/api/v1/messages?limit=1").await;
    let id = list["messages"][0]["ID"].clone();
    let expect = json!({
        "total": 2, "unread": 2, "count": 1, "messages_count": 2, "messages_unread": 2, "start": 0, "tags": [],
        "messages": [{
            "ID": id, "MessageID": "m1@example.org", "Read": false,
            "From": {"Name": "Ann", "Address": "ann@example.org"},
            "To": [{"Name": "Bob", "Address": "bob@example.net"}],
            "Cc": [], "Bcc": [{"Name": "", "Address": "audit@example.com"}],
            "ReplyTo": [{"Name": "", "Address": "help@example.org"}],
            "Subject": "Order 42", "Created": "2026-11-23T20:00:00.000Z", "Username": "", "Tags": [],
            "Size": RICH.len(), "Attachments": 1, "Snippet": "Thank you, Bob.",
        }],
    });
    assert_eq!(list, expect);
}

#[tokio::test]
async fn the_list_has_pages() {
    let shared = filled();
    for (query, subjects) in [
        ("", vec!["Order 42", "plain"]),
        ("?start=1", vec!["plain"]),
        ("?start=2", vec![]),
        ("?limit=0", vec!["Order 42", "plain"]),
        ("?limit=x&start=-1", vec!["Order 42", "plain"]),
    ] {
        let list = get_json(&shared, &format!("/api/v1/messages{query}")).await;
        let got: Vec<_> = list["messages"].as_array().unwrap().iter().map(|m| m["Subject"].as_str().unwrap()).collect();
        assert_eq!(got, subjects, "{query}");
    }
}

#[tokio::test]
async fn a_message_is_mailpits_and_read_once_opened() {
    let shared = filled();
    let whole = get_json(&shared, "/api/v1/message/latest").await;
    assert_eq!(whole["Text"].as_str().unwrap().trim_end(), "Thank you, Bob.");
    assert!(whole["HTML"].as_str().unwrap().starts_with("<script>"));
    assert_eq!(whole["Date"], "2026-11-23T19:59:00Z");
    assert_eq!(whole["ReturnPath"], "bounce@example.org");
    assert_eq!(whole["ListUnsubscribe"]["Links"], json!(["mailto:u@example.org", "https://example.org/u"]));
    assert_eq!(
        whole["Inline"],
        json!([{"PartID": "2", "FileName": "logo", "ContentType": "image/svg+xml", "ContentID": "logo", "Size": 6}])
    );
    assert_eq!(whole["Attachments"][0]["FileName"], "a\"b.html");
    assert_eq!(get_json(&shared, "/api/v1/messages").await["unread"], 1);
}

#[tokio::test]
async fn the_source_is_what_was_received() {
    let shared = filled();
    let (_, headers, body) = send(&shared, "GET", "/api/v1/message/latest/raw", "").await;
    assert_eq!(body, RICH.as_bytes());
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    let (_, headers, body) = send(&shared, "GET", "/api/v1/message/latest/raw?dl=1", "").await;
    assert_eq!(body, RICH.as_bytes());
    assert!(headers["content-disposition"].to_str().unwrap().ends_with(".eml\""));
    let fields = get_json(&shared, "/api/v1/message/latest/headers").await;
    assert_eq!(fields["Message-Id"], json!(["<m1@example.org>"]));
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let empty = shared();
    for path in ["/api/v1/message/latest", "/api/v1/message/x", "/api/v1/message/x/raw", "/view/x.html", "/nothing"] {
        assert_eq!(send(&empty, "GET", path, "").await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let filled = filled();
    for path in ["/api/v1/message/latest/part/9", "/api/v1/message/latest?query=nobody"] {
        assert_eq!(send(&filled, "GET", path, "").await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn search_finds_deletes_and_wants_a_query() {
    let shared = filled();
    let found = get_json(&shared, "/api/v1/search?query=to:bob%20subject:42").await;
    assert_eq!((&found["total"], &found["messages_count"]), (&json!(2), &json!(1)));
    assert_eq!(found["messages"][0]["Subject"], "Order 42");
    let latest = get_json(&shared, "/api/v1/message/latest?query=subject:plain").await;
    assert_eq!(latest["Subject"], "plain");
    assert_eq!(send(&shared, "GET", "/api/v1/search", "").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(send(&shared, "DELETE", "/api/v1/search?query=%20", "").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(send(&shared, "DELETE", "/api/v1/search?query=plain", "").await.0, StatusCode::OK);
    assert_eq!(total(&shared).await, 1);
}

#[tokio::test]
async fn messages_are_deleted_by_id_or_all() {
    for body in ["", "{}", "{\"IDs\": []}"] {
        let shared = filled();
        assert_eq!(send(&shared, "DELETE", "/api/v1/messages", body).await.0, StatusCode::OK);
        assert_eq!(total(&shared).await, 0, "{body}");
    }
    let shared = filled();
    let id = get_json(&shared, "/api/v1/message/latest").await["ID"].clone();
    let body = json!({ "IDs": [id] }).to_string();
    assert_eq!(send(&shared, "DELETE", "/api/v1/messages", "not json").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(send(&shared, "DELETE", "/api/v1/messages", &body).await.0, StatusCode::OK);
    assert_eq!(get_json(&shared, "/api/v1/message/latest").await["Subject"], "plain");
}

#[tokio::test]
async fn messages_are_marked_read_and_unread() {
    let shared = filled();
    for (body, unread) in [
        (json!({"Read": true}), 0),
        (json!({"Read": false, "Search": "subject:plain"}), 1),
        (json!({"Read": true, "IDs": ["unknown"]}), 1),
        (json!({}), 2),
    ] {
        assert_eq!(send(&shared, "PUT", "/api/v1/messages", &body.to_string()).await.0, StatusCode::OK);
        assert_eq!(get_json(&shared, "/api/v1/messages").await["unread"], unread, "{body}");
    }
}

#[tokio::test]
async fn info_counts() {
    let info = get_json(&filled(), "/api/v1/info").await;
    assert_eq!((&info["Messages"], &info["Unread"]), (&json!(2), &json!(2)));
    assert_eq!(info["RuntimeStats"]["SMTPAccepted"], 2);
    assert!(info["Version"].as_str().unwrap().starts_with("sluice-"));
}

#[tokio::test]
async fn a_messages_html_can_do_nothing() {
    let shared = filled();
    let (_, headers, body) = send(&shared, "GET", "/view/latest.html", "").await;
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("sandbox ") && policy.contains("default-src 'none'"), "{policy}");
    assert!(!policy.contains("allow-scripts") && !policy.contains("allow-same-origin"), "{policy}");
    let body = String::from_utf8(body).unwrap();
    let id = get_json(&shared, "/api/v1/message/latest").await["ID"].as_str().unwrap().to_owned();
    assert!(body.contains(&format!("<img src=\"/api/v1/message/{id}/part/2\">")), "{body}");
    let (_, _, embedded) = send(&shared, "GET", "/view/latest.html?embed=1", "").await;
    assert!(embedded.ends_with(b"<base target=\"_blank\">"));
    let (_, headers, text) = send(&shared, "GET", "/view/latest.txt", "").await;
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    assert!(text.starts_with(b"Thank you, Bob."));
}

#[tokio::test]
async fn parts_are_shown_only_when_they_are_pictures() {
    let shared = filled();
    let (_, picture, body) = send(&shared, "GET", "/api/v1/message/latest/part/2", "").await;
    assert_eq!((picture["content-type"].to_str().unwrap(), body.as_slice()), ("image/svg+xml", &b"<svg/>"[..]));
    let (_, html, _) = send(&shared, "GET", "/api/v1/message/latest/part/3", "").await;
    assert_eq!(html["content-type"], "application/octet-stream");
    assert_eq!(html["content-disposition"], "attachment; filename*=utf-8''a%22b.html");
    for headers in [picture, html] {
        assert!(headers["content-security-policy"].to_str().unwrap().starts_with("sandbox;"));
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test]
async fn the_page_loads_only_its_own_files() {
    let shared = shared();
    for path in ["/", "/view/anything"] {
        let (status, headers, body) = send(&shared, "GET", path, "").await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert_eq!(status, StatusCode::OK);
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"));
        let page = String::from_utf8(body).unwrap();
        assert!(!page.contains("src=\"http") && !page.contains("href=\"http"));
        for file in ["/page.js", "/page.css"] {
            assert!(page.contains(file));
            assert_eq!(send(&shared, "GET", file, "").await.0, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn foreign_host_names_are_refused() {
    let shared = filled();
    for (host, status) in [
        (Some("localhost:8025"), StatusCode::OK),
        (Some("127.0.0.1"), StatusCode::OK),
        (Some("evil.example:8025"), StatusCode::MISDIRECTED_REQUEST),
        (None, StatusCode::MISDIRECTED_REQUEST),
    ] {
        for path in ["/api/v1/messages", "/", "/view/latest.html"] {
            let mut request = Request::get(path);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let response = http::router(shared.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), status, "{host:?} {path}");
        }
    }
}

/// Says each line and reads its reply; gives the replies' codes.
async fn talk(address: SocketAddr, lines: &[&str]) -> Vec<String> {
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let mut codes = Vec::new();
    for line in std::iter::once(&"").chain(lines) {
        stream.write_all(line.as_bytes()).await.unwrap();
        loop {
            let mut reply = String::new();
            tokio::time::timeout(Duration::from_secs(10), stream.read_line(&mut reply)).await.unwrap().unwrap();
            if reply.as_bytes().get(3) != Some(&b'-') {
                codes.push(reply.get(..3).unwrap_or_default().to_owned());
                break;
            }
        }
    }
    codes
}

async fn over_tcp(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn what_smtp_takes_http_shows() {
    let raw = RawConfig { address: SocketAddr::from(([127, 0, 0, 1], 0)), ..RawConfig::default() };
    let (stop, shutdown) = watch::channel(false);
    let sandbox = start(&Config::try_from(raw).unwrap(), clock(), shutdown).await.unwrap();
    let codes = talk(
        sandbox.smtp,
        &[
            "EHLO client.example\r\n",
            "MAIL FROM:<> BODY=8BITMIME\r\n",
            "RCPT TO:<bob@example.net>\r\n",
            "RCPT TO:<eve@example.net>\r\n",
            "DATA\r\n",
            "Subject: ü\r\n\r\n..dot\r\n.\r\n",
            "QUIT\r\n",
        ],
    )
    .await;
    assert_eq!(codes, ["220", "250", "250", "250", "250", "354", "250", "221"]);
    assert!(over_tcp(sandbox.http, "/api/v1/message/latest/raw").await.ends_with("\r\n\r\nSubject: ü\r\n\r\n.dot\r\n"));
    let whole = over_tcp(sandbox.http, "/api/v1/message/latest").await;
    let whole: HashMap<String, Value> = serde_json::from_str(whole.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(whole["ReturnPath"], "");
    assert_eq!(whole["Bcc"].as_array().unwrap().len(), 2);
    stop.send(true).unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = holder.local_addr().unwrap();
    let config = Config::try_from(RawConfig { address, ..RawConfig::default() }).unwrap();
    let (_stop, shutdown) = watch::channel(false);
    let error = start(&config, clock(), shutdown).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("sandbox.address"), "{error}");
}
