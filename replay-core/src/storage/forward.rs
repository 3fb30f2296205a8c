use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::{At, Capabilities, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage};
use crate::{Result, SagaId, SnapshotRecord};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: SnapshotStorage + ?Sized> SnapshotStorage for Arc<S> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        (**self).append(records).await
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        (**self).load(saga, at).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        (**self).list(query)
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        (**self).sagas(query)
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        (**self).prune(request).await
    }
}
