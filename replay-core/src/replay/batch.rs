//! Replaying many sagas.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, future, stream::BoxStream};

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

/// What became of one saga of a batch.
#[derive(Debug)]
#[non_exhaustive]
pub struct BatchItem {
    /// The saga.
    pub original: SagaId,
    /// Its replay, or why there is none.
    pub result: Result<ReplayResult>,
}

/// Replays every saga that matches `query`, each as `request` says, and gives the results as they come. An error of the stream is one
/// of the listing; what goes wrong with one saga is in its item.
///
/// Sagas that this batch itself has made are left out, also if they match. To stop, drop the stream: the replays that run are then
/// interrupted, and go on when the batch is run again under its key.
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
        .try_filter_map(future::ok)
        .boxed()
}

async fn one(
    replay: Arc<dyn SagaReplay>,
    saga: SagaSummary,
    key: Option<Arc<str>>,
    request: Arc<dyn Fn(&SagaSummary) -> ReplayRequest + Send + Sync>,
) -> Result<Option<BatchItem>> {
    if let (Some(origin), Some(key)) = (&saga.origin, &key) {
        let siblings = replay.replays(&origin.saga_id).await?;
        if siblings.iter().any(|entry| entry.replay_id == origin.replay_id && entry.replay_key.as_ref() == Some(key)) {
            return Ok(None);
        }
    }
    let mut request = request(&saga);
    request.replay_key = key.or(request.replay_key);
    let result = replay.replay(request).await;
    Ok(Some(BatchItem { original: saga.saga_id, result }))
}
