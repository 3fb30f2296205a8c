//! Replaying many sagas.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream::BoxStream};

use super::{ReplayRequest, ReplayResult, SagaReplay};
use crate::{
    Result, SagaId,
    storage::{SagaQuery, SagaSummary, SnapshotStorage},
};

/// How many sagas are replayed at once, and under which key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchOptions {
    /// How many replays run at once; by default 8. 0 counts as 1.
    pub concurrency: usize,
    /// The replay key of every replay. A batch that was interrupted and is run again under the same key replays each saga once.
    pub replay_key: Option<Arc<str>>,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { concurrency: 8, replay_key: None }
    }
}

impl BatchOptions {
    /// Sets how many replays run at once.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Sets the replay key.
    #[must_use]
    pub fn with_replay_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.replay_key = Some(key.into());
        self
    }
}

/// What became of one saga that a batch met.
#[derive(Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "they come one at a time out of a stream")]
pub enum BatchItem {
    /// It was to be replayed.
    #[non_exhaustive]
    Replayed {
        /// The saga.
        original: SagaId,
        /// Its replay, or why there is none.
        result: Result<ReplayResult>,
    },
    /// It matches, and was not to be replayed.
    #[non_exhaustive]
    LeftOut {
        /// The saga.
        saga_id: SagaId,
        /// Why not.
        reason: LeftOut,
    },
}

impl BatchItem {
    /// The replay, or why there is none; none for a saga that was left out.
    pub fn result(&self) -> Option<&Result<ReplayResult>> {
        match self {
            Self::Replayed { result, .. } => Some(result),
            Self::LeftOut { .. } => None,
        }
    }

    /// The same by value.
    pub fn into_result(self) -> Option<Result<ReplayResult>> {
        match self {
            Self::Replayed { result, .. } => Some(result),
            Self::LeftOut { .. } => None,
        }
    }
}

/// Why a batch does not replay a saga that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LeftOut {
    /// It is itself a replay that this batch has made, now or in an earlier run under the same key.
    MadeByThisBatch,
}

impl LeftOut {
    /// Why the batch with the given replay key leaves `saga` out, if it does.
    ///
    /// # Errors
    /// Those of reading the replay log.
    pub async fn of(saga: &SagaSummary, replay: &dyn SagaReplay, replay_key: Option<&str>) -> Result<Option<Self>> {
        let (Some(origin), Some(key)) = (&saga.origin, replay_key) else { return Ok(None) };
        let siblings = replay.replays(&origin.saga_id).await?;
        let is_ours = siblings.iter().any(|entry| entry.replay_id == origin.replay_id && entry.replay_key.as_deref() == Some(key));
        Ok(is_ours.then_some(Self::MadeByThisBatch))
    }
}

/// Replays every saga that matches `query`, each as `request` says, and gives the results as they come. An error of the stream is one
/// of the listing; what goes wrong with one saga is in its item.
///
/// Sagas that this batch itself has made are left out, also if they match, and are items that say so. To stop, drop the stream: the
/// replays that run are then interrupted, and go on when the batch is run again under its key.
pub fn replay_many(
    replay: Arc<dyn SagaReplay>,
    snapshots: &dyn SnapshotStorage,
    query: SagaQuery,
    options: BatchOptions,
    request: impl Fn(&SagaSummary) -> ReplayRequest + Send + Sync + 'static,
) -> BoxStream<'static, Result<BatchItem>> {
    let BatchOptions { concurrency, replay_key } = options;
    let request = Arc::new(request);
    snapshots
        .sagas(query)
        .map_ok(move |saga| one(replay.clone(), saga, replay_key.clone(), request.clone()))
        .try_buffer_unordered(concurrency.max(1))
        .boxed()
}

async fn one(
    replay: Arc<dyn SagaReplay>,
    saga: SagaSummary,
    key: Option<Arc<str>>,
    request: Arc<dyn Fn(&SagaSummary) -> ReplayRequest + Send + Sync>,
) -> Result<BatchItem> {
    if let Some(reason) = LeftOut::of(&saga, &*replay, key.as_deref()).await? {
        return Ok(BatchItem::LeftOut { saga_id: saga.saga_id, reason });
    }
    let mut request = request(&saga);
    request.replay_key = key.or(request.replay_key);
    let result = replay.replay(request).await;
    Ok(BatchItem::Replayed { original: saga.saga_id, result })
}
