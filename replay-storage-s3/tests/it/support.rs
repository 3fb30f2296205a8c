//! What the tests say again and again.

use futures::TryStreamExt;
use replay_conformance::records::Chain;
use replay_core::{
    SnapshotRecord, Store,
    storage::{SagaQuery, SnapshotQuery},
};

use crate::{place::Place, proxy::Proxy};

pub(crate) const FIRST: &str = "REPLAY_TEST_S3_URL";
pub(crate) const SECOND: &str = "REPLAY_TEST_S3_MOTO_URL";

/// A bucket behind a proxy.
pub(crate) struct Behind {
    /// The bucket by way of the proxy.
    pub(crate) place: Place,
    pub(crate) proxy: Proxy,
    upstream: String,
}

impl Behind {
    pub(crate) async fn proxy(variable: &str) -> Self {
        let mut place = Place::create(variable).await;
        let proxy = Proxy::start(&place.endpoint).await;
        let upstream = std::mem::replace(&mut place.endpoint, proxy.endpoint.clone());
        Self { place, proxy, upstream }
    }

    /// The bucket without the proxy.
    pub(crate) fn place_itself(&self) -> Place {
        Place { endpoint: self.upstream.clone(), ..self.place.clone() }
    }

    pub(crate) async fn open(&self) -> Store {
        self.place.builder().open().await.expect("the store opens").into_store()
    }

    /// How many requests `call` makes.
    pub(crate) async fn count<T>(&self, call: impl Future<Output = T>) -> (usize, T) {
        self.proxy.take_seen();
        let outcome = Box::pin(call).await;
        (self.proxy.take_seen().len(), outcome)
    }
}

impl Place {
    /// The keys of all objects that have `part` in it.
    pub(crate) async fn keys(&self, part: &str) -> Vec<String> {
        let answer = self.sdk().list_objects_v2().bucket(&self.bucket).send().await.expect("a listing");
        let keys = answer.contents().iter().filter_map(|object| object.key.clone());
        keys.filter(|key| key.contains(part)).collect()
    }
}

pub(crate) async fn append(store: &Store, records: impl IntoIterator<Item = SnapshotRecord>) {
    store.snapshots().append(records.into_iter().collect()).await.expect("the append is accepted");
}

pub(crate) async fn history(store: &Store, chain: &Chain) -> Vec<SnapshotRecord> {
    store.snapshots().list(SnapshotQuery::new(chain.saga_id().clone())).try_collect().await.expect("the listing succeeds")
}

pub(crate) async fn ids(store: &Store, query: SagaQuery) -> Vec<String> {
    let sagas: Vec<_> = store.snapshots().sagas(query).try_collect().await.expect("the listing succeeds");
    sagas.into_iter().map(|saga| saga.saga_id.to_string()).collect()
}
