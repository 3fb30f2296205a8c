//! Pruning what may be in either store.

use futures::TryStreamExt;

use super::{MoveReport, Tiered};
use crate::{
    Result, SagaId, SagaStatus, SnapshotRecord,
    copy::{is_about_one_saga, newest},
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
                if request.dry_run {
                    return self.prune_in_turn(request.clone(), request).await;
                }
                let refused = self.finish_moves().await?;
                let report = self.prune_in_turn(request.clone(), request).await?;
                for original in refused {
                    self.drop_orphan(&original).await?;
                }
                Ok(report)
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

    /// Ends moves that broke off, for if the original expired before its copy is whole, a saga that never ended would be left. Gives the
    /// newest records of those that cannot be moved.
    ///
    /// To remove the copies instead would not be safe: at any moment another move may complete one and begin to remove its original.
    async fn finish_moves(&self) -> Result<Vec<SnapshotRecord>> {
        let statuses = [SagaStatus::Pending, SagaStatus::Executing, SagaStatus::Compensating, SagaStatus::Parked];
        let mut running = self.cold.sagas(statuses.into_iter().fold(SagaQuery::default(), SagaQuery::with_status));
        let mut refused = Vec::new();
        while let Some(head) = running.try_next().await? {
            let original = newest(&*self.hot, &head.saga_id).await?.filter(|original| original.status.is_terminal());
            let Some(original) = original else { continue };
            match self.move_saga(&head, &mut MoveReport::default()).await {
                Ok(()) => {}
                Err(error) if is_about_one_saga(&error) => {
                    tracing::warn!(saga = %head.saga_id, %error, "saga not moved");
                    refused.push(original);
                }
                Err(error) => return Err(error.with("saga", &head.saga_id)),
            }
        }
        Ok(refused)
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
