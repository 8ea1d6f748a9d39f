//! Routes: names of models that stand for several, tried in an order. Pure; who is asked, and whether it can, is known elsewhere.

mod order;
mod remarks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::domain::{ModelId, ProviderId};

pub use order::{Candidate, order};
pub use remarks::{Surroundings, remarks};

/// How the targets of a route are ordered for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// As they are listed.
    Fallback,
    /// The one that is estimated to cost least first.
    Cheapest,
    /// The one that took least time lately first.
    Fastest,
    /// Each in its turn first.
    RoundRobin,
    /// Each as often first as its weight says.
    Weighted,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 5] = [Self::Fallback, Self::Cheapest, Self::Fastest, Self::RoundRobin, Self::Weighted];

    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            Self::Cheapest => "cheapest",
            Self::Fastest => "fastest",
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
        }
    }
}

/// A model that a route leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTarget {
    /// Whose; none: this server's.
    pub provider: Option<ProviderId>,
    /// What clients would call it.
    pub model: ModelId,
    /// How often it is first, relative to the others.
    pub weight: u32,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The name that requests give as the model.
    pub name: ModelId,
    /// How its targets are ordered.
    pub strategy: Strategy,
    /// They, at least one.
    pub targets: Vec<RouteTarget>,
}

/// The routes in force. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    routes: RwLock<Arc<BTreeMap<ModelId, Route>>>,
    /// Counts the requests of all routes: whose turn it is.
    turn: AtomicU64,
}

impl Routes {
    /// These routes.
    pub fn new(routes: BTreeMap<ModelId, Route>) -> Self {
        let own = Self::default();
        own.replace(routes);
        own
    }

    /// Puts new routes in force, at once and as a whole.
    pub fn replace(&self, routes: BTreeMap<ModelId, Route>) {
        *self.shared.routes.write() = Arc::new(routes);
    }

    /// All routes, by name.
    pub fn all(&self) -> Arc<BTreeMap<ModelId, Route>> {
        self.shared.routes.read().clone()
    }

    /// The route of a name.
    pub fn find(&self, name: &ModelId) -> Option<Route> {
        self.shared.routes.read().get(name).cloned()
    }

    /// The number of the next request: every one has another.
    pub fn next_turn(&self) -> u64 {
        self.shared.turn.fetch_add(1, Ordering::Relaxed)
    }
}
