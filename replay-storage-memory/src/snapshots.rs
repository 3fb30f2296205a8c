use std::{
    collections::{BTreeSet, HashMap, hash_map::RandomState},
    hash::BuildHasher,
    ops::Bound,
    sync::Arc,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use parking_lot::RwLock;
use replay_core::{
    Result, SagaId, SnapshotRecord,
    storage::{
        At, Capabilities, Order, PruneReport, PruneRequest, PruneScope, SagaCursor, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage,
    },
};

use crate::{
    Memory,
    history::{Doom, History, begin_all, unknown_scope},
    pages::{PAGE, pages},
    store::World,
};

const SHARDS: usize = 64;

/// The histories of one namespace.
///
/// A saga's history is in the shard of its id, so sagas seldom wait for each other. The order of the listing is kept apart:
/// start time and id never change, so it is touched only when a saga begins or goes, never by a further record.
/// Locks are taken in the order shard, then listing.
pub(crate) struct Snapshots {
    hasher: RandomState,
    shards: Box<[RwLock<HashMap<SagaId, History>>]>,
    listing: RwLock<BTreeSet<SagaCursor>>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| RwLock::default()).collect(), listing: RwLock::default() }
    }
}

impl Snapshots {
    fn shard(&self, saga: &SagaId) -> &RwLock<HashMap<SagaId, History>> {
        let hash = self.hasher.hash_one(saga);
        // The remainder is less than 64.
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    fn enlist(&self, saga: &SagaId, history: &History) {
        self.listing.write().insert(SagaCursor { started_at: history.started_at(), saga_id: saga.clone() });
    }

    fn append_one(&self, record: SnapshotRecord) -> Result<()> {
        let mut shard = self.shard(&record.saga_id).write();
        if let Some(history) = shard.get_mut(&record.saga_id) {
            return history.append(record);
        }
        let saga = record.saga_id.clone();
        let history = History::begin(record)?;
        self.enlist(&saga, &history);
        shard.insert(saga, history);
        Ok(())
    }

    fn append_saga(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let Some(saga) = records.first().map(|record| record.saga_id.clone()) else { return Ok(()) };
        let mut shard = self.shard(&saga).write();
        if let Some(history) = shard.get_mut(&saga) {
            return history.append_all(records);
        }
        if let Some(history) = begin_all(records)? {
            self.enlist(&saga, &history);
            shard.insert(saga, history);
        }
        Ok(())
    }

    /// Appends saga by saga; one that conflicts does not keep the others from being stored.
    fn append_many(&self, mut records: Vec<SnapshotRecord>) -> Result<()> {
        records.sort_by(|a, b| a.saga_id.cmp(&b.saga_id));
        let mut result = Ok(());
        let mut rest = records.into_iter().peekable();
        while let Some(first) = rest.next() {
            let mut of_saga = vec![first];
            while let Some(next) = rest.next_if(|next| next.saga_id == of_saga[0].saga_id) {
                of_saga.push(next);
            }
            result = result.and(self.append_saga(of_saga));
        }
        result
    }

    fn load(&self, saga: &SagaId, at: &At) -> Result<Option<SnapshotRecord>> {
        self.shard(saga).read().get(saga).map_or(Ok(None), |history| history.load(at))
    }

    /// The next records of `query`, which is moved on behind them; none at the end.
    fn page(&self, query: &mut SnapshotQuery) -> Option<Vec<SnapshotRecord>> {
        let limit = query.limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(PAGE).min(PAGE));
        if limit == 0 || query.first > query.last {
            return None;
        }
        let page = self.shard(&query.saga_id).read().get(&query.saga_id).map(|history| history.page(query, limit))?;
        let end = page.last()?.sequence;
        match query.order {
            Order::Ascending => query.first = end.checked_add(1)?,
            Order::Descending => query.last = end.checked_sub(1)?,
        }
        query.limit = query.limit.map(|left| left - page.len() as u64);
        Some(page)
    }

    /// The heads among the next positions of the listing that match; none at its end.
    fn heads(&self, query: &mut SagaQuery) -> Option<Vec<SagaSummary>> {
        if query.limit == Some(0) {
            return None;
        }
        let positions: Vec<SagaCursor> = {
            let before = query.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            self.listing.read().range((Bound::Unbounded, before)).rev().take(PAGE).cloned().collect()
        };
        let mut page = Vec::new();
        for position in &positions {
            if query.limit == Some(page.len() as u64) {
                break;
            }
            page.extend(self.head(&position.saga_id).filter(|head| query.matches(head)));
        }
        query.limit = query.limit.map(|left| left - page.len() as u64);
        query.after = Some(positions.last()?.clone());
        Some(page)
    }

    fn head(&self, saga: &SagaId) -> Option<SagaSummary> {
        let shard = self.shard(saga).read();
        let history = shard.get(saga)?;
        history.newest().map(|newest| SagaSummary::of(newest, history.started_at()))
    }

    fn prune(&self, request: &PruneRequest) -> Result<PruneReport> {
        let mut report = PruneReport::default();
        let prune = Prune { snapshots: self, request, report: &mut report };
        match &request.scope {
            PruneScope::Expired { now } => prune.each(Doom::Expired(*now)),
            PruneScope::KeepNewest { saga_id: Some(saga), keep } => prune.one(saga, Doom::Beyond(*keep)),
            PruneScope::KeepNewest { saga_id: None, keep } => prune.each(Doom::Beyond(*keep)),
            PruneScope::Record(id) => prune.one(&id.saga_id, Doom::Sequence(id.sequence)),
            PruneScope::Saga(saga) => prune.whole(saga),
            _ => return Err(unknown_scope()),
        }
        Ok(report)
    }
}

/// A prune under way.
struct Prune<'a> {
    snapshots: &'a Snapshots,
    request: &'a PruneRequest,
    report: &'a mut PruneReport,
}

impl Prune<'_> {
    fn one(mut self, saga: &SagaId, doom: Doom) {
        let mut shard = self.snapshots.shard(saga).write();
        if let Some(history) = shard.get_mut(saga)
            && self.take(history, doom)
        {
            self.drop_saga(&mut shard, saga);
        }
    }

    /// Goes through every saga, a shard at a time, until the limit ends it.
    fn each(mut self, doom: Doom) {
        for shard in &self.snapshots.shards {
            let mut shard = shard.write();
            let mut gone = Vec::new();
            for (saga, history) in &mut *shard {
                if matches!(doom, Doom::Expired(now) if history.is_fresh(now)) {
                    continue;
                }
                if self.take(history, doom) {
                    gone.push(saga.clone());
                }
                if self.report.more {
                    break;
                }
            }
            for saga in &gone {
                self.drop_saga(&mut shard, saga);
            }
            if self.report.more {
                return;
            }
        }
    }

    fn whole(mut self, saga: &SagaId) {
        let mut shard = self.snapshots.shard(saga).write();
        let Some(history) = shard.get(saga) else { return };
        self.count(history, &history.all());
        if !self.request.dry_run {
            self.drop_saga(&mut shard, saga);
        }
    }

    /// Takes out what may go; gives whether that leaves the history empty.
    fn take(&mut self, history: &mut History, doom: Doom) -> bool {
        let doomed = history.doomed(doom, self.request.limit.saturating_sub(self.report.records));
        self.report.more |= doomed.more;
        self.count(history, &doomed.positions);
        if self.request.dry_run {
            return false;
        }
        if doomed.positions.len() == history.len() {
            return true;
        }
        history.remove(&doomed.positions);
        if matches!(doom, Doom::Expired(_)) && !doomed.more {
            history.note_expiries();
        }
        false
    }

    fn count(&mut self, history: &History, positions: &[usize]) {
        self.report.records += positions.len() as u64;
        self.report.bytes += history.stored_len(positions);
        self.report.sagas += u64::from(positions.len() == history.len());
    }

    fn drop_saga(&self, shard: &mut HashMap<SagaId, History>, saga: &SagaId) {
        if let Some(history) = shard.remove(saga) {
            self.snapshots.listing.write().remove(&SagaCursor { started_at: history.started_at(), saga_id: saga.clone() });
        }
    }
}

#[async_trait]
impl SnapshotStorage for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn append(&self, mut records: Vec<SnapshotRecord>) -> Result<()> {
        let snapshots = &self.world().snapshots;
        match (records.len(), records.pop()) {
            (1, Some(record)) => snapshots.append_one(record),
            (_, Some(record)) => {
                records.push(record);
                snapshots.append_many(records)
            }
            (_, None) => Ok(()),
        }
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        self.world().snapshots.load(saga, &at)
    }

    fn list(&self, mut query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        let world: Arc<World> = self.world().clone();
        pages(move || world.snapshots.page(&mut query))
    }

    fn sagas(&self, mut query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        let world: Arc<World> = self.world().clone();
        pages(move || world.snapshots.heads(&mut query))
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        self.world().snapshots.prune(&request)
    }
}
