//! Running sagas: starting, resuming, forking, and telling who runs what.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::OnceCell;
use tracing::Instrument;

use super::{
    Observer, ResumeOptions, RetryPolicy, RunEvent, RunReport, Saga, SnapshotPolicy, StartOptions, StopSignal,
    capture::Held,
    drive::{Head, Run},
    lease::{self, Lease},
    state::Position,
};
use crate::{
    Clock, Digest, Error, ErrorKind, IdSource, Labels, Origin, Phase, Result, RunnerId, SagaId, SagaStatus, Snapshot, StepRanges, Store,
    SystemClock, storage::At,
};

/// Runs sagas on a store. Clones are cheap and share everything; one runner serves a whole process.
///
/// Every snapshot names the runner that wrote it. A runner holds one lease, a cell of the store that it renews while it lives, so
/// that others can tell a saga that is running from one whose process has died.
#[derive(Clone)]
pub struct Runner(Arc<Shared>);

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

    /// Sets for how long the runner counts as alive without a sign of life, on other hosts than its own; by default 30 s. It
    /// renews its lease three times in that span.
    pub fn lease(mut self, length: Duration) -> Self {
        self.lease_length = length;
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
    pub(super) fn observe(&self, saga: &SagaId, event: &RunEvent<'_>) {
        if let Some(observer) = &self.observer {
            observer.event(saga, event);
        }
    }

    pub(super) fn since(&self, start: DateTime<Utc>) -> Duration {
        (self.clock.now() - start).to_std().unwrap_or_default()
    }

    async fn take_lease(&self) -> Result<()> {
        let take = || async {
            let Ok(cells) = self.store.cells() else { return Ok(None) };
            Lease::take(cells.clone(), self.clock.clone(), self.runner_id, self.lease_length).await.map(Some)
        };
        self.lease.get_or_try_init(take).await.map(drop)
    }

    /// Marks `saga` as run by this runner until the guard is dropped.
    fn activate(self: &Arc<Self>, saga: &SagaId) -> Result<Active> {
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

/// A saga that a replay has prepared: where it stands before it runs.
#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) id: SagaId,
    /// That this runner runs it, from before it is said anywhere that it exists.
    pub(crate) active: Active,
    pub(crate) context: Bytes,
    pub(crate) completed: StepRanges,
    pub(crate) origin: Origin,
    pub(crate) prev_digest: Digest,
    pub(crate) labels: Arc<Labels>,
    pub(crate) external_refs: Arc<BTreeMap<String, String>>,
    pub(crate) policy: Option<Arc<SnapshotPolicy>>,
    pub(crate) actor: Option<Arc<str>>,
    pub(crate) stop: StopSignal,
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

    /// Starts `saga` with `context` under a new id and runs it to its end.
    ///
    /// # Errors
    /// As [`start_with`](Runner::start_with).
    pub async fn start<C>(&self, saga: &Saga<C>, context: C) -> Result<RunReport<C>>
    where
        C: Serialize + DeserializeOwned + Clone + Send + 'static,
    {
        self.start_with(saga, context, StartOptions::default()).await
    }

    /// Starts `saga` with `context` and runs it to its end.
    ///
    /// An id that exists with the same definition and the same first context is the same start: the saga is resumed if its runner
    /// is gone, or its result is given if it has ended.
    ///
    /// # Errors
    /// - `Conflict`: the id exists and is not the same start, or runs right now.
    /// - `LimitExceeded`, `Invalid`: the context is too large, or cannot become JSON.
    /// - The store's own errors, if a snapshot cannot be captured. Nothing more is executed then; the saga can be resumed.
    ///
    /// That the saga fails is no error but told by the report.
    /// # Cancel safety
    /// A dropped future is like a crash: the saga stays at its newest snapshot and can be resumed.
    pub async fn start_with<C>(&self, saga: &Saga<C>, context: C, options: StartOptions) -> Result<RunReport<C>>
    where
        C: Serialize + DeserializeOwned + Clone + Send + 'static,
    {
        let shared = &self.0;
        let id = options.id.unwrap_or_else(|| shared.ids.saga_id(shared.clock.now()));
        let _active =
            shared.activate(&id).map_err(|error| Error::new(ErrorKind::Conflict, "start saga").with("saga", &id).caused_by(error))?;
        shared.take_lease().await?;
        let recorded_policy = options.policy.map(Arc::new);
        let mut labels = options.labels;
        saga.definition().label(&mut labels, &context)?;
        let head = Head {
            saga_id: id.clone(),
            sequence: 0,
            prev_digest: Digest::ZERO,
            created_at: None,
            labels: Arc::new(labels),
            external_refs: Arc::new(options.external_refs),
            origin: None,
            actor: options.actor,
            policy: recorded_policy.clone().unwrap_or_else(|| saga.policy().clone()),
            recorded_policy,
        };
        let mut run = self.run(saga, head, Position::new(saga.outline().clone()), Held::value(context), options.stop);
        let text = run.encode_context()?;
        if let Some(newest) = self.existing(&id).await? {
            drop(run);
            return self.same_start(saga, &newest, &text).await;
        }
        self.go(run).await
    }

    /// The newest snapshot of a saga that exists. One read at the start is cheaper than telling a conflict apart afterwards.
    async fn existing(&self, id: &SagaId) -> Result<Option<Snapshot>> {
        self.0.store.snapshots().load(id, At::Latest).await?.map(crate::SnapshotRecord::decode).transpose()
    }

    async fn same_start<C>(&self, saga: &Saga<C>, newest: &Snapshot, input: &Bytes) -> Result<RunReport<C>>
    where
        C: Serialize + DeserializeOwned + Clone + Send + 'static,
    {
        let conflict = |message: &str| Err(Error::new(ErrorKind::Conflict, "start saga").message(message).with("saga", &newest.saga_id));
        if newest.outline != *saga.outline() {
            return conflict("the id is in use by a saga with another definition");
        }
        let first = self.0.store.snapshots().load(&newest.saga_id, At::Sequence(1)).await?;
        let Some(first) = first.filter(|first| first.phase == Phase::BeforeStep && first.completed.is_empty()) else {
            return conflict("the id is in use, and what it was started with is no longer known");
        };
        if first.content_digest() != Digest::of(input) {
            return conflict("the id is in use by a saga that was started with another context");
        }
        if newest.status.is_terminal() || newest.status == SagaStatus::Parked {
            return self.ended_report(newest);
        }
        self.resume_here(saga, newest, ResumeOptions::default()).await
    }

    fn ended_report<C: DeserializeOwned + Send>(&self, newest: &Snapshot) -> Result<RunReport<C>> {
        Ok(RunReport {
            saga_id: newest.saga_id.clone(),
            status: newest.status,
            context: newest.context_as()?,
            failure: newest.failure.clone(),
            steps: Vec::new(),
            uncompensated: Vec::new(),
            missing_captures: Vec::new(),
            sequence: newest.sequence,
            interrupted: false,
            started_at: self.0.clock.now(),
            duration: Duration::ZERO,
        })
    }

    /// Goes on with an interrupted or parked saga from its newest snapshot, with the defaults.
    ///
    /// # Errors
    /// As [`resume_with`](Runner::resume_with).
    pub async fn resume<C>(&self, saga: &Saga<C>, id: &SagaId) -> Result<RunReport<C>>
    where
        C: Serialize + DeserializeOwned + Clone + Send + 'static,
    {
        self.resume_with(saga, id, ResumeOptions::default()).await
    }

    /// Goes on with an interrupted or parked saga from its newest snapshot. The step that was running when its runner died is
    /// executed again, with the same idempotency key.
    ///
    /// # Errors
    /// - `NotFound`: there is no such saga. `Refused`: it has ended, or the definition differs from the recorded one.
    /// - `Busy`: its runner is alive. `Conflict`: somebody else resumed it at the same time.
    /// - The store's own, as for [`start_with`](Runner::start_with).
    pub async fn resume_with<C>(&self, saga: &Saga<C>, id: &SagaId, options: ResumeOptions) -> Result<RunReport<C>>
    where
        C: Serialize + DeserializeOwned + Clone + Send + 'static,
    {
        let _active = self.0.activate(id)?;
        self.0.take_lease().await?;
        let Some(newest) = self.existing(id).await? else {
            return Err(Error::new(ErrorKind::NotFound, "resume saga").message("there is no such saga").with("saga", id));
        };
        self.resume_here(saga, &newest, options).await
    }

    async fn resume_here<C>(&self, saga: &Saga<C>, newest: &Snapshot, options: ResumeOptions) -> Result<RunReport<C>>
    where
        C: Serialize + DeserializeOwned + Clone + Send + 'static,
    {
        let refused = |message: String, hint: &str| {
            Err(Error::new(ErrorKind::Refused, "resume saga").message(message).hint(hint).with("saga", &newest.saga_id))
        };
        if newest.status.is_terminal() {
            return refused(format!("it has ended as {}", newest.status), "replay it from a checkpoint instead");
        }
        if newest.outline.name() != saga.outline().name() {
            return refused(format!("it is a saga `{}`, not `{}`", newest.saga_name(), saga.outline().name()), "give its own definition");
        }
        if newest.outline != *saga.outline() && !options.allow_definition_change {
            return refused("its definition has changed since".to_owned(), "allow a changed definition if that is meant");
        }
        if !options.force {
            self.check_runner(newest).await?;
        }
        let completed = super::outline_change::carry(&newest.outline, saga.outline(), &newest.completed)?;
        let compensated = super::outline_change::carry(&newest.outline, saga.outline(), &newest.compensated)?;
        let mut position = Position::at(saga.outline().clone(), newest.status, completed, compensated, newest.failure.clone());
        position.unpark();
        let head = Head {
            saga_id: newest.saga_id.clone(),
            sequence: newest.sequence,
            prev_digest: newest.digest(),
            created_at: Some(newest.created_at),
            labels: newest.labels.clone(),
            external_refs: newest.external_refs.clone(),
            origin: newest.origin.clone(),
            actor: options.actor.or_else(|| newest.actor.clone()),
            policy: newest.policy.clone().unwrap_or_else(|| saga.policy().clone()),
            recorded_policy: newest.policy.clone(),
        };
        let mut run = self.run(saga, head, position, Held::text(newest.context_text().clone()), options.stop);
        run.context.get()?;
        run.take_over().await?;
        self.go(run).await
    }

    /// Refuses a saga whose runner is alive.
    async fn check_runner(&self, newest: &Snapshot) -> Result<()> {
        let (Some(runner), Ok(cells)) = (newest.runner, self.0.store.cells()) else { return Ok(()) };
        if runner == self.0.runner_id {
            return Ok(());
        }
        match lease::is_alive(&**cells, runner).await? {
            None => Ok(()),
            Some(owner) => Err(Error::new(ErrorKind::Busy, "resume saga")
                .message("its runner is alive")
                .hint("wait for it, cancel the saga, or take it over by force if that runner no longer works on it")
                .with("saga", &newest.saga_id)
                .with("host", owner.host.split(' ').next().unwrap_or_default())
                .with("pid", owner.pid)),
        }
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

    /// Says that this runner runs the saga `id`, before it has a history.
    ///
    /// # Errors
    /// `Busy` if it does already, or the store's own.
    pub(crate) async fn reserve(&self, id: &SagaId) -> Result<Active> {
        let active = self.0.activate(id)?;
        self.0.take_lease().await?;
        Ok(active)
    }

    pub(crate) async fn run_fork<C>(&self, saga: &Saga<C>, fork: Fork) -> Result<RunReport<C>>
    where
        C: Serialize + DeserializeOwned + Clone + Send + 'static,
    {
        let _active = fork.active;
        let mut context = Held::text(fork.context);
        let mut labels = fork.labels;
        if !saga.definition().labels.is_empty() {
            saga.definition().label(Arc::make_mut(&mut labels), context.get()?)?;
        }
        let position = Position::at(saga.outline().clone(), SagaStatus::Executing, fork.completed, StepRanges::default(), None);
        let head = Head {
            saga_id: fork.id,
            sequence: 0,
            prev_digest: fork.prev_digest,
            created_at: None,
            labels,
            external_refs: fork.external_refs,
            origin: Some(Arc::new(fork.origin)),
            actor: fork.actor,
            policy: fork.policy.clone().unwrap_or_else(|| saga.policy().clone()),
            recorded_policy: fork.policy,
        };
        let mut run = self.run(saga, head, position, context, fork.stop);
        run.context.get()?;
        run.take_over().await?;
        self.go(run).await
    }

    fn run<C>(&self, saga: &Saga<C>, head: Head, position: Position, context: Held<C>, stop: StopSignal) -> Run<'_, C> {
        Run {
            shared: &self.0,
            saga: saga.clone(),
            head,
            position,
            context,
            context_size: 0,
            captured: false,
            pruned_to: 0,
            unsure: Vec::new(),
            stop,
            cancel_reason: None,
            steps: Vec::new(),
            missing: Vec::new(),
            interrupted: false,
            started_at: self.0.clock.now(),
        }
    }

    async fn go<C>(&self, run: Run<'_, C>) -> Result<RunReport<C>>
    where
        C: Serialize + DeserializeOwned + Clone + Send + 'static,
    {
        let span = tracing::info_span!("saga", id = %run.head.saga_id, name = %run.saga.outline().name());
        run.finish().instrument(span).await
    }
}

impl<C: Serialize + DeserializeOwned + Clone + Send + 'static> Run<'_, C> {
    /// Appends a record in this runner's name before anything runs, so that of several takers exactly one goes on.
    async fn take_over(&mut self) -> Result<()> {
        let first = self.position.wave().first().copied();
        let step = if self.position.next().is_empty() { None } else { first };
        self.capture_firmly(Phase::Resume, step).await
    }
}
