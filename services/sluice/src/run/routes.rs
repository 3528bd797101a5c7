//! Routes that can be exchanged while mail is under way.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use sluice_mail::Host;
use sluice_route::{Numbers, Resolved, Routes};

/// The routes of the moment. Whoever has begun to ask the former ones finishes with them.
pub(super) struct SwapRoutes(ArcSwap<Arc<dyn Routes>>);

impl SwapRoutes {
    pub(super) fn new(routes: Arc<dyn Routes>) -> Self {
        Self(ArcSwap::from_pointee(routes))
    }

    /// From now on these.
    pub(super) fn set(&self, routes: Arc<dyn Routes>) {
        self.0.store(Arc::new(routes));
    }
}

impl Routes for SwapRoutes {
    fn at_hand(&self, host: &Host) -> Option<Resolved> {
        self.0.load().at_hand(host)
    }

    fn resolve<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Resolved> {
        let routes = self.0.load_full();
        Box::pin(async move { routes.resolve(host).await })
    }

    fn numbers(&self) -> Numbers {
        self.0.load().numbers()
    }
}
