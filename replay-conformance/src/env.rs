use std::sync::Arc;

use async_trait::async_trait;
use replay_core::{ManualClock, Namespace, Result, Store, storage::Capabilities};

use crate::{Fixture, Offers};

/// What a case is given: a place without data, and the clock that its store goes by.
#[derive(Clone)]
pub(crate) struct Env {
    place: Arc<dyn Place>,
    pub(crate) clock: ManualClock,
    pub(crate) offers: Offers,
    pub(crate) capabilities: Capabilities,
    /// By what the sizes of the largest cases are divided.
    pub(crate) smaller_by: usize,
}

/// A [`Fixture`] without its type, so that each case is compiled once.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    async fn open(&self, namespace: Namespace) -> Result<Store>;
}

#[async_trait]
impl<F: Fixture> Place for F {
    async fn open(&self, namespace: Namespace) -> Result<Store> {
        Fixture::open(self, namespace).await
    }
}

impl Env {
    pub(crate) async fn of<F: Fixture>() -> Self {
        let clock = ManualClock::default();
        let place = F::create(clock.clone()).await.expect("the fixture makes an empty place");
        Self { place: Arc::new(place), clock, offers: F::OFFERS, capabilities: F::capabilities(), smaller_by: F::SMALLER_BY.max(1) }
    }

    pub(crate) fn at(place: Arc<dyn Place>, clock: ManualClock, capabilities: Capabilities) -> Self {
        Self { place, clock, offers: Offers::ALL, capabilities, smaller_by: 1 }
    }

    /// A handle in the default namespace.
    pub(crate) async fn open(&self) -> Store {
        self.open_in("default").await
    }

    /// A handle in `namespace`.
    pub(crate) async fn open_in(&self, namespace: &str) -> Store {
        let namespace = Namespace::new(namespace).expect("a namespace");
        self.place.open(namespace).await.expect("the fixture opens a handle")
    }
}
