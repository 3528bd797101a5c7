use std::net::Ipv4Addr;

use sluice_mail::{Address, BodyFlags, Cause, ManualClock, Reply, Stage, UnixMs};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::super::{ConnectError, Connector, Security};
use super::*;

mod tls;

#[expect(clippy::disallowed_methods, reason = "an instant cannot be made without the clock")]
fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(Instant::now(), UnixMs(0)))
}

/// A peer on loopback that serves one connection.
async fn peer<F>(serve: impl FnOnce(TcpStream) -> F + Send + 'static) -> (SocketAddr, JoinHandle<F::Output>)
where
    F: Future<Output: Send + 'static> + Send,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { serve(listener.accept().await.unwrap().0).await });
    (address, task)
}

async fn connect(address: SocketAddr, config: ClientConfig) -> Result<Connection, ConnectError> {
    let connector = Connector::new(clock(), Duration::from_secs(5), None).unwrap();
    connector.connect(Peer { name: "peer.example".into(), address }, None, Security::Unverified, config).await
}

fn config() -> ClientConfig {
    ClientConfig::new("sluice.example")
}

fn transaction(size: usize) -> Transaction {
    Transaction {
        mail_from: Some(Address::parse("a@sluice.example").unwrap()),
        recipients: vec![Address::parse("b@example.net").unwrap()],
        size: u32::try_from(size).unwrap(),
        flags: BodyFlags::default(),
    }
}

fn content(body: &[u8]) -> Content {
    Content { body: Bytes::copy_from_slice(body), may_finish: Box::new(|| true) }
}

/// Carries one message; what came of it.
async fn send(connection: &mut Connection, content: Content) -> Result<Reply, Failure> {
    let id = connection.begin(transaction(content.body.len())).unwrap();
    connection.release(id, content);
    loop {
        match connection.progress().await {
            Progress::Ready => {}
            Progress::Done(mut result) => return result.results.pop().unwrap(),
            Progress::Closed(failure) => panic!("{failure:?}"),
        }
    }
}

/// Reads a line and answers it, once for each pair of a line's beginning and the answer.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, script: &[(&str, &str)]) {
    for (expect, answer) in script {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert!(line.starts_with(expect), "{expect:?} was expected: {line:?}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// Reads content up to its final dot.
async fn read_content<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Vec<u8> {
    let mut body = Vec::new();
    while !body.ends_with(b"\r\n.\r\n") {
        assert_ne!(stream.read_until(b'\n', &mut body).await.unwrap(), 0, "the content ends without a dot");
    }
    body
}

const GREET: &[u8] = b"220 peer.example\r\n";
const TO_DATA: [(&str, &str); 3] = [("MAIL", "250 ok\r\n"), ("RCPT", "250 ok\r\n"), ("DATA", "354 go on\r\n")];

#[tokio::test]
async fn the_next_commands_travel_with_the_final_dot() {
    let (address, served) = peer(|mut socket| async move {
        socket.write_all(GREET).await.unwrap();
        let mut stream = BufReader::new(socket);
        converse(&mut stream, &[("EHLO", "250-peer\r\n250 PIPELINING\r\n")]).await;
        converse(&mut stream, &TO_DATA).await;
        assert_eq!(read_content(&mut stream).await, b"one\r\n.\r\n");
        // Not answered before the next commands are there.
        converse(
            &mut stream,
            &[("MAIL", "250 kept one\r\n250 ok\r\n"), ("RCPT", "250 ok\r\n"), ("DATA", "354 go\r\n")],
        )
        .await;
        assert_eq!(read_content(&mut stream).await, b"two\r\n.\r\n");
        stream.write_all(b"250 kept two\r\n").await.unwrap();
        converse(&mut stream, &[("QUIT", "221 bye\r\n")]).await;
    })
    .await;
    let mut connection = connect(address, config()).await.unwrap();
    let one = connection.begin(transaction(5)).unwrap();
    let two = connection.begin(transaction(5)).unwrap();
    assert!(!connection.can_begin());
    connection.release(one, content(b"one\r\n"));
    assert_eq!(connection.progress().await, Progress::Ready);
    assert!(connection.pipelines());
    for (id, words) in [(one, "250 kept one"), (two, "250 kept two")] {
        let Progress::Done(result) = connection.progress().await else { panic!() };
        assert_eq!((result.id, result.results[0].as_ref().unwrap().to_string().as_str()), (id, words));
        if id == one {
            connection.release(two, content(b"two\r\n"));
        }
    }
    connection.quit();
    assert_eq!(connection.progress().await, Progress::Closed(None));
    served.await.unwrap();
}

#[tokio::test]
async fn a_refusal_in_the_midst_of_a_large_content_is_heard() {
    let (address, served) = peer(|mut socket| async move {
        socket.write_all(GREET).await.unwrap();
        let mut stream = BufReader::new(socket);
        converse(&mut stream, &[("EHLO", "250 peer\r\n")]).await;
        converse(&mut stream, &TO_DATA).await;
        stream.read_exact(&mut [0; 10_000]).await.unwrap();
        stream.write_all(b"552 5.3.4 too much\r\n").await.unwrap();
        // It reads nothing more, and waits for us to hang up.
        tokio::time::timeout(Duration::from_secs(10), stream.get_ref().ready(tokio::io::Interest::ERROR)).await.ok();
    })
    .await;
    let mut connection = connect(address, config()).await.unwrap();
    let body = b"0123456789012345678901234567890123456789\r\n".repeat(500_000);
    let failure = send(&mut connection, content(&body)).await.unwrap_err();
    assert_eq!(failure.to_string(), "552 5.3.4 too much (at body)");
    drop(connection);
    served.abort();
}

#[tokio::test]
async fn a_slow_reader_gets_all_of_a_large_content() {
    let body = b"0123456789\r\n".repeat(300_000);
    let expect = body.clone();
    let (address, served) = peer(|mut socket| async move {
        socket.write_all(GREET).await.unwrap();
        let mut stream = BufReader::with_capacity(1000, socket);
        converse(&mut stream, &[("EHLO", "250-peer\r\n250 PIPELINING\r\n")]).await;
        converse(&mut stream, &TO_DATA).await;
        let body = read_content(&mut stream).await;
        stream.write_all(b"250 ok\r\n").await.unwrap();
        body
    })
    .await;
    let mut connection = connect(address, config()).await.unwrap();
    send(&mut connection, content(&body)).await.unwrap();
    assert_eq!(served.await.unwrap(), [&expect[..], b".\r\n"].concat());
}

#[tokio::test]
async fn without_the_last_consent_the_final_dot_is_not_sent() {
    for size in [1, 20_000] {
        let (address, served) = peer(|mut socket| async move {
            socket.write_all(GREET).await.unwrap();
            let mut stream = BufReader::new(socket);
            converse(&mut stream, &[("EHLO", "250 peer\r\n")]).await;
            converse(&mut stream, &TO_DATA).await;
            let mut rest = Vec::new();
            _ = stream.read_to_end(&mut rest).await;
            rest
        })
        .await;
        let mut connection = connect(address, config()).await.unwrap();
        let content = Content { may_finish: Box::new(|| false), ..content(&b"line\r\n".repeat(size)) };
        let failure = send(&mut connection, content).await.unwrap_err();
        assert_eq!(failure.stage, Stage::Body);
        drop(connection);
        assert!(!served.await.unwrap().ends_with(b"\r\n.\r\n"));
    }
}

#[tokio::test]
async fn what_is_late_is_not_waited_for() {
    let (address, served) = peer(|socket| async move {
        let (mut read, _write) = socket.into_split();
        _ = read.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut config = config();
    config.timeouts.greeting = Duration::from_millis(20);
    let mut connection = connect(address, config).await.unwrap();
    let failure = send(&mut connection, content(b"")).await.unwrap_err();
    assert_eq!(failure, Failure::new(Stage::Greeting, Cause::Timeout));
    drop(connection);
    served.await.unwrap();
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let ConnectError::Peer(failure) = connect(address, config()).await.unwrap_err() else { panic!() };
    assert!(failure.to_string().contains("refused"), "{failure}");
    assert_eq!(failure.stage, Stage::Connect);
}

#[tokio::test]
async fn a_connection_comes_from_the_address_it_is_to_come_from() {
    let (address, served) = peer(|socket| async move { socket.peer_addr().unwrap().ip() }).await;
    let connector = Connector::new(clock(), Duration::from_secs(5), None).unwrap();
    let connect = |source: &str| {
        let peer = Peer { name: "peer.example".into(), address };
        connector.connect(peer, Some(source.parse().unwrap()), Security::Unverified, config())
    };
    let ConnectError::Source(failure) = connect("192.0.2.1").await.unwrap_err() else { panic!() };
    assert!(failure.to_string().starts_with("cannot connect from 192.0.2.1: "), "{failure}");
    let connection = connect("127.0.0.9").await.unwrap();
    assert_eq!(connection.local().unwrap().ip(), served.await.unwrap());
    assert_eq!(connection.local().unwrap().ip().to_string(), "127.0.0.9");
}
