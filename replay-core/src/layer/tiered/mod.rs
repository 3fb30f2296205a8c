//! Two stores as one: a hot one that sagas run on, and a cold one for those that have ended.

mod append;
mod merge;
mod moving;
mod prune;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;

pub use self::moving::{MoveRefusal, MoveReport};
use crate::{
    Clock, Digest, Result, SagaId, SnapshotRecord, SystemClock,
    copy::{header, newest},
    storage::{At, Capabilities, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
};

/// A hot store that sagas run on, and a cold one into which [`move_cold`](Tiered::move_cold) puts those that have ended.
///
/// Reads fall through: what is asked for comes from wherever it is, a history that is in both in part comes in one piece, and a listing of
/// sagas merges both, page by page. The hot store is always read first and the cold one after it, so that what is moved in between is
/// found in the cold one.
///
/// **Where a saga is appended to.** A saga that is in the hot store goes on there; one that was moved goes on in the cold store. Nothing is
/// ever removed from the hot store before the cold one has it, and its newest record goes last, so at each instant exactly one of the two
/// takes the next record, by its own compare-and-append: that is the fence. A saga that begins is first put into the hot store and then
/// looked for in the cold one, and withdrawn if it is there, so an id that was moved cannot begin anew. The start of a saga thus costs two
/// looks into the cold store, and no other append costs any.
///
/// **Pruning** by age or by number first ends the moves that broke off, so that no part of a copy outlives its original. Moves, prunes and
/// runners may meet at any moment, in any number of processes: what is stored is only ever removed from the hot store because the cold one
/// has it, and from the cold one because it was to be pruned or deleted.
///
/// **Limits.** Whoever deletes a saga while it is being moved may find it again in the cold store. Pruning to the newest so many of a saga
/// that is in both stores may keep one more. A process that dies right while it begins a saga under an id that was moved, after another
/// process began it too, leaves one record in the hot store until the saga is deleted. Use it behind every handle on the two stores: a
/// runner that knows only the hot one could begin a saga that was moved.
///
/// Only snapshots are in two tiers; logs, cells and blobs stay where the [`Store`](crate::Store) has them.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use replay_core::{Result, Store, layer::Tiered};
/// # async fn run(hot: Store, cold: Store) -> Result<()> {
/// let month = Duration::from_hours(30 * 24);
/// let tiered = Arc::new(Tiered::new(hot.snapshots().clone(), cold.snapshots().clone(), month));
/// let store = hot.with_snapshots(tiered.clone());
/// // Now and then, in any process; several may do so at once.
/// let report = tiered.move_cold(1000).await?;
/// # drop((store, report)); Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Tiered {
    hot: Arc<dyn SnapshotStorage>,
    cold: Arc<dyn SnapshotStorage>,
    older_than: Duration,
    clock: Arc<dyn Clock>,
}

impl Tiered {
    /// `hot` and `cold` as one store. Sagas may be moved once they have ended and their newest snapshot is older than `older_than`.
    pub fn new(hot: Arc<dyn SnapshotStorage>, cold: Arc<dyn SnapshotStorage>, older_than: Duration) -> Self {
        Self { hot, cold, older_than, clock: Arc::new(SystemClock) }
    }

    /// Sets the clock that ages are judged by; by default the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The newest record not after an instant; the hot store's answer is right if nothing between it and its newest record was moved.
    async fn at_time(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        let Some(found) = self.hot.load(saga, at.clone()).await? else { return self.cold.load(saga, at).await };
        let is_whole = header(&*self.hot, saga, found.sequence.saturating_add(1)).await?.is_some()
            || newest(&*self.hot, saga).await?.is_some_and(|newest| newest.sequence == found.sequence);
        if is_whole {
            return Ok(Some(found));
        }
        Ok(later(Some(found), self.cold.load(saga, at).await?))
    }
}

/// Of two records the one with the higher sequence.
fn later(one: Option<SnapshotRecord>, other: Option<SnapshotRecord>) -> Option<SnapshotRecord> {
    one.into_iter().chain(other).max_by_key(|record| record.sequence)
}

/// Whether a saga whose newest records are these goes on in the hot store. If it is in both, that is the one which is ahead; while it is
/// being moved both end with the same record, and the hot one still takes the next.
fn is_hot(hot: Option<(u64, Digest)>, cold: Option<(u64, Digest)>) -> bool {
    match (hot, cold) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(hot), Some(cold)) => hot.0 > cold.0 || hot == cold,
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SnapshotStorage for Tiered {
    fn capabilities(&self) -> Capabilities {
        let (hot, cold) = (self.hot.capabilities(), self.cold.capabilities());
        let max_record_bytes = [hot.max_record_bytes, cold.max_record_bytes].into_iter().flatten().min();
        Capabilities {
            durable: hot.durable && cold.durable,
            shared: hot.shared && cold.shared,
            native_expiry: hot.native_expiry && cold.native_expiry,
            sql: hot.sql && cold.sql,
            max_record_bytes,
        }
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        self.append_all(records).await
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        match at {
            At::Time(_) => self.at_time(saga, at).await,
            At::BeforeStep(_) => {
                let hot = self.hot.load(saga, at.clone()).await?;
                Ok(later(hot, self.cold.load(saga, at).await?))
            }
            _ => match self.hot.load(saga, at.clone()).await? {
                Some(found) => Ok(Some(found)),
                None => self.cold.load(saga, at).await,
            },
        }
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        merge::history(self.hot.clone(), self.cold.clone(), query)
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        merge::heads(self.hot.clone(), self.cold.clone(), query)
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        self.prune_both(request).await
    }
}

impl fmt::Display for Tiered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tiered({}, {})", self.hot, self.cold)
    }
}
