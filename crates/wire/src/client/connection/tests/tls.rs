//! TLS with a real server: what is believed, what is remembered.

use std::path::PathBuf;
use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use sluice_smtp::client::TlsMode;
use tokio_rustls::TlsAcceptor;

use super::*;

/// An authority, with its file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file, _dir: dir }
    }

    /// A server of that name with this authority's certificate.
    fn server(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
        self.server_of(name, change, rustls::DEFAULT_VERSIONS)
    }

    fn server_of(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }

    fn connector(&self) -> Connector {
        Connector::new(clock(), Duration::from_secs(5), Some(&self.file)).unwrap()
    }
}

/// Serves any number of connections with STARTTLS, one message each, and notes their handshakes.
async fn starttls(config: Arc<ServerConfig>) -> (SocketAddr, Arc<Mutex<Vec<HandshakeKind>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let kinds = Arc::<Mutex<Vec<_>>>::default();
    let noted = kinds.clone();
    tokio::spawn(async move {
        loop {
            let mut socket = listener.accept().await.unwrap().0;
            socket.write_all(GREET).await.unwrap();
            let mut stream = BufReader::new(socket);
            converse(&mut stream, &[("EHLO", "250-peer\r\n250 STARTTLS\r\n"), ("STARTTLS", "220 go on\r\n")]).await;
            let Ok(tls) = TlsAcceptor::from(config.clone()).accept(stream.into_inner()).await else { continue };
            noted.lock().unwrap().push(tls.get_ref().1.handshake_kind().unwrap());
            serve_one(BufReader::new(tls)).await;
        }
    });
    (address, kinds)
}

async fn serve_one<S: AsyncRead + AsyncWrite + Unpin>(mut stream: BufReader<S>) -> Vec<u8> {
    converse(&mut stream, &[("EHLO", "250-peer\r\n250 PIPELINING\r\n")]).await;
    converse(&mut stream, &TO_DATA).await;
    let body = read_content(&mut stream).await;
    stream.write_all(b"250 ok\r\n").await.unwrap();
    body
}

/// Sends a message; what was agreed, or why it could not be sent.
async fn deliver(connector: &Connector, address: SocketAddr, security: Security) -> Result<String, Failure> {
    let config = ClientConfig { tls: TlsMode::Required, ..config() };
    let peer = Peer { name: "peer.example".into(), address };
    let mut connection = connector.connect(peer, None, security, config).await.unwrap();
    let body = b"0123456789\r\n".repeat(10_000);
    send(&mut connection, content(&body)).await?;
    Ok(connection.tls().unwrap().to_string())
}

#[tokio::test]
async fn unverified_tls_takes_any_certificate_and_verified_only_a_good_one() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    type Change = fn(&mut CertificateParams);
    let servers: [(&Authority, &str, Change, Option<&str>); 5] = [
        (&ours, "peer.example", |_| {}, None),
        (&other, "peer.example", |_| {}, Some("UnknownIssuer")),
        (&ours, "other.example", |_| {}, Some("not valid for name")),
        (&ours, "peer.example", |c| c.not_after = date_time_ymd(2020, 1, 1), Some("expired")),
        (&ours, "peer.example", |c| c.not_before = date_time_ymd(3000, 1, 1), Some("not valid yet")),
    ];
    for (authority, name, change, problem) in servers {
        let (address, _) = starttls(authority.server(name, change)).await;
        let connector = ours.connector();
        let agreed = deliver(&connector, address, Security::Unverified).await.unwrap();
        assert!(agreed.starts_with("TLS1.3 AES") && !agreed.contains("verified"), "{agreed}");
        match (deliver(&connector, address, Security::Verified).await, problem) {
            (Ok(agreed), None) => assert!(agreed.ends_with(" verified"), "{agreed}"),
            (Err(failure), Some(problem)) => {
                assert!(matches!(failure.cause, Cause::Tls(_)) && failure.stage == Stage::StartTls, "{failure}");
                assert!(failure.to_string().contains(problem), "{failure}");
            }
            (came, problem) => panic!("{problem:?}: {came:?}"),
        }
    }
}

#[tokio::test]
async fn a_second_connection_resumes_the_first_ones_session_of_its_own_kind() {
    let authority = Authority::new("ours");
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let (address, kinds) = starttls(authority.server_of("peer.example", |_| {}, versions)).await;
        let connector = authority.connector();
        for security in [Security::Unverified, Security::Verified] {
            for _ in 0..3 {
                let agreed = deliver(&connector.clone(), address, security).await.unwrap();
                assert_eq!(agreed.ends_with(" verified"), security == Security::Verified);
            }
        }
        let once = [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed];
        assert_eq!(*kinds.lock().unwrap(), [once, once].concat());
    }
}

#[tokio::test]
async fn implicit_tls_comes_before_the_greeting() {
    let authority = Authority::new("ours");
    let server = authority.server("peer.example", |_| {});
    let (address, served) = peer(|socket| async move {
        let mut tls = TlsAcceptor::from(server).accept(socket).await.unwrap();
        tls.write_all(GREET).await.unwrap();
        serve_one(BufReader::new(tls)).await
    })
    .await;
    let peer = Peer { name: "peer.example".into(), address };
    let config = ClientConfig { tls: TlsMode::Implicit, ..config() };
    let mut connection = authority.connector().connect(peer, None, Security::Verified, config).await.unwrap();
    assert!(connection.tls().unwrap().ends_with(" verified"));
    send(&mut connection, content(b"hi\r\n")).await.unwrap();
    assert_eq!(served.await.unwrap(), b"hi\r\n.\r\n");
}

#[tokio::test]
async fn implicit_tls_fails_where_none_is_spoken() {
    let config = || {
        let mut config = ClientConfig { tls: TlsMode::Implicit, ..config() };
        config.timeouts.start_tls = Duration::from_millis(200);
        config
    };
    for (greeting, problem) in [(GREET, "TLS: "), (&b""[..], "took too long")] {
        let (address, served) = peer(move |mut socket| async move {
            socket.write_all(greeting).await.unwrap();
            _ = socket.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let ConnectError::Peer(failure) = connect(address, config()).await.unwrap_err() else { panic!() };
        assert!(failure.to_string().contains(problem) && failure.stage == Stage::StartTls, "{failure}");
        served.await.unwrap();
    }
}

#[test]
fn a_broken_list_of_authorities_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let load = || Connector::new(clock(), Duration::from_secs(5), Some(&file)).err().unwrap().to_string();
    assert!(load().contains("cannot read") && load().contains("ca.pem"), "{}", load());
    std::fs::write(&file, "nothing").unwrap();
    assert!(load().contains("ca.pem holds no PEM certificate"), "{}", load());
}
