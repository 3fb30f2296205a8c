//! Acting on a saga from outside its run: cancelling it, capturing it, finding those whose runner is gone.

use std::{collections::HashMap, sync::Arc};

use futures::TryStreamExt;

use super::Runner;
use crate::{
    Error, ErrorKind, Failure, FailureKind, Labels, Phase, Result, SagaId, SagaStatus, SnapshotMeta, SnapshotRecord,
    clock::after,
    storage::{At, SagaQuery, SagaSummary},
};

/// The labels of a manual snapshot: what it was called, and by whom it was asked for. They are of that snapshot alone.
const SNAPSHOT_NAME: &str = "snapshot";
const SNAPSHOT_ACTOR: &str = "snapshot_by";

/// The labels of a saga, without those of a manual snapshot.
pub(crate) fn without_snapshot_name(labels: &Arc<Labels>) -> Arc<Labels> {
    let mut labels = labels.clone();
    if labels.contains_key(SNAPSHOT_NAME) {
        Arc::make_mut(&mut labels).retain(|key, _| key != SNAPSHOT_NAME && key != SNAPSHOT_ACTOR);
    }
    labels
}

/// How often an append from outside is tried anew when the saga has moved on in between.
const ATTEMPTS: u32 = 32;

impl Runner {
    /// Asks a saga to stop at its next capture and to compensate what is completed, wherever it runs. One whose runner is gone
    /// compensates when it is resumed. After a pivot nothing is taken back: the saga is parked. Gives the snapshot that says so.
    ///
    /// # Errors
    /// `NotFound`; `Refused` if the saga has ended or compensates already; the store's own.
    pub async fn cancel(&self, id: &SagaId, reason: &str, actor: Option<Arc<str>>) -> Result<SnapshotRecord> {
        self.append_outside("cancel saga", id, |meta| {
            match meta.status {
                SagaStatus::Pending | SagaStatus::Executing => {}
                SagaStatus::Parked if meta.failure.as_ref().is_some_and(|f| f.compensation.is_none()) => {
                    return Err("it is parked after a pivot, so there is nothing to take back");
                }
                SagaStatus::Parked | SagaStatus::Compensating => return Err("it compensates already"),
                _ => return Err("it has ended"),
            }
            let mut failure = Failure::new(meta.step_name().map(Arc::from), FailureKind::Cancelled, reason, 0);
            failure.in_flight = meta.next_steps().iter().map(Arc::from).collect();
            meta.failure = Some(Arc::new(failure));
            if meta.outline.steps().iter().zip(0..).any(|(step, at)| step.pivot && meta.completed.contains(at)) {
                meta.status = SagaStatus::Parked;
            } else {
                meta.status = SagaStatus::Compensating;
                meta.next = crate::StepRanges::default();
            }
            meta.phase = Phase::Failure;
            meta.actor = actor.clone().or_else(|| meta.actor.take());
            Ok(())
        })
        .await
    }

    /// Captures the newest state of a saga once more, under the label `snapshot` = `name` (and `snapshot_by` = `actor`),
    /// so that it can be found again.
    ///
    /// # Errors
    /// `NotFound`, or the store's own.
    pub async fn snapshot(&self, id: &SagaId, name: &str, actor: Option<Arc<str>>) -> Result<SnapshotRecord> {
        self.append_outside("capture snapshot", id, |meta| {
            let labels = Arc::make_mut(&mut meta.labels);
            labels.insert(SNAPSHOT_NAME.to_owned(), name.to_owned());
            if let Some(actor) = &actor {
                labels.insert(SNAPSHOT_ACTOR.to_owned(), actor.to_string());
            }
            meta.phase = Phase::Manual;
            Ok(())
        })
        .await
    }

    /// Appends to a saga's history in its runner's name; that runner takes it up with its next capture.
    async fn append_outside(
        &self,
        operation: &'static str,
        id: &SagaId,
        change: impl Fn(&mut SnapshotMeta) -> std::result::Result<(), &'static str>,
    ) -> Result<SnapshotRecord> {
        let snapshots = self.store().snapshots();
        let mut attempt = 0;
        loop {
            let Some(newest) = snapshots.load(id, At::Latest).await? else {
                return Err(Error::new(ErrorKind::NotFound, operation).message("there is no such saga").with("saga", id));
            };
            let prev_digest = newest.digest();
            let newest = newest.decode()?;
            let mut meta = (**newest.meta()).clone();
            meta.sequence += 1;
            meta.prev_digest = prev_digest;
            meta.created_at = self.clock().now().max(after(newest.created_at));
            change(&mut meta).map_err(|why| Error::new(ErrorKind::Refused, operation).message(why).with("saga", id))?;
            let record = SnapshotRecord::seal(meta, newest.context_text().clone());
            attempt += 1;
            match self.0.append(&record).await {
                Ok(()) => return Ok(record),
                Err(error) if error.is(ErrorKind::Conflict) && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The sagas that match `query`, have not ended, and whose runner is gone: those that [`resume`](Runner::resume) can go on with.
    /// The query's own statuses are replaced.
    ///
    /// # Errors
    /// The store's own.
    pub async fn interrupted(&self, mut query: SagaQuery) -> Result<Vec<SagaSummary>> {
        query.statuses = vec![SagaStatus::Pending, SagaStatus::Executing, SagaStatus::Compensating];
        let limit = query.limit.take().unwrap_or(u64::MAX);
        let mut alive = HashMap::new();
        let mut found = Vec::new();
        let mut sagas = self.store().snapshots().sagas(query);
        while (found.len() as u64) < limit
            && let Some(saga) = sagas.try_next().await?
        {
            let running = match saga.runner {
                None => false,
                Some(runner) if runner == self.id() => self.is_running(&saga.saga_id),
                Some(runner) => match alive.get(&runner) {
                    Some(known) => *known,
                    None => *alive.entry(runner).or_insert(self.is_alive(runner).await?),
                },
            };
            if !running {
                found.push(saga);
            }
        }
        Ok(found)
    }
}
