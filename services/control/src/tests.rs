use std::path::Path;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use sluice_mail::{Address, BodyFlags, Clock, Envelope, Host, Lane, QueueId, Recipient, UnixMs};
use sluice_proto::control as api;
use sluice_proto::control::accounts_client::AccountsClient;
use sluice_proto::control::queues_client::QueuesClient;
use sluice_registry::{VerifyConfig, memory::MemoryLog};
use sluice_spool::memory::Memory;
use sluice_spool::{NewMessage, Spool};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::*;

struct Server {
    folder: tempfile::TempDir,
    spool: Arc<Memory>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<(), ServeError>>,
}

async fn server() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(sluice_daemon::SystemClock);
    let registry = Registry::open(MemoryLog::new(), VerifyConfig::default(), Arc::clone(&clock)).await.unwrap();
    let spool = Arc::new(Memory::new(clock, 1_000));
    let parts = Parts {
        registry: Arc::new(registry),
        queues: Arc::clone(&spool) as Arc<dyn QueueView>,
        metrics: prometheus::Registry::new(),
    };
    let (stop, stopped) = watch::channel(false);
    let bound = bind(&folder.path().join("control.sock")).await.unwrap();
    let task = tokio::spawn(serve(bound, parts, stopped));
    Server { folder, spool, stop, task }
}

impl Server {
    fn channel(&self) -> Channel {
        let path = self.folder.path().join("control.sock");
        Endpoint::from_static("http://sluice").connect_with_connector_lazy(tower::service_fn(move |_| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(path).await?)) }
        }))
    }

    async fn enqueue(&self, n: u16, to: &[&str]) -> QueueId {
        let message = QueueId::new(UnixMs(1_000), u64::from(n), 0);
        let body = Bytes::from_static(b"Subject: x\r\n\r\nx\r\n");
        let envelope = |(i, to): (usize, &&str)| {
            let to = Address::parse(to).unwrap();
            let domain = to.host().clone();
            let queue_id = message.envelope(u16::try_from(i).unwrap());
            envelope(queue_id, domain, to)
        };
        let envelopes = to.iter().enumerate().map(envelope).collect();
        self.spool.enqueue(NewMessage { envelopes, body }).await.unwrap();
        message
    }

    async fn end(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn envelope(queue_id: QueueId, domain: Host, to: Address) -> Envelope {
    Envelope {
        queue_id,
        generation: 0,
        account: "demo".into(),
        campaign: None,
        tag: None,
        lane: Lane::Transactional,
        mail_from: None,
        recipients: vec![Recipient::new(to)],
        ret: None,
        envid: None,
        domain,
        pool: None,
        accepted: UnixMs(1_000),
        expires: UnixMs(u64::MAX / 2),
        not_before: UnixMs(0),
        flags: BodyFlags::default(),
        size: 17,
        body_crc: 0,
        attempts: 0,
        last_reply: None,
    }
}

fn create(id: &str, account: api::Account) -> api::CreateAccountRequest {
    api::CreateAccountRequest { account_id: id.into(), account: Some(account), password: "secret".into() }
}

fn sender(domain: &str) -> api::Account {
    let domain = api::SenderDomain { domain: domain.into(), exact: false };
    api::Account { sender_domains: vec![domain], ..api::Account::default() }
}

#[tokio::test]
async fn accounts_are_made_listed_changed_and_deleted() {
    let server = server().await;
    let mut client = AccountsClient::new(server.channel());
    for id in ["c", "a", "b"] {
        let account = client.create_account(create(id, sender("Example.ORG"))).await.unwrap().into_inner();
        assert_eq!(account.name, format!("accounts/{id}"));
        assert_eq!((account.credentials, account.etag.as_str()), (vec![id.to_owned()], "1"));
        assert_eq!(account.sender_domains[0].domain, "example.org");
    }
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = api::ListAccountsRequest { page_size: 2, page_token };
        let page = client.list_accounts(request).await.unwrap().into_inner();
        assert!(page.accounts.len() <= 2);
        listed.extend(page.accounts.into_iter().map(|a| a.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ["accounts/a", "accounts/b", "accounts/c"]);

    let set = |credential: &str| api::SetPasswordRequest {
        name: "accounts/a".into(),
        credential: credential.into(),
        password: "new".into(),
    };
    client.set_password(set("")).await.unwrap();
    assert_eq!(client.set_password(set("other")).await.unwrap_err().code(), Code::NotFound);
    let name = || api::GetAccountRequest { name: "accounts/a".into() };
    assert_eq!(client.get_account(name()).await.unwrap().into_inner().etag, "2");

    client.delete_account(api::DeleteAccountRequest { name: "accounts/a".into() }).await.unwrap();
    assert_eq!(client.get_account(name()).await.unwrap_err().code(), Code::NotFound);
    server.end().await;
}

#[tokio::test]
async fn a_refused_account_names_every_wrong_field() {
    let server = server().await;
    let mut client = AccountsClient::new(server.channel());
    let account = api::Account {
        sender_addresses: vec!["fine@example.org".into(), "broken".into()],
        lanes: vec!["fast".into()],
        ..sender("*")
    };
    let status = client.create_account(create("a", account)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    for field in ["account.sender_domains[0]: \"*\"", "account.sender_addresses[1]", "account.lanes[0]: \"fast\""] {
        assert!(status.message().contains(field), "{field} in {}", status.message());
    }
    client.create_account(create("a", sender("a.example"))).await.unwrap();
    let again = client.create_account(create("a", sender("a.example"))).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    let odd = client.get_account(api::GetAccountRequest { name: "a".into() }).await.unwrap_err();
    assert_eq!((odd.code(), odd.message()), (Code::InvalidArgument, "name: expected accounts/{account}, got \"a\""));
    server.end().await;
}

#[tokio::test]
async fn the_queue_is_counted_listed_and_shown() {
    let server = server().await;
    let first = server.enqueue(1, &["a@one.example", "b@two.example"]).await;
    let second = server.enqueue(2, &["c@one.example"]).await;
    let mut client = QueuesClient::new(server.channel());

    let summary = client.summarize_queue(api::SummarizeQueueRequest::default()).await.unwrap().into_inner();
    assert_eq!((summary.ready, summary.active, summary.waiting), (3, 0, 0));
    let domains: Vec<_> = summary.domains.iter().map(|d| (d.domain.as_str(), d.ready)).collect();
    assert_eq!(domains, [("one.example", 2), ("two.example", 1)]);

    let request = api::ListEnvelopesRequest { domain: "ONE.example".into(), page_size: 1, ..Default::default() };
    let page = client.list_envelopes(request.clone()).await.unwrap().into_inner();
    assert_eq!(page.envelopes[0].queue_id, first.to_string());
    let request = api::ListEnvelopesRequest { page_token: page.next_page_token, ..request };
    let page = client.list_envelopes(request).await.unwrap().into_inner();
    assert_eq!((page.envelopes[0].queue_id.clone(), page.next_page_token), (second.to_string(), String::new()));

    let request = api::GetEnvelopesRequest { queue_id: first.to_string().to_lowercase() };
    let shown = client.get_envelopes(request).await.unwrap().into_inner().envelopes;
    let states: Vec<_> = shown
        .iter()
        .map(|e| {
            (e.domain.as_str(), e.state.as_str(), e.recipients[0].address.as_str(), e.recipients[0].state.as_str())
        })
        .collect();
    let expect = [("one.example", "ready", "a@one.example", "open"), ("two.example", "ready", "b@two.example", "open")];
    assert_eq!(states, expect);
    server.end().await;
}

#[tokio::test]
async fn wrong_queue_requests_are_refused_with_words() {
    let server = server().await;
    let mut client = QueuesClient::new(server.channel());
    let get = |id: &str| api::GetEnvelopesRequest { queue_id: id.into() };
    let bad = client.get_envelopes(get("nonsense")).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    assert!(bad.message().starts_with("queue_id: a queue id is 26 letters and digits"), "{}", bad.message());
    let unknown = QueueId::new(UnixMs(1), 1, 0).to_string();
    assert_eq!(client.get_envelopes(get(&unknown)).await.unwrap_err().code(), Code::NotFound);
    let nothing = client.retry_now(api::RetryNowRequest::default()).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
    let all = api::RetryNowRequest { all: true, ..Default::default() };
    assert_eq!(client.retry_now(all).await.unwrap().into_inner().envelopes, 0);
    let token = api::ListEnvelopesRequest { page_token: "x".into(), ..Default::default() };
    assert_eq!(
        client.list_envelopes(token).await.unwrap_err().message(),
        "page_token: not one that this list has given"
    );
    server.end().await;
}

#[tokio::test]
async fn the_socket_goes_when_the_server_ends() {
    let server = server().await;
    let path = server.folder.path().join("control.sock");
    assert!(Path::exists(&path));
    server.stop.send(true).unwrap();
    server.task.await.unwrap().unwrap();
    assert!(!Path::exists(&path));
}
