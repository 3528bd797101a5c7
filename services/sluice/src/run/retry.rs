//! The queue as the command line sees it: when mail is to be tried now, so are the sites that were taken for dead.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sluice_delivery::Revival;
use sluice_mail::QueueId;
use sluice_spool::disk::Disk;
use sluice_spool::{BodyError, Directive, DomainCount, Entry, QueueView, Selector, Totals};

/// The spool's view; a retry also tells the delivery.
pub(super) struct RetryView {
    pub(super) spool: Disk,
    pub(super) revival: Arc<Revival>,
}

impl QueueView for RetryView {
    fn totals(&self) -> Totals {
        self.spool.totals()
    }

    fn count(&self, selector: &Selector, max: usize) -> Vec<DomainCount> {
        self.spool.count(selector, max)
    }

    fn list(
        &self,
        selector: &Selector,
        after: Option<QueueId>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<Entry>, BodyError>> {
        self.spool.list(selector, after, max)
    }

    fn act(&self, selector: &Selector, directive: Directive) -> u64 {
        match directive {
            Directive::RetryNow => self.revival.ask(),
        }
        self.spool.act(selector, directive)
    }
}
