use std::path::Path;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use sluice_mail::{
    Address, BodyFlags, Clock, EnhancedCode, Envelope, Host, Lane, QueueId, Recipient, Reply, Trouble, UnixMs,
};
use sluice_proto::control as api;
use sluice_proto::control::accounts_client::AccountsClient;
use sluice_proto::control::queues_client::QueuesClient;
use sluice_registry::{VerifyConfig, memory::MemoryLog};
use sluice_spool::memory::Memory;
use sluice_spool::{NewMessage, Spool};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::*;

mod dkim;

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
    let spool = Arc::new(Memory::new(Arc::clone(&clock), 1_000));
    let parts = Parts {
        registry: Arc::new(registry),
        queues: Arc::clone(&spool) as Arc<dyn QueueView>,
        clock,
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
        delay_notices: 0,
        report_on: None,
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

fn change(account: api::Account, paths: &[&str]) -> api::UpdateAccountRequest {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let account = api::Account { name: "accounts/a".into(), ..account };
    api::UpdateAccountRequest { account: Some(account), update_mask: Some(sluice_proto::FieldMask { paths }) }
}

#[tokio::test]
async fn an_update_changes_the_named_fields_only() {
    let server = server().await;
    let mut client = AccountsClient::new(server.channel());
    let made = api::Account { max_sessions: 3, bounce_after_ms: 60_000, ..sender("a.example") };
    let made = client.create_account(create("a", made)).await.unwrap().into_inner();
    assert_eq!((made.dsn.as_str(), made.max_dsns_per_hour, made.etag.as_str()), ("headers", 0, "1"));

    let wish = api::Account { dsn: "off".into(), retry_after_ms: vec![1_000, 2_000], max_sessions: 9, ..made.clone() };
    let paths = ["dsn", "retry_after_ms", "bounce_after_ms"];
    let wish = api::Account { bounce_after_ms: 0, etag: String::new(), ..wish };
    let changed = client.update_account(change(wish.clone(), &paths)).await.unwrap().into_inner();
    let expected = api::Account { max_sessions: 3, etag: "2".into(), ..wish };
    assert_eq!(changed, expected);
    let same = client.update_account(change(changed.clone(), &["*"])).await.unwrap().into_inner();
    assert_eq!(same.etag, "2", "nothing is written when nothing changes");

    let old = api::Account { etag: "1".into(), dsn: "full".into(), ..api::Account::default() };
    let stale = client.update_account(change(old, &["dsn"])).await.unwrap_err();
    assert_eq!(
        (stale.code(), stale.message()),
        (Code::Aborted, "account a was changed by another meanwhile: its version is 2, not 1")
    );
    let unmasked = api::Account { name: "accounts/a".into(), max_dsns_per_hour: 5, ..api::Account::default() };
    let request = api::UpdateAccountRequest { account: Some(unmasked), update_mask: None };
    let changed = client.update_account(request).await.unwrap().into_inner();
    assert_eq!((changed.max_dsns_per_hour, changed.dsn.as_str(), changed.max_sessions), (5, "off", 3));

    let none = api::UpdateAccountRequest {
        account: Some(api::Account { name: "accounts/none".into(), ..api::Account::default() }),
        update_mask: None,
    };
    assert_eq!(client.update_account(none).await.unwrap_err().code(), Code::NotFound);
    server.end().await;
}

#[tokio::test]
async fn a_refused_update_names_every_wrong_field_and_changes_nothing() {
    let server = server().await;
    let mut client = AccountsClient::new(server.channel());
    let before = client.create_account(create("a", sender("a.example"))).await.unwrap().into_inner();
    let wrong = api::Account {
        lanes: vec!["fast".into()],
        dsn: "some".into(),
        pools: vec!["No".into()],
        retry_after_ms: vec![5_000, 0],
        bounce_after_ms: 31 * 86_400_000,
        max_sessions: 7,
        ..sender("not a domain")
    };
    let status = client.update_account(change(wrong.clone(), &["*"])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let named: Vec<_> = sluice_proto::field_violations(status.details()).into_iter().map(|v| v.field).collect();
    let expected = [
        "account.sender_domains[0]",
        "account.lanes[0]",
        "account.dsn",
        "account.pools[0]",
        "account.retry_after_ms[1]",
        "account.bounce_after_ms",
    ];
    assert_eq!(named, expected, "{}", status.message());

    let odd = api::Account { etag: "x".into(), ..wrong.clone() };
    let status = client.update_account(change(odd, &["max_sessions", "name", "credentials"])).await.unwrap_err();
    for words in ["update_mask.paths[1]: \"name\" cannot be changed", "update_mask.paths[2]", "account.etag: \"x\""] {
        assert!(status.message().contains(words), "{words} in {}", status.message());
    }
    let get = api::GetAccountRequest { name: "accounts/a".into() };
    assert_eq!(client.get_account(get).await.unwrap().into_inner(), before);

    let fine = client.update_account(change(wrong, &["max_sessions"])).await.unwrap().into_inner();
    assert_eq!(fine.max_sessions, 7, "what is wrong in fields that are not named does not matter");
    server.end().await;
}

#[tokio::test]
async fn waiting_mail_tells_the_trouble_of_each_recipient() {
    let server = server().await;
    let report_on = QueueId::new(UnixMs(5), 5, 0);
    let reply = Reply::new(450, EnhancedCode(4, 2, 1), "busy");
    let trouble = Trouble { reply, is_peers: true, mta: Some("mx.one.example".into()), at: UnixMs(7) };
    let queue_id = QueueId::new(UnixMs(1_000), 1, 0);
    let to = Address::parse("a@one.example").unwrap();
    let mut waiting = envelope(queue_id, to.host().clone(), to);
    waiting.recipients[0].trouble = Some(trouble);
    (waiting.delay_notices, waiting.report_on) = (1, Some(report_on));
    let body = Bytes::from_static(b"Subject: x\r\n\r\nx\r\n");
    server.spool.enqueue(NewMessage { envelopes: vec![waiting], body }).await.unwrap();

    let mut client = QueuesClient::new(server.channel());
    let request = api::GetEnvelopesRequest { queue_id: queue_id.to_string() };
    let shown = client.get_envelopes(request).await.unwrap().into_inner().envelopes.remove(0);
    assert_eq!((shown.report_on, shown.delay_notices, shown.report.as_str()), (report_on.to_string(), 1, ""));
    let expected =
        api::Trouble { reply: "450 4.2.1 busy".into(), is_peers: true, mta: "mx.one.example".into(), at_ms: 7 };
    assert_eq!(shown.recipients[0].trouble, Some(expected));
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
