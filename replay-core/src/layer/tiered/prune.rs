//! Pruning what may be in either store.

use futures::TryStreamExt;

use super::Tiered;
use crate::{
    Result, SagaId, SagaStatus,
    copy::{header, newest, place},
    storage::{Order, PruneReport, PruneRequest, PruneScope, SagaQuery, SnapshotQuery, SnapshotStorage},
};

impl Tiered {
    pub(super) async fn prune_both(&self, request: PruneRequest) -> Result<PruneReport> {
        match &request.scope {
            PruneScope::Saga(_) => {
                let hot = self.hot.prune(request.clone()).await?;
                let cold = self.cold.prune(request).await?;
                Ok(PruneReport { sagas: hot.sagas.max(cold.sagas), ..sum(hot, cold) })
            }
            PruneScope::Record(id) => {
                let cold = self.cold.prune(request.clone()).await?;
                // The newest record stays while there are others, also in the other store.
                let stands = newest(&*self.hot, &id.saga_id).await?.is_some_and(|newest| newest.sequence == id.sequence)
                    && newest(&*self.cold, &id.saga_id).await?.is_some();
                if stands {
                    return Ok(PruneReport { sagas: 0, ..cold });
                }
                let hot = self.hot.prune(request.clone()).await?;
                let is_gone = hot.sagas + cold.sagas > 0 && self.is_gone(&id.saga_id, request.dry_run).await?;
                Ok(PruneReport { sagas: u64::from(is_gone), ..sum(hot, cold) })
            }
            PruneScope::KeepNewest { saga_id: Some(saga), keep } => {
                let keep = self.keep_in_cold(saga, *keep).await?;
                let scope = PruneScope::KeepNewest { saga_id: Some(saga.clone()), keep };
                let cold = PruneRequest { scope, ..request.clone() };
                self.prune_in_turn(cold, request).await
            }
            PruneScope::Expired { .. } | PruneScope::KeepNewest { saga_id: None, .. } => {
                if !request.dry_run {
                    self.drop_unfinished().await?;
                }
                self.prune_in_turn(request.clone(), request).await
            }
        }
    }

    async fn is_gone(&self, saga: &SagaId, dry_run: bool) -> Result<bool> {
        // A dry run leaves everything; then the store that would lose the saga must be the only one that has it.
        let (hot, cold) = (newest(&*self.hot, saga).await?.is_some(), newest(&*self.cold, saga).await?.is_some());
        Ok(if dry_run { hot != cold } else { !hot && !cold })
    }

    /// The cold store first, for it has the older records; both together remove at most as many as asked for.
    async fn prune_in_turn(&self, cold: PruneRequest, mut hot: PruneRequest) -> Result<PruneReport> {
        let cold = self.cold.prune(cold).await?;
        hot.limit = hot.limit.saturating_sub(cold.records);
        Ok(sum(self.hot.prune(hot).await?, cold))
    }

    /// How many records the cold store keeps of a saga of which the newest `keep` are to stay.
    async fn keep_in_cold(&self, saga: &SagaId, keep: u64) -> Result<u64> {
        let Some(moved) = newest(&*self.cold, saga).await? else { return Ok(keep) };
        let query = SnapshotQuery::new(saga.clone()).with_sequences(moved.sequence.saturating_add(1), u64::MAX);
        let query = query.with_order(Order::Descending).with_limit(keep).with_payloads(false);
        let newer = self.hot.list(query).try_fold(0_u64, |count, _| async move { Ok(count + 1) }).await?;
        Ok(keep.saturating_sub(newer))
    }

    /// Removes from the cold store what a move that broke off had copied. The hot store still has all of it, for nothing is removed from
    /// there before the copy is whole. If its records expired first, the copy would be left, as a saga that never ended.
    async fn drop_unfinished(&self) -> Result<()> {
        let statuses = [SagaStatus::Pending, SagaStatus::Executing, SagaStatus::Compensating, SagaStatus::Parked];
        let mut running = self.cold.sagas(statuses.into_iter().fold(SagaQuery::default(), SagaQuery::with_status));
        while let Some(head) = running.try_next().await? {
            let Some(copied) = newest(&*self.cold, &head.saga_id).await?.as_ref().map(place) else { continue };
            let original = header(&*self.hot, &head.saga_id, copied.0).await?.as_ref().map(place);
            if original == Some(copied) {
                self.cold.prune(PruneRequest::new(PruneScope::Saga(head.saga_id))).await?;
            }
        }
        Ok(())
    }
}

fn sum(hot: PruneReport, cold: PruneReport) -> PruneReport {
    PruneReport {
        records: hot.records + cold.records,
        bytes: hot.bytes + cold.bytes,
        sagas: hot.sagas + cold.sagas,
        more: hot.more || cold.more,
    }
}
