use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use moka::sync::Cache;

use crate::{
    Clock, ErrorKind, Result, SagaId, SnapshotRecord, SystemClock,
    storage::{At, Capabilities, PruneReport, PruneRequest, PruneScope, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
};

/// A store whose records are remembered for a while by the process that reads them. Needs the feature `cache`.
///
/// Other processes append, prune and delete at any time, so what is remembered may be out of date; by how much is bounded, and what the
/// bound is depends on what could change the answer:
/// - **The newest record**, and the state at an instant not before it, change with every append. They are remembered for `max_stale`,
///   which is zero unless it is set: each question goes to the store.
/// - **A record by its sequence** never changes, but may be pruned, or its saga deleted and begun anew. It is given for at most
///   `max_age` after it was read; 30 s unless that is set. Zero asks each time. As soon as the newest record of the saga is seen not to
///   follow what is remembered, all of the saga is forgotten.
///
/// Ages count from when the store was asked, by this process's clock. What this handle and its clones append or prune is never hidden by
/// an older answer, whether it went well or its outcome is unknown. That a record does not exist is never remembered. Everything else is
/// always asked: other positions, histories, listings of sagas. Appends are compared by the store alone, so the fence does not depend on
/// any of this.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use replay_core::{Store, layer::Cached};
/// # fn wrap(store: Store) -> Store {
/// let cached = Cached::new(store.snapshots().clone()).with_max_stale(Duration::from_millis(500));
/// store.with_snapshots(Arc::new(cached)) // shown as "cached(memory)"
/// # }
/// ```
#[derive(Clone)]
pub struct Cached<S> {
    inner: S,
    known: Known,
    max_stale: Duration,
    max_age: Duration,
    clock: Arc<dyn Clock>,
}

impl<S: SnapshotStorage> Cached<S> {
    /// Remembers up to 64 MiB of records of `inner`.
    pub fn new(inner: S) -> Self {
        let (max_stale, max_age) = (Duration::ZERO, Duration::from_secs(30));
        Self { inner, known: Known::new(64 << 20), max_stale, max_age, clock: Arc::new(SystemClock) }
    }

    /// Sets for how long the newest record is remembered.
    #[must_use]
    pub fn with_max_stale(mut self, max_stale: Duration) -> Self {
        self.max_stale = max_stale;
        self
    }

    /// Sets for how long a record is given by its sequence after it was read.
    #[must_use]
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Sets how many bytes of records are remembered, and forgets what is.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.known = Known::new(bytes);
        self
    }

    /// Sets the clock that ages are judged by; by default the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What is remembered and young enough to be the answer.
    fn remembered(&self, asked: &Asked, at: &At) -> Option<SnapshotRecord> {
        let newest = || asked.head.newest.as_ref().filter(|held| held.is_younger(self.max_stale, asked.at));
        match at {
            At::Latest => newest().map(|held| held.record.clone()),
            At::Time(instant) => newest().map(|held| &held.record).filter(|record| record.created_at <= *instant).cloned(),
            At::Sequence(sequence) => self.known.record(asked, *sequence, self.max_age),
            At::BeforeStep(_) => None,
        }
    }
}

/// What is remembered, shared by clones.
///
/// All that is remembered of a saga belongs to a *generation*, a number that is never given twice. Giving the saga a new one forgets it
/// all, also what is being read at this moment. Questions and changes are put in order by `ticks`.
#[derive(Clone)]
struct Known {
    heads: Cache<SagaId, Arc<Head>>,
    records: Cache<Key, Arc<Held>>,
    ticks: Arc<AtomicU64>,
    /// Nothing that was asked for before this tick counts.
    floor: Arc<AtomicU64>,
}

type Key = (SagaId, u64, u64);

struct Head {
    generation: u64,
    /// Answers to questions from before this tick may not know of what happened.
    changed: u64,
    newest: Option<Held>,
}

#[derive(Clone)]
struct Held {
    record: SnapshotRecord,
    /// When the store was asked.
    at: DateTime<Utc>,
}

impl Held {
    fn is_younger(&self, age: Duration, now: DateTime<Utc>) -> bool {
        // A clock that stepped back says nothing of the age.
        (now - self.at).to_std().is_ok_and(|passed| passed < age)
    }

    fn weight(&self) -> u32 {
        u32::try_from(self.record.held_len(None).saturating_add(512)).unwrap_or(u32::MAX)
    }
}

/// A question, as things stood when it was asked.
struct Asked {
    saga: SagaId,
    head: Arc<Head>,
    tick: u64,
    at: DateTime<Utc>,
}

impl Known {
    fn new(bytes: u64) -> Self {
        let heads = Cache::builder().max_capacity(bytes / 2);
        let records = Cache::builder().max_capacity(bytes / 2);
        Self {
            heads: heads.weigher(|_, head: &Arc<Head>| head.newest.as_ref().map_or(256, Held::weight)).build(),
            records: records.weigher(|_, held: &Arc<Held>| held.weight()).build(),
            ticks: Arc::new(AtomicU64::new(1)),
            floor: Arc::default(),
        }
    }

    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    fn ask(&self, saga: &SagaId, at: DateTime<Utc>) -> Asked {
        let new = || Arc::new(Head { generation: self.tick(), changed: 0, newest: None });
        let head = self.heads.get_with_by_ref(saga, new);
        let head = if head.generation < self.floor.load(Ordering::SeqCst) { self.forget(saga) } else { head };
        Asked { saga: saga.clone(), head, tick: self.tick(), at }
    }

    fn record(&self, asked: &Asked, sequence: u64, age: Duration) -> Option<SnapshotRecord> {
        let held = self.records.get(&(asked.saga.clone(), asked.head.generation, sequence))?;
        held.is_younger(age, asked.at).then(|| held.record.clone())
    }

    /// Remembers an answer under its sequence.
    fn note(&self, asked: &Asked, record: &SnapshotRecord) {
        let held = Held { record: record.clone(), at: asked.at };
        self.records.insert((asked.saga.clone(), asked.head.generation, record.sequence), Arc::new(held));
    }

    /// Remembers what was found to be the newest record.
    fn note_newest(&self, asked: &Asked, record: &SnapshotRecord) {
        let newest = Held { record: record.clone(), at: asked.at };
        let head = self.heads.entry_by_ref(&asked.saga).and_upsert_with(|entry| {
            let head = entry.map_or_else(|| asked.head.clone(), moka::Entry::into_value);
            let is_late = head.changed > asked.tick || self.floor.load(Ordering::SeqCst) > asked.tick;
            if is_late {
                return head;
            }
            let goes_on = head.newest.as_ref().is_none_or(|old| follows(&old.record, record));
            let generation = if goes_on { head.generation } else { self.tick() };
            Arc::new(Head { generation, changed: head.changed, newest: Some(newest.clone()) })
        });
        if head.value().generation == asked.head.generation {
            self.note(asked, record);
        }
    }

    /// Forgets everything of a saga.
    fn forget(&self, saga: &SagaId) -> Arc<Head> {
        let head = Arc::new(Head { generation: self.tick(), changed: self.tick(), newest: None });
        self.heads.insert(saga.clone(), head.clone());
        head
    }

    /// Forgets which record is the newest; those before it stay as they are.
    fn forget_newest(&self, saga: &SagaId) {
        self.heads.entry_by_ref(saga).and_upsert_with(|entry| {
            let changed = self.tick();
            let generation = entry.map_or(changed, |entry| entry.value().generation);
            Arc::new(Head { generation, changed, newest: None })
        });
    }

    fn forget_all(&self) {
        self.floor.store(self.tick(), Ordering::SeqCst);
        self.heads.invalidate_all();
        self.records.invalidate_all();
    }
}

/// Whether `record` may be the newest of the history that `old` was the newest of, as far as the two can tell.
fn follows(old: &SnapshotRecord, record: &SnapshotRecord) -> bool {
    match record.sequence.checked_sub(old.sequence) {
        Some(0) => record.digest() == old.digest(),
        Some(1) => record.prev_digest == old.digest(),
        Some(_) => record.history.is_some() && record.history == old.history,
        None => false,
    }
}

/// Forgets when a change is over, however it ended: done, failed or dropped half-way.
struct Change<'a> {
    known: &'a Known,
    forgets: Forgets,
}

enum Forgets {
    Newest(Vec<SagaId>),
    Saga(SagaId),
    All,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        match &self.forgets {
            Forgets::Newest(sagas) => sagas.iter().for_each(|saga| self.known.forget_newest(saga)),
            Forgets::Saga(saga) => drop(self.known.forget(saga)),
            Forgets::All => self.known.forget_all(),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: SnapshotStorage> SnapshotStorage for Cached<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let mut sagas: Vec<SagaId> = records.iter().map(|record| record.saga_id.clone()).collect();
        sagas.dedup();
        // That it was taken does not say that it is the newest: it may have been there already, with others behind it.
        let _change = Change { known: &self.known, forgets: Forgets::Newest(sagas.clone()) };
        let result = self.inner.append(records).await;
        if result.as_ref().is_err_and(|error| error.is(ErrorKind::Conflict)) {
            for saga in &sagas {
                self.known.forget(saga);
            }
        }
        result
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        let asked = self.known.ask(saga, self.clock.now());
        if let Some(record) = self.remembered(&asked, &at) {
            return Ok(Some(record));
        }
        let found = self.inner.load(saga, at.clone()).await?;
        match (&found, at) {
            (Some(record), At::Latest) => self.known.note_newest(&asked, record),
            (None, At::Latest) => drop(self.known.forget(saga)),
            (Some(record), _) => self.known.note(&asked, record),
            (None, _) => {}
        }
        Ok(found)
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        self.inner.list(query)
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        self.inner.sagas(query)
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        let forgets = match &request.scope {
            PruneScope::Saga(saga) | PruneScope::KeepNewest { saga_id: Some(saga), .. } => Forgets::Saga(saga.clone()),
            PruneScope::Record(id) => Forgets::Saga(id.saga_id.clone()),
            PruneScope::Expired { .. } | PruneScope::KeepNewest { saga_id: None, .. } => Forgets::All,
        };
        let _change = (!request.dry_run).then(|| Change { known: &self.known, forgets });
        self.inner.prune(request).await
    }
}

impl<S: SnapshotStorage> fmt::Display for Cached<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cached({})", self.inner)
    }
}

impl<S: fmt::Debug> fmt::Debug for Cached<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, known, max_stale, max_age, .. } = self;
        f.debug_struct("Cached")
            .field("inner", inner)
            .field("max_stale", max_stale)
            .field("max_age", max_age)
            .field("heads", &known.heads.entry_count())
            .field("records", &known.records.entry_count())
            .finish_non_exhaustive()
    }
}
