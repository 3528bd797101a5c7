//! Sessions over real sockets: TLS, time, and ends.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use sluice_mail::{Clock, EnhancedCode, Reply, UnixMs};
use sluice_smtp::server::{
    Answer, AuthAnswer, AuthPolicy, CloseReason, Login, MailCommand, RcptCommand, Session, SessionConfig, Submission,
    TlsState,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::ServerTls;

const PATIENCE: Duration = Duration::from_secs(20);

struct RealClock;

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "these tests run in real time")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> UnixMs {
        UnixMs(0)
    }
}

/// Takes everything and notes it, the counts of octets apart.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<usize>>>);

impl Notes {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Host for Notes {
    fn mail(&mut self, _now: Instant, _command: &MailCommand) -> Answer {
        Answer::Accept
    }

    fn recipient(&mut self, _now: Instant, _command: &RcptCommand) -> Answer {
        Answer::Accept
    }

    async fn authenticate(&mut self, login: Login) -> AuthAnswer {
        self.note(format!("login {}", login.login));
        AuthAnswer::Accepted
    }

    async fn message(&mut self, submission: Box<Submission>) -> Answer {
        self.note(format!("message of {} octets with {}", submission.content.body.len(), submission.protocol));
        Answer::Reply(Reply::new(250, EnhancedCode(2, 0, 0), "kept"))
    }

    fn holding(&mut self, octets: usize) -> Result<(), Reply> {
        self.1.lock().unwrap().push(octets);
        Ok(())
    }

    fn content_refused(&mut self, reply: &Reply) {
        self.note(format!("refused {reply}"));
    }

    fn secured(&mut self, info: TlsInfo) {
        self.note(format!("secured {}", info.version));
    }
}

fn write_certificate(dir: &Path) -> ServerTls {
    let made = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    ServerTls::load(&dir.join("cert.pem"), &dir.join("key.pem")).unwrap()
}

fn connector(dir: &Path, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// One session, served to its end.
struct Served {
    client: TcpStream,
    notes: Notes,
    stop: watch::Sender<bool>,
    end: JoinHandle<Result<End, ArriveError>>,
}

async fn serve_one(tls: TlsUse, change: impl FnOnce(&mut SessionConfig)) -> Served {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, address) = accept(&listener).await;
    let mut config = SessionConfig::new("mx.example.org");
    config.authenticated = true;
    config.auth = AuthPolicy::UnderTls;
    config.tls = match &tls {
        TlsUse::None => TlsState::Unavailable,
        TlsUse::StartTls(_) => TlsState::Offered,
        TlsUse::Implicit(_) => TlsState::Active,
    };
    change(&mut config);
    let (stop, stopped) = watch::channel(false);
    let timeout = config.limits.command_timeout;
    let entrance = Arc::new(Entrance { proxy_protocol_from: Vec::new(), tls, timeout });
    let around = Surroundings { entrance, clock: Arc::new(RealClock), stop: stopped };
    let notes = Notes::default();
    let mut host = notes.clone();
    let end = tokio::spawn(async move {
        let (stream, peer) = around.entrance.identify(socket, address).await?;
        let arrival = around.entrance.secure(stream, peer).await?;
        let session = Session::new(Arc::new(config), around.clock.now());
        Ok(serve(arrival.stream, session, &mut host, &around).await)
    });
    Served { client, notes, stop, end }
}

impl Served {
    async fn end(self) -> (End, Vec<String>) {
        let end = tokio::time::timeout(PATIENCE, self.end).await.unwrap().unwrap().unwrap();
        let notes = self.notes.0.lock().unwrap().clone();
        (end, notes)
    }
}

/// Sends `send`, then reads until a reply line begins with `expect`; gives everything read.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, send: &str, expect: &str) -> String {
    stream.write_all(send.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    let reading = async {
        loop {
            let text = String::from_utf8_lossy(&got).into_owned();
            if text.lines().any(|line| line.starts_with(expect)) && text.ends_with("\r\n") {
                return text;
            }
            let mut piece = [0; 4096];
            let n = stream.read(&mut piece).await.unwrap();
            assert!(n > 0, "closed after {text:?} where {expect:?} was expected");
            got.extend_from_slice(&piece[..n]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("no {expect:?}"))
}

#[tokio::test]
async fn starttls_begins_anew_and_forgets_what_came_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let tls = Arc::new(write_certificate(dir.path()));
    for (versions, word) in
        [(&[&rustls::version::TLS13], "secured TLS1.3"), (&[&rustls::version::TLS12], "secured TLS1.2")]
    {
        let mut served = serve_one(TlsUse::StartTls(tls.clone()), |_| ()).await;
        let offered = exchange(&mut served.client, "EHLO a\r\n", "250 ").await;
        assert!(offered.contains("STARTTLS") && !offered.contains("AUTH"), "{offered}");
        exchange(&mut served.client, "STARTTLS\r\nMAIL FROM:<injected@example.org>\r\n", "220 2").await;
        let name = ServerName::try_from("mx.example.org").unwrap();
        let mut client = connector(dir.path(), versions).connect(name, &mut served.client).await.unwrap();
        // MAIL needs EHLO again, and nothing of what was injected has been heard.
        exchange(&mut client, "RCPT TO:<b@example.net>\r\n", "503 5.5.1").await;
        let offered = exchange(&mut client, "EHLO a\r\n", "250 ").await;
        assert!(!offered.contains("STARTTLS") && offered.contains("AUTH PLAIN LOGIN"), "{offered}");
        exchange(&mut client, "AUTH PLAIN AGEAYg==\r\n", "235 2.7.0").await;
        exchange(&mut client, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n", "354").await;
        let large = "line of text\r\n".repeat(20_000);
        exchange(&mut client, &format!("{large}.\r\n"), "250 2.0.0").await;
        exchange(&mut client, "QUIT\r\n", "221").await;
        drop(client);
        let (end, notes) = served.end().await;
        assert!(matches!(end, End::Closed(CloseReason::Quit)), "{end:?}");
        assert_eq!(notes, [word, "login a", "message of 280000 octets with ESMTPSA"]);
    }
}

#[tokio::test]
async fn content_stays_counted_until_the_host_has_it() {
    let mut served = serve_one(TlsUse::None, |_| ()).await;
    exchange(&mut served.client, "EHLO a\r\n", "250 ").await;
    let half = format!("{}\r\n", "x".repeat(98)).repeat(10);
    for _ in 0..2 {
        exchange(&mut served.client, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n", "354").await;
        served.client.write_all(half.as_bytes()).await.unwrap();
        let counts = Arc::clone(&served.notes.1);
        // Also for the second message, although that is of the same size.
        let counted = async {
            while counts.lock().unwrap().pop_if(|octets| *octets == 1_000).is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.unwrap();
        exchange(&mut served.client, &format!("{half}.\r\n"), "250 2.0.0").await;
        assert!(!counts.lock().unwrap().contains(&0), "given up before the host had it");
    }
    exchange(&mut served.client, "QUIT\r\n", "221").await;
    let (_, notes) = served.end().await;
    assert_eq!(notes, ["message of 2000 octets with ESMTP"; 2]);
}

#[tokio::test]
async fn implicit_tls_greets_under_tls() {
    let dir = tempfile::tempdir().unwrap();
    let tls = Arc::new(write_certificate(dir.path()));
    let mut served = serve_one(TlsUse::Implicit(tls), |_| ()).await;
    let name = ServerName::try_from("mx.example.org").unwrap();
    let mut client = connector(dir.path(), rustls::DEFAULT_VERSIONS).connect(name, &mut served.client).await.unwrap();
    exchange(&mut client, "", "220 mx.example.org").await;
    exchange(&mut client, "STARTTLS\r\n", "503").await;
    exchange(&mut client, "QUIT\r\n", "221").await;
    assert_eq!(client.read(&mut [0; 10]).await.unwrap(), 0, "closed with a close_notify");
}

#[tokio::test]
async fn a_handshake_that_fails_or_takes_too_long_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let tls = Arc::new(write_certificate(dir.path()));
    let mut served = serve_one(TlsUse::StartTls(tls.clone()), |_| ()).await;
    exchange(&mut served.client, "EHLO a\r\n", "250 ").await;
    exchange(&mut served.client, "STARTTLS\r\n", "220 2").await;
    served.client.write_all(b"EHLO in the clear\r\n").await.unwrap();
    assert!(matches!(served.end().await.0, End::Tls(HandshakeError::Failed(_))));

    let short = |config: &mut SessionConfig| config.limits.command_timeout = Duration::from_millis(100);
    let served = serve_one(TlsUse::Implicit(tls), short).await;
    let end = tokio::time::timeout(PATIENCE, served.end).await.unwrap().unwrap();
    assert!(matches!(end, Err(ArriveError::Handshake(HandshakeError::Timeout))), "{end:?}");
}

#[tokio::test]
async fn a_silent_client_is_told_and_left() {
    let mut served = serve_one(TlsUse::None, |config| config.limits.command_timeout = Duration::from_millis(100)).await;
    exchange(&mut served.client, "", "421 4.4.2").await;
    assert_eq!(served.client.read(&mut [0; 10]).await.unwrap(), 0);
    assert!(matches!(served.end().await.0, End::Closed(CloseReason::Timeout)));
}

#[tokio::test]
async fn a_client_that_talks_keeps_its_session_beyond_one_timeout() {
    let mut served = serve_one(TlsUse::None, |config| config.limits.command_timeout = Duration::from_millis(400)).await;
    exchange(&mut served.client, "", "220 ").await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        exchange(&mut served.client, "NOOP\r\n", "250 ").await;
    }
    exchange(&mut served.client, "", "421 4.4.2").await;
}

#[tokio::test]
async fn last_words_arrive_although_the_client_goes_on_sending() {
    let mut served = serve_one(TlsUse::None, |config| config.limits.max_bad_commands = 1).await;
    let flood = "NONSENSE\r\n".repeat(10_000);
    let got = exchange(&mut served.client, &flood, "421 4.7.0").await;
    assert!(got.ends_with("closing the connection\r\n"), "{got}");
    assert!(matches!(served.end().await.0, End::Closed(CloseReason::BadCommands)));
}

#[tokio::test]
async fn ends_are_told_apart() {
    let mut served = serve_one(TlsUse::None, |_| ()).await;
    exchange(&mut served.client, "", "220 ").await;
    served.stop.send_replace(true);
    exchange(&mut served.client, "", "421 4.3.2").await;
    assert!(matches!(served.end().await.0, End::Closed(CloseReason::Shutdown)));

    let mut served = serve_one(TlsUse::None, |_| ()).await;
    exchange(&mut served.client, "EHLO a\r\n", "250 ").await;
    served.client.shutdown().await.unwrap();
    assert!(matches!(served.end().await.0, End::Disconnected));
}

#[tokio::test]
async fn octets_after_a_proxy_header_are_the_clients_first() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 25\r\nEHLO early\r\n").await.unwrap();
    let (socket, address) = accept(&listener).await;
    let entrance =
        Entrance { proxy_protocol_from: vec!["127.0.0.0/8".parse().unwrap()], tls: TlsUse::None, timeout: PATIENCE };
    let (mut stream, peer) = entrance.identify(socket, address).await.unwrap();
    assert_eq!(peer, Peer { address: "192.0.2.7:4000".parse().unwrap(), proxy: Some(address), known: true });
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"EHLO early\r\n");
}

#[tokio::test]
async fn a_proxy_header_that_does_not_come_is_not_waited_for() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, address) = accept(&listener).await;
    let entrance = Entrance {
        proxy_protocol_from: vec!["127.0.0.0/8".parse().unwrap()],
        tls: TlsUse::None,
        timeout: Duration::from_millis(50),
    };
    assert!(matches!(entrance.identify(socket, address).await, Err(ArriveError::ProxyTimeout)));
}
