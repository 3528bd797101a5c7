//! Accounts over the registry.

use std::num::NonZeroU32;
use std::sync::Arc;

use sluice_mail::{Address, Domain, Lane};
use sluice_proto::control as api;
use sluice_proto::control::accounts_server::Accounts;
use sluice_registry::{Account, AccountRules, Registry, SenderDomain, Violation};
use tonic::{Request, Response, Status};

use crate::telemetry::Telemetry;
use crate::{page, status};

/// `sluice.control.v1.Accounts`.
pub(crate) struct AccountsService {
    registry: Arc<Registry>,
    telemetry: Telemetry,
}

impl AccountsService {
    pub(crate) fn new(registry: Arc<Registry>, telemetry: Telemetry) -> Self {
        Self { registry, telemetry }
    }

    async fn create(&self, request: api::CreateAccountRequest) -> Result<api::Account, Status> {
        let rules = rules(request.account.unwrap_or_default()).map_err(|v| status::invalid(&v))?;
        let created = self.registry.create_account(&request.account_id, rules, &request.password).await;
        created.map(|account| shown(&account)).map_err(status::of_registry)
    }

    fn find(&self, name: &str) -> Result<api::Account, Status> {
        let id = account_id(name)?;
        let account = self.registry.account(id);
        account.map(|a| shown(&a)).ok_or_else(|| Status::not_found(format!("there is no account {id}")))
    }

    fn list(&self, request: &api::ListAccountsRequest) -> Result<api::ListAccountsResponse, Status> {
        let max = page::size(request.page_size).map_err(|v| status::invalid(&[v]))?;
        let view = self.registry.view();
        let mut found: Vec<_> = view.accounts_after(&request.page_token).take(max + 1).collect();
        let next_page_token = page::next_token(&mut found, max, |account| account.id.to_string());
        Ok(api::ListAccountsResponse { accounts: found.into_iter().map(|a| shown(a)).collect(), next_page_token })
    }

    async fn delete(&self, name: &str) -> Result<api::DeleteAccountResponse, Status> {
        let id = account_id(name)?;
        self.registry.delete_account(id).await.map_err(status::of_registry)?;
        Ok(api::DeleteAccountResponse {})
    }

    async fn replace_password(&self, request: &api::SetPasswordRequest) -> Result<api::SetPasswordResponse, Status> {
        let id = account_id(&request.name)?;
        let login = if request.credential.is_empty() { id } else { &request.credential };
        self.registry.set_password(id, login, &request.password).await.map_err(status::of_registry)?;
        Ok(api::SetPasswordResponse {})
    }
}

#[tonic::async_trait]
impl Accounts for AccountsService {
    async fn create_account(
        &self,
        request: Request<api::CreateAccountRequest>,
    ) -> Result<Response<api::Account>, Status> {
        let request = request.into_inner();
        let subject = request.account_id.clone();
        self.telemetry.changed("CreateAccount", &subject, self.create(request).await)
    }

    async fn get_account(&self, request: Request<api::GetAccountRequest>) -> Result<Response<api::Account>, Status> {
        self.telemetry.looked("GetAccount", self.find(&request.get_ref().name))
    }

    async fn list_accounts(
        &self,
        request: Request<api::ListAccountsRequest>,
    ) -> Result<Response<api::ListAccountsResponse>, Status> {
        self.telemetry.looked("ListAccounts", self.list(request.get_ref()))
    }

    async fn delete_account(
        &self,
        request: Request<api::DeleteAccountRequest>,
    ) -> Result<Response<api::DeleteAccountResponse>, Status> {
        let name = request.into_inner().name;
        self.telemetry.changed("DeleteAccount", &name, self.delete(&name).await)
    }

    async fn set_password(
        &self,
        request: Request<api::SetPasswordRequest>,
    ) -> Result<Response<api::SetPasswordResponse>, Status> {
        let request = request.into_inner();
        let answer = self.replace_password(&request).await;
        self.telemetry.changed("SetPassword", &request.name, answer)
    }
}

/// The id in `accounts/{id}`.
fn account_id(name: &str) -> Result<&str, Status> {
    name.strip_prefix("accounts/").filter(|id| !id.is_empty()).ok_or_else(|| {
        status::invalid(&[Violation::new("name", format!("expected accounts/{{account}}, got {name:?}"))])
    })
}

/// The rules in a request; every field that is wrong is named.
fn rules(account: api::Account) -> Result<AccountRules, Vec<Violation>> {
    let mut wrong = Vec::new();
    let domain = |s: api::SenderDomain| Domain::parse(&s.domain).map(|domain| SenderDomain { domain, exact: s.exact });
    let lane = |lane: String| Lane::parse(&lane).ok_or_else(|| format!("{lane:?} is neither transactional nor bulk"));
    let domains = account.sender_domains.into_iter().map(|s| (s.domain.clone(), domain(s)));
    let domains = domains.map(|(text, parsed)| parsed.map_err(|e| format!("{text:?}: {e}")));
    let addresses = account.sender_addresses.iter().map(|a| Address::parse(a).map_err(|e| format!("{a:?}: {e}")));
    let rules = AccountRules {
        sender_domains: each("account.sender_domains", domains, &mut wrong),
        sender_addresses: each("account.sender_addresses", addresses, &mut wrong),
        lanes: each("account.lanes", account.lanes.into_iter().map(lane), &mut wrong),
        pools: account.pools.into_iter().map(Arc::from).collect(),
        max_messages_per_minute: NonZeroU32::new(account.max_messages_per_minute),
        max_recipients_per_minute: NonZeroU32::new(account.max_recipients_per_minute),
        max_sessions: NonZeroU32::new(account.max_sessions),
        allow_long_lines: account.allow_long_lines,
        show_client_address: account.show_client_address,
    };
    if wrong.is_empty() { Ok(rules) } else { Err(wrong) }
}

/// The values that could be read; for each other one a violation of `field[i]`.
fn each<T>(field: &str, values: impl Iterator<Item = Result<T, String>>, wrong: &mut Vec<Violation>) -> Vec<T> {
    let mut good = Vec::new();
    for (i, value) in values.enumerate() {
        match value {
            Ok(value) => good.push(value),
            Err(problem) => wrong.push(Violation::new(format!("{field}[{i}]"), problem)),
        }
    }
    good
}

/// An account as operators see it, without secrets.
fn shown(account: &Account) -> api::Account {
    let rules = &account.rules;
    let number = |n: Option<NonZeroU32>| n.map_or(0, NonZeroU32::get);
    let domain = |s: &SenderDomain| api::SenderDomain { domain: s.domain.to_string(), exact: s.exact };
    api::Account {
        name: format!("accounts/{}", account.id),
        credentials: account.credentials.iter().map(|c| c.login.to_string()).collect(),
        sender_domains: rules.sender_domains.iter().map(domain).collect(),
        sender_addresses: rules.sender_addresses.iter().map(Address::to_string).collect(),
        lanes: rules.lanes.iter().map(Lane::to_string).collect(),
        pools: rules.pools.iter().map(|pool| pool.to_string()).collect(),
        max_messages_per_minute: number(rules.max_messages_per_minute),
        max_recipients_per_minute: number(rules.max_recipients_per_minute),
        max_sessions: number(rules.max_sessions),
        allow_long_lines: rules.allow_long_lines,
        show_client_address: rules.show_client_address,
        etag: account.version.to_string(),
    }
}
