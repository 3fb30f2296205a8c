//! Running sagas: starting, resuming, forking, and telling who runs what.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::OnceCell;
use tracing::Instrument;

use super::{
    Observer, RetryPolicy, RunEvent, RunReport, Saga, StopSignal,
    capture::Held,
    drive::{Head, Run},
    lease::{self, Lease},
    state::Position,
};
use crate::{Clock, Error, ErrorKind, HistoryId, IdSource, Result, Retry, RunnerId, SagaId, SnapshotRecord, Store, SystemClock};

/// Runs sagas on a store. Clones are cheap and share everything; one runner serves a whole process.
///
/// Every snapshot names the runner that wrote it. A runner holds one lease, a cell of the store that it renews while it lives, so
/// that others can tell a saga that is running from one whose process has died.
#[derive(Clone)]
pub struct Runner(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<IdSource>,
    pub(super) runner_id: RunnerId,
    pub(super) capture_retry: RetryPolicy,
    observer: Option<Arc<dyn Observer>>,
    lease_length: Duration,
    lease: OnceCell<Option<Lease>>,
    active: Mutex<HashSet<SagaId>>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("id", &self.0.runner_id).field("store", &self.0.store).finish_non_exhaustive()
    }
}

/// Puts a [`Runner`] together.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RunnerBuilder {
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<IdSource>,
    observer: Option<Arc<dyn Observer>>,
    lease_length: Duration,
    capture_retry: RetryPolicy,
}

impl RunnerBuilder {
    /// Sets the clock; by default the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets where new ids and jitter come from; by default random.
    pub fn ids(mut self, ids: Arc<IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// Sets who is told what runs do.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Sets for how long the runner counts as alive without a sign of life, on other hosts than its own; by default 30 s, from 1 s to 24 h. It
    /// renews its lease three times in that span.
    pub fn lease(mut self, length: Duration) -> Self {
        self.lease_length = length.clamp(Duration::from_secs(1), Duration::from_hours(24));
        self
    }

    /// Sets how often an append is repeated when its outcome is unknown or trying again may help; by default 5 attempts with
    /// pauses from 20 ms to 2 s.
    pub fn capture_retry(mut self, retry: RetryPolicy) -> Self {
        self.capture_retry = retry;
        self
    }

    /// The runner. It touches the store with its first saga.
    pub fn build(self) -> Runner {
        let runner_id = RunnerId::from_uuid(self.ids.uuid(self.clock.now()));
        Runner(Arc::new(Shared {
            store: self.store,
            clock: self.clock,
            ids: self.ids,
            runner_id,
            capture_retry: self.capture_retry,
            observer: self.observer,
            lease_length: self.lease_length,
            lease: OnceCell::new(),
            active: Mutex::default(),
        }))
    }
}

impl Shared {
    /// An id for a history that is about to begin.
    pub(super) fn new_history(&self) -> HistoryId {
        HistoryId::from_uuid(self.ids.uuid(self.clock.now()))
    }

    pub(super) fn observe(&self, saga: &SagaId, event: &RunEvent<'_>) {
        if let Some(observer) = &self.observer {
            observer.event(saga, event);
        }
    }

    pub(super) fn since(&self, start: DateTime<Utc>) -> Duration {
        (self.clock.now() - start).to_std().unwrap_or_default()
    }

    /// Appends, and repeats the same append while its outcome is unknown or trying again may help.
    pub(super) async fn append(&self, record: &SnapshotRecord) -> Result<()> {
        let mut attempt = 1;
        loop {
            let error = match self.store.snapshots().append(vec![record.clone()]).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if error.retry_advice() == Retry::Never || attempt >= self.capture_retry.max_attempts {
                return Err(error);
            }
            tracing::debug!(saga = %record.saga_id, sequence = record.sequence, attempt, %error, "append is repeated");
            self.clock.sleep(self.capture_retry.pause(attempt, self.ids.unit())).await;
            attempt += 1;
        }
    }

    pub(super) async fn take_lease(&self) -> Result<()> {
        let take = || async {
            let Ok(cells) = self.store.cells() else { return Ok(None) };
            Lease::take(cells.clone(), self.clock.clone(), self.runner_id, self.lease_length).await.map(Some)
        };
        self.lease.get_or_try_init(take).await.map(drop)
    }

    /// Marks `saga` as run by this runner until the guard is dropped.
    pub(super) fn activate(self: &Arc<Self>, saga: &SagaId) -> Result<Active> {
        if !self.active.lock().insert(saga.clone()) {
            return Err(Error::new(ErrorKind::Busy, "run saga").message("this runner is running it already").with("saga", saga));
        }
        Ok(Active { shared: self.clone(), saga: saga.clone() })
    }
}

/// Says that a runner runs a saga, until it is dropped.
pub(crate) struct Active {
    shared: Arc<Shared>,
    saga: SagaId,
}

impl fmt::Debug for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Active").field(&self.saga).finish()
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.shared.active.lock().remove(&self.saga);
    }
}

impl Runner {
    /// A runner on `store` with the defaults.
    pub fn new(store: Store) -> Self {
        Self::builder(store).build()
    }

    /// Begins a runner on `store`.
    pub fn builder(store: Store) -> RunnerBuilder {
        RunnerBuilder {
            store,
            clock: Arc::new(SystemClock),
            ids: Arc::new(IdSource::default()),
            observer: None,
            lease_length: Duration::from_secs(30),
            capture_retry: RetryPolicy::attempts(5).with_backoff(Duration::from_millis(20), 3.0, Duration::from_secs(2)),
        }
    }

    /// This runner's id, as its snapshots name it.
    pub fn id(&self) -> RunnerId {
        self.0.runner_id
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Where new ids come from.
    pub fn ids(&self) -> &Arc<IdSource> {
        &self.0.ids
    }

    /// Whether a runner is alive: this one, one whose lease runs, or one of this host whose process runs.
    ///
    /// # Errors
    /// The store's own.
    pub async fn is_alive(&self, runner: RunnerId) -> Result<bool> {
        if runner == self.0.runner_id {
            return Ok(true);
        }
        match self.0.store.cells() {
            Ok(cells) => Ok(lease::is_alive(&**cells, runner).await?.is_some()),
            Err(_) => Ok(false),
        }
    }

    /// Whether this very runner runs the saga right now.
    pub fn is_running(&self, saga: &SagaId) -> bool {
        self.0.active.lock().contains(saga)
    }

    pub(super) fn run<C>(&self, saga: &Saga<C>, head: Head, position: Position, context: Held<C>, stop: StopSignal) -> Run<'_, C> {
        Run {
            shared: &self.0,
            saga: saga.clone(),
            head,
            position,
            context,
            context_size: 0,
            captured: false,
            uncaptured: None,
            pruned_to: 0,
            unsure: Vec::new(),
            stop,
            cancelled: None,
            steps: Vec::new(),
            missing: Vec::new(),
            interrupted: false,
            started_at: self.0.clock.now(),
        }
    }

    pub(super) async fn go<C>(&self, run: Run<'_, C>) -> Result<RunReport<C>>
    where
        C: Serialize + DeserializeOwned + Clone + Send + 'static,
    {
        let span = tracing::info_span!("saga", id = %run.head.saga_id, name = %run.saga.outline().name());
        run.finish().instrument(span).await
    }
}
