//! Moving ended sagas into the cold store.

use chrono::TimeDelta;
use futures::TryStreamExt;
use serde::Serialize;

use super::Tiered;
use crate::{
    Result, SagaId, SagaStatus, SnapshotId, SnapshotRecord,
    copy::{Wanted, copy_history, covers, header, is_about_one_saga, newest},
    storage::{PruneRequest, PruneScope, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage, TimeRange},
};

/// How many refusals a report names; the others are only counted.
const MAX_REFUSALS: usize = 100;

/// What [`Tiered::move_cold`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MoveReport {
    /// How many sagas were moved.
    pub sagas: u64,
    /// How many records were removed from the hot store.
    pub records: u64,
    /// The sum of their stored lengths there, in bytes.
    pub bytes: u64,
    /// How many sagas could not be moved; they stay where they are.
    pub refused: u64,
    /// The first of those, at most 100.
    pub refusals: Vec<MoveRefusal>,
    /// Whether the limit ended the call; call again.
    pub more: bool,
}

/// Why a saga was not moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MoveRefusal {
    /// The saga.
    pub saga_id: SagaId,
    /// What is wrong: a damaged record, one of a later version, or another history in the cold store.
    pub message: String,
}

impl Tiered {
    /// Moves at most `limit` sagas that have ended, and whose newest snapshot is old enough, into the cold store.
    ///
    /// Each history is copied and every copied record read back and compared; only then are the very same records removed from the hot
    /// store, the oldest first. A call that breaks off, also by kill -9, loses nothing and leaves nothing wrong: the next one goes on.
    /// Several calls may run at once.
    ///
    /// # Errors
    /// A store's own. A saga that cannot be moved does not keep the others; it is in the report.
    /// # Cancel safety
    /// As for a call that breaks off.
    pub async fn move_cold(&self, limit: u64) -> Result<MoveReport> {
        let age = TimeDelta::from_std(self.older_than).unwrap_or(TimeDelta::MAX);
        let mut report = MoveReport::default();
        let Some(until) = self.clock.now().checked_sub_signed(age) else { return Ok(report) };
        let statuses = [SagaStatus::Completed, SagaStatus::RolledBack, SagaStatus::Failed];
        let mut query = statuses.into_iter().fold(SagaQuery::default(), SagaQuery::with_status);
        query.updated = TimeRange { from: None, until: Some(until) };
        let mut sagas = self.hot.sagas(query);
        while let Some(head) = sagas.try_next().await? {
            if report.sagas == limit {
                report.more = true;
                break;
            }
            match self.move_saga(&head, &mut report).await {
                Ok(()) => report.sagas += 1,
                Err(error) if is_about_one_saga(&error) => {
                    report.refused += 1;
                    tracing::warn!(saga = %head.saga_id, %error, "saga not moved");
                    if report.refusals.len() < MAX_REFUSALS {
                        let message = error.detail().map_or_else(|| error.to_string(), str::to_owned);
                        report.refusals.push(MoveRefusal { saga_id: head.saga_id, message });
                    }
                }
                Err(error) => return Err(error.with("saga", &head.saga_id)),
            }
        }
        Ok(report)
    }

    /// Moves a saga, or what is still to be moved of it. Several may do so at once.
    pub(super) async fn move_saga(&self, head: &SagaSummary, report: &mut MoveReport) -> Result<()> {
        let Some(original) = newest(&*self.hot, &head.saga_id).await? else { return Ok(()) };
        let moved = self.copy_and_remove(head, report).await;
        if moved.as_ref().err().is_none_or(is_about_one_saga) {
            self.drop_orphan(&original).await?;
        }
        moved
    }

    async fn copy_and_remove(&self, head: &SagaSummary, report: &mut MoveReport) -> Result<()> {
        let saga = &head.saga_id;
        copy_history(&*self.hot, &*self.cold, head, false, &mut ()).await?;
        let covered = covers(&*self.cold, &*self.hot, saga, Wanted::Every).await?;
        let query = SnapshotQuery::new(saga.clone()).with_sequences(1, covered.last).with_payloads(false);
        let mut records = self.hot.list(query);
        while let Some(record) = records.try_next().await? {
            // The saga may have been deleted and begun anew in the meantime.
            let is_moved = header(&*self.cold, saga, record.sequence).await?.is_some_and(|there| there.digest() == record.digest());
            if !is_moved {
                break;
            }
            let id = SnapshotId { saga_id: saga.clone(), sequence: record.sequence };
            let removed = self.hot.prune(PruneRequest::new(PruneScope::Record(id))).await?;
            report.records += removed.records;
            report.bytes += removed.bytes;
        }
        Ok(())
    }

    /// Removes a part of a copy that nothing can complete any more, given the newest record that its original had in the hot store.
    ///
    /// A move takes that record from the hot store only when the cold one has it. So if it is gone from there and the copy ends before it,
    /// it was pruned or deleted, and with it whatever was not copied. What is left would stay for good, as a saga that never ended.
    pub(super) async fn drop_orphan(&self, original: &SnapshotRecord) -> Result<()> {
        let saga = &original.saga_id;
        // In this order, as what is moved in between is then in the cold store.
        if newest(&*self.hot, saga).await?.is_some() {
            return Ok(());
        }
        let Some(copied) = newest(&*self.cold, saga).await? else { return Ok(()) };
        if copied.sequence < original.sequence && copied.history == original.history {
            self.cold.prune(PruneRequest::new(PruneScope::Saga(saga.clone()))).await?;
        }
        Ok(())
    }
}
