//! What all sessions of the process share.

use std::net::IpAddr;
use std::sync::Arc;

use sluice_limits::{Lease, Leases, Rates};
use sluice_mail::{Clock, EnhancedCode, Reply};
use sluice_registry::{Account, Registry};
use sluice_spool::Spool;

use crate::budget::Budget;
use crate::config::Config;
use crate::gate::Gate;
use crate::signers::Signers;
use crate::telemetry::Telemetry;
use crate::{Parts, RunError};

/// Accounts whose rates are remembered at once; one that has sent nothing for a minute needs no place.
const MAX_METERED: usize = 100_000;

/// A rate of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Metered {
    Messages,
    Recipients,
}

/// Shared by all sessions; nothing in it is locked across a wait.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) spool: Arc<dyn Spool>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) gate: Gate,
    pub(crate) rates: Rates<(Arc<str>, Metered)>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) by_address: Arc<Leases<IpAddr>>,
    pub(crate) by_account: Arc<Leases<Arc<str>>>,
    pub(crate) signers: Signers,
    pub(crate) telemetry: Telemetry,
}

impl Shared {
    pub(crate) fn new(parts: &Parts, config: Config) -> Result<Self, RunError> {
        let budget = Budget::new(config.max_bytes_in_flight);
        Ok(Self {
            telemetry: Telemetry::new(&parts.metrics, &budget)?,
            spool: Arc::clone(&parts.spool),
            registry: Arc::clone(&parts.registry),
            clock: Arc::clone(&parts.clock),
            gate: Gate::new(Arc::clone(&parts.registry), Arc::clone(&parts.clock)),
            rates: Rates::new(MAX_METERED),
            budget,
            by_address: Leases::new(),
            by_account: Leases::new(),
            signers: Signers::new(config.signing_threads).map_err(RunError::Threads)?,
            config,
        })
    }

    /// One of the sessions that `account` may have, if there is a limit.
    pub(crate) fn account_session(&self, account: &Account) -> Result<Option<Lease<Arc<str>>>, Reply> {
        let Some(most) = account.rules.max_sessions else {
            return Ok(None);
        };
        match self.by_account.take(Arc::clone(&account.id), most.get()) {
            Some(lease) => Ok(Some(lease)),
            None => {
                let words =
                    format!("account {} may have {most} sessions at the same time; try again later", account.id);
                Err(Reply::new(421, EnhancedCode(4, 7, 0), words))
            }
        }
    }
}
