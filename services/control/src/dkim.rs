//! DKIM keys over the registry. What is private goes in and never comes out.

use std::sync::Arc;

use sluice_mail::{Clock, Domain, UnixMs};
use sluice_proto::control as api;
use sluice_proto::control::dkim_keys_server::DkimKeys;
use sluice_registry::{DkimKey, DkimName, DkimSource, NewDkimKey, Registry, Violation};
use sluice_sign::{Algorithm, Key, KeyError, NewKey, Owner, RSA_BITS_MIN, Selector, Validity, dns};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::telemetry::{Call, Telemetry};
use crate::{page, status};

/// Longest private key in octets.
const PEM_MAX: usize = 16 << 10;
/// Keys that are made at once; each takes a core for a second or more.
const MAKING_MAX: usize = 1;
const NAME_PREFIX: &str = "dkimKeys/";

/// `sluice.control.v1.DkimKeys`.
pub(crate) struct DkimKeysService {
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    making: Semaphore,
}

/// A request to make a key that can be tried.
struct Wish {
    domain: Domain,
    selector: Selector,
    algorithm: Option<Algorithm>,
    bits: usize,
    owner: Owner,
    validity: Validity,
}

impl DkimKeysService {
    pub(crate) fn new(registry: Arc<Registry>, clock: Arc<dyn Clock>, telemetry: Telemetry) -> Self {
        Self { registry, clock, telemetry, making: Semaphore::new(MAKING_MAX) }
    }

    async fn create(&self, request: api::CreateDkimKeyRequest) -> Result<DkimKey, Status> {
        let asked = request.dkim_key.unwrap_or_default();
        let (algorithm, length) = (asked.algorithm.clone(), asked.bits);
        let wish = read(asked, &request.private_key).map_err(|wrong| status::invalid(&wrong))?;
        let (owner, validity, pem) = (wish.owner.clone(), wish.validity, request.private_key);
        let name = DkimName { domain: wish.domain.clone(), selector: wish.selector.clone() };
        if self.registry.dkim_key(&name).is_some() {
            return Err(Status::already_exists(format!("key {name} exists already")));
        }
        let turn = self.making.acquire().await.map_err(|_| Status::internal("keys are no longer made"))?;
        let made = tokio::task::spawn_blocking(move || wish.make(pem)).await;
        drop(turn);
        let key = made.map_err(|_| Status::internal("the key could not be made"))?;
        let key = key.map_err(|(field, error)| status::invalid(&[Violation::new(field, error)]))?;
        let wrong = unlike(&key.key, &algorithm, length);
        if !wrong.is_empty() {
            return Err(status::invalid(&wrong));
        }
        self.registry.add_dkim_key(NewDkimKey { key, owner, validity }).await.map_err(status::of_registry)
    }

    fn find(&self, name: &str) -> Result<api::DkimKey, Status> {
        let name = key_name(name)?;
        let key = self.registry.dkim_key(&name).map(|key| self.shown(&key));
        key.ok_or_else(|| Status::not_found(format!("there is no key {name}")))
    }

    fn list(&self, request: &api::ListDkimKeysRequest) -> Result<api::ListDkimKeysResponse, Status> {
        let max = page::size(request.page_size).map_err(|v| status::invalid(&[v]))?;
        let after = page_token(&request.page_token)?;
        let domain = (!request.domain.is_empty()).then(|| Domain::parse(&request.domain)).transpose();
        let domain = domain.map_err(|e| status::invalid(&[Violation::new("domain", e)]))?;
        // Of two with one name the second has the place 1.
        let mut place = 0;
        let mut last = None;
        let placed = self.registry.dkim_keys().into_iter().map(|key| {
            let name = DkimName::of(&key.entry.key);
            place = if last.as_ref() == Some(&name) { place + 1 } else { 0 };
            last = Some(name.clone());
            ((name, place), key)
        });
        let fitting = placed
            .filter(|((name, _), _)| domain.as_ref().is_none_or(|domain| name.domain == *domain))
            .filter(|(place, _)| after.as_ref().is_none_or(|after| place > after));
        let mut found: Vec<_> = fitting.take(max + 1).collect();
        let next_page_token = page::next_token(&mut found, max, |((name, place), _)| format!("{place}/{name}"));
        Ok(api::ListDkimKeysResponse {
            dkim_keys: found.into_iter().map(|(_, key)| self.shown(&key)).collect(),
            next_page_token,
        })
    }

    async fn retire(&self, request: &api::RetireDkimKeyRequest) -> Result<sluice_registry::Retired, Status> {
        let name = key_name(&request.name)?;
        let at = request.at_ms.map_or_else(|| self.clock.wall(), UnixMs);
        self.registry.retire_dkim_key(&name, at).await.map_err(status::of_registry)
    }

    async fn delete(&self, request: &api::DeleteDkimKeyRequest) -> Result<DkimKey, Status> {
        let name = key_name(&request.name)?;
        self.registry.delete_dkim_key(&name, request.force).await.map_err(status::of_registry)
    }

    fn shown(&self, key: &DkimKey) -> api::DkimKey {
        let now = self.clock.wall();
        let (state, validity, created) = (key.state(now), key.entry.validity, key.source);
        let (owner, key) = (&key.entry.owner, &key.entry.key);
        api::DkimKey {
            name: format!("{NAME_PREFIX}{}", key.name()),
            domain: key.domain().to_string(),
            selector: key.selector().to_string(),
            algorithm: key.algorithm().key_type().to_owned(),
            bits: u32::try_from(key.bits()).unwrap_or(u32::MAX),
            account: account_of(owner).to_owned(),
            from_ms: validity.from.map(|at| at.0),
            until_ms: validity.until.map(|at| at.0),
            state: state.as_str().to_owned(),
            source: match created {
                DkimSource::File => "file".to_owned(),
                DkimSource::Log { .. } => "control log".to_owned(),
            },
            created_ms: match created {
                DkimSource::File => 0,
                DkimSource::Log { created } => created.0,
            },
            public_key: key.public(),
            record: dns::record(key),
        }
    }
}

#[tonic::async_trait]
impl DkimKeys for DkimKeysService {
    async fn create_dkim_key(
        &self,
        request: Request<api::CreateDkimKeyRequest>,
    ) -> Result<Response<api::DkimKey>, Status> {
        let mut call = Call::of("CreateDkimKey", &request);
        let request = request.into_inner();
        let asked = request.dkim_key.as_ref();
        let name = asked.map(|key| format!("{NAME_PREFIX}{}._domainkey.{}", key.selector, key.domain));
        call.subject = name.unwrap_or_default();
        let answer = self.create(request).await.map(|key| {
            call.changes = Some(told(&key));
            self.shown(&key)
        });
        self.telemetry.changed(&call, answer)
    }

    async fn get_dkim_key(&self, request: Request<api::GetDkimKeyRequest>) -> Result<Response<api::DkimKey>, Status> {
        self.telemetry.looked("GetDkimKey", self.find(&request.get_ref().name))
    }

    async fn list_dkim_keys(
        &self,
        request: Request<api::ListDkimKeysRequest>,
    ) -> Result<Response<api::ListDkimKeysResponse>, Status> {
        self.telemetry.looked("ListDkimKeys", self.list(request.get_ref()))
    }

    async fn retire_dkim_key(
        &self,
        request: Request<api::RetireDkimKeyRequest>,
    ) -> Result<Response<api::DkimKey>, Status> {
        let mut call = Call::of("RetireDkimKey", &request);
        let request = request.into_inner();
        call.subject.clone_from(&request.name);
        let answer = self.retire(&request).await.map(|done| {
            let (before, after) = (time(done.before.until), time(done.key.entry.validity.until));
            call.changes = Some(format!("until_ms: {before} -> {after}"));
            self.shown(&done.key)
        });
        self.telemetry.changed(&call, answer)
    }

    async fn delete_dkim_key(
        &self,
        request: Request<api::DeleteDkimKeyRequest>,
    ) -> Result<Response<api::DeleteDkimKeyResponse>, Status> {
        let mut call = Call::of("DeleteDkimKey", &request);
        let request = request.into_inner();
        call.subject.clone_from(&request.name);
        let answer = self.delete(&request).await.map(|key| {
            call.changes = Some(told(&key));
            api::DeleteDkimKeyResponse {}
        });
        self.telemetry.changed(&call, answer)
    }
}

impl Wish {
    /// Makes the key, or reads the one that is given. Takes a second or more for RSA.
    fn make(self, pem: String) -> Result<NewKey, (&'static str, KeyError)> {
        let Self { domain, selector, algorithm, bits, .. } = self;
        if pem.is_empty() {
            let algorithm = algorithm.unwrap_or(Algorithm::Rsa);
            Key::generate(domain, selector, algorithm, bits).map_err(|e| (field_of(&e, "dkim_key.bits"), e))
        } else {
            let key = Key::from_pem(domain, selector, &pem).map_err(|e| (field_of(&e, "private_key"), e))?;
            Ok(NewKey { pem, key })
        }
    }
}

/// What is wrong with the names, or with the rest.
fn field_of(error: &KeyError, rest: &'static str) -> &'static str {
    match error {
        KeyError::Name(..) => "dkim_key.selector",
        KeyError::NotPem | KeyError::Unsupported(_) | KeyError::Broken(_) | KeyError::Bits(_) => rest,
    }
}

fn read(asked: api::DkimKey, pem: &str) -> Result<Wish, Vec<Violation>> {
    let mut wrong = Vec::new();
    let mut note = |field: &str, problem: String| wrong.push(Violation::new(format!("dkim_key.{field}"), problem));
    let domain = Domain::parse(&asked.domain).map_err(|e| note("domain", format!("{:?}: {e}", asked.domain))).ok();
    let selector = asked.selector.parse::<Selector>();
    let selector = selector.map_err(|e| note("selector", format!("{:?}: {e}", asked.selector))).ok();
    let algorithm = Algorithm::parse(&asked.algorithm);
    if algorithm.is_none() && !asked.algorithm.is_empty() {
        note("algorithm", format!("{:?} is neither rsa nor ed25519", asked.algorithm));
    }
    let bits = if asked.bits == 0 { RSA_BITS_MIN } else { usize::try_from(asked.bits).unwrap_or(usize::MAX) };
    let rsa = algorithm.is_none_or(|algorithm| algorithm == Algorithm::Rsa);
    let range = RSA_BITS_MIN..=sluice_sign::RSA_BITS_MAX;
    if rsa && pem.is_empty() && !range.contains(&bits) {
        note("bits", KeyError::Bits(bits).to_string());
    }
    if !asked.account.is_empty() && asked.account.len() > 63 {
        note("account", "no account has so long a name".to_owned());
    }
    if let (Some(from), Some(until)) = (asked.from_ms, asked.until_ms)
        && until <= from
    {
        note("until_ms", "expected a time after from_ms".to_owned());
    }
    if pem.len() > PEM_MAX {
        wrong.push(Violation::new("private_key", format!("at most {PEM_MAX} octets, here are {}", pem.len())));
    }
    match (domain, selector) {
        (Some(domain), Some(selector)) if wrong.is_empty() => Ok(Wish {
            domain,
            selector,
            algorithm,
            bits,
            owner: if asked.account.is_empty() { Owner::Everybody } else { Owner::Account(asked.account.into()) },
            validity: Validity { from: asked.from_ms.map(UnixMs), until: asked.until_ms.map(UnixMs) },
        }),
        _ => Err(wrong),
    }
}

/// Where a key that was given is not what the request says.
fn unlike(key: &Key, algorithm: &str, bits: u32) -> Vec<Violation> {
    let is = key.algorithm();
    let other_kind = !algorithm.is_empty() && Algorithm::parse(algorithm) != Some(is);
    let kind = other_kind.then(|| Violation::new("dkim_key.algorithm", format!("the key is {}", is.key_type())));
    let other_bits = is == Algorithm::Rsa && bits > 0 && usize::try_from(bits) != Ok(key.bits());
    let bits = other_bits.then(|| Violation::new("dkim_key.bits", format!("the key has {} bits", key.bits())));
    kind.into_iter().chain(bits).collect()
}

/// The key in `dkimKeys/{selector}._domainkey.{domain}`.
fn key_name(name: &str) -> Result<DkimName, Status> {
    let parsed = name.strip_prefix(NAME_PREFIX).and_then(DkimName::parse);
    let problem = || format!("expected {NAME_PREFIX}{{selector}}._domainkey.{{domain}}, got {name:?}");
    parsed.ok_or_else(|| status::invalid(&[Violation::new("name", problem())]))
}

fn page_token(token: &str) -> Result<Option<(DkimName, usize)>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let place = token.split_once('/').and_then(|(place, name)| Some((DkimName::parse(name)?, place.parse().ok()?)));
    let wrong = || status::invalid(&[Violation::new("page_token", "not one that this list has given")]);
    place.map(Some).ok_or_else(wrong)
}

fn account_of(owner: &Owner) -> &str {
    match owner {
        Owner::Everybody => "",
        Owner::Account(account) => account,
    }
}

/// What the log says of a key: nothing private.
fn told(key: &DkimKey) -> String {
    let sluice_sign::Entry { key, owner, validity } = &key.entry;
    let account = if account_of(owner).is_empty() { "every account" } else { account_of(owner) };
    let (from, until) = (time(validity.from), time(validity.until));
    let (kind, bits) = (key.algorithm().key_type(), key.bits());
    format!("{kind} of {bits} bits for {account}; from_ms: {from}; until_ms: {until}")
}

fn time(at: Option<UnixMs>) -> String {
    at.map_or_else(|| "none".to_owned(), |at| at.0.to_string())
}
