//! Accounts over the registry.

use std::sync::Arc;

use sluice_proto::control as api;
use sluice_proto::control::accounts_server::Accounts;
use sluice_registry::{Registry, Violation};
use tonic::{Request, Response, Status};

use crate::rules::{self, Mask, shown};
use crate::telemetry::{Call, Telemetry};
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

    async fn create(&self, request: api::CreateAccountRequest) -> Result<Done, Status> {
        let (rules, mut wrong) = rules::read(request.account.unwrap_or_default());
        if !wrong.is_empty() {
            wrong.extend(rules.violations());
            return Err(status::invalid(&wrong));
        }
        let created = self.registry.create_account(&request.account_id, rules, &request.password).await;
        let account = created.map_err(status::of_registry)?;
        Ok(Done { account: shown(&account), changes: rules::changes(&Default::default(), &account.rules) })
    }

    async fn update(&self, request: api::UpdateAccountRequest) -> Result<Done, Status> {
        let asked = request.account.unwrap_or_default();
        let id = account_id("account.name", &asked.name)?.to_owned();
        let mask = Mask::new(request.update_mask.map(|mask| mask.paths), &asked);
        let version = version(&asked.etag);
        let wrong: Vec<_> = [mask.as_ref().err(), version.as_ref().err()].into_iter().flatten().flatten().collect();
        if !wrong.is_empty() {
            let more = rules::read(asked).1;
            return Err(status::invalid(&wrong.into_iter().cloned().chain(more).collect::<Vec<_>>()));
        }
        let (mask, version) = (mask.unwrap_or_default(), version.unwrap_or_default());
        let (new, wrong) = rules::read(asked);
        let change = |rules: &mut sluice_registry::AccountRules| {
            mask.apply(&new, rules);
            wrong.into_iter().filter(|violation| mask.covers(violation)).collect()
        };
        let updated = self.registry.update_account(&id, version, change).await.map_err(status::of_registry)?;
        let changes = rules::changes(&updated.before.rules, &updated.after.rules);
        Ok(Done { account: shown(&updated.after), changes })
    }

    fn find(&self, name: &str) -> Result<api::Account, Status> {
        let id = account_id("name", name)?;
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
        let id = account_id("name", name)?;
        self.registry.delete_account(id).await.map_err(status::of_registry)?;
        Ok(api::DeleteAccountResponse {})
    }

    async fn replace_password(&self, request: &api::SetPasswordRequest) -> Result<api::SetPasswordResponse, Status> {
        let id = account_id("name", &request.name)?;
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
        let mut call = Call::of("CreateAccount", &request);
        let request = request.into_inner();
        call.subject.clone_from(&request.account_id);
        let answer = self.create(request).await.map(|done| done.told(&mut call));
        self.telemetry.changed(&call, answer)
    }

    async fn update_account(
        &self,
        request: Request<api::UpdateAccountRequest>,
    ) -> Result<Response<api::Account>, Status> {
        let mut call = Call::of("UpdateAccount", &request);
        let request = request.into_inner();
        call.subject = request.account.as_ref().map(|account| account.name.clone()).unwrap_or_default();
        let answer = self.update(request).await.map(|done| done.told(&mut call));
        self.telemetry.changed(&call, answer)
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
        let mut call = Call::of("DeleteAccount", &request);
        call.subject = request.into_inner().name;
        self.telemetry.changed(&call, self.delete(&call.subject).await)
    }

    async fn set_password(
        &self,
        request: Request<api::SetPasswordRequest>,
    ) -> Result<Response<api::SetPasswordResponse>, Status> {
        let mut call = Call::of("SetPassword", &request);
        let request = request.into_inner();
        let answer = self.replace_password(&request).await;
        call.subject = request.name;
        self.telemetry.changed(&call, answer)
    }
}

/// An account that was written, and what that changed.
struct Done {
    account: api::Account,
    changes: String,
}

impl Done {
    fn told(self, call: &mut Call) -> api::Account {
        call.changes = Some(self.changes);
        self.account
    }
}

/// The id in `accounts/{id}`.
fn account_id<'a>(field: &str, name: &'a str) -> Result<&'a str, Status> {
    name.strip_prefix("accounts/").filter(|id| !id.is_empty()).ok_or_else(|| {
        status::invalid(&[Violation::new(field, format!("expected accounts/{{account}}, got {name:?}"))])
    })
}

/// The version that an etag stands for; none when it is empty.
fn version(etag: &str) -> Result<Option<u64>, Vec<Violation>> {
    let wrong = |_| vec![Violation::new("account.etag", format!("{etag:?} is not one that this server has given"))];
    if etag.is_empty() { Ok(None) } else { etag.parse().map(Some).map_err(wrong) }
}
