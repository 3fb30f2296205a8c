//! Going on with a saga that somebody else began: resuming it, or running a fork of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Disposition, ResumeOptions, RunReport, Runner, Saga, SnapshotPolicy, StepReport, StopSignal,
    capture::Held,
    control,
    drive::{Head, Run},
    lease, outline_change,
    runner::Active,
    state::Position,
};
use crate::{Digest, Error, ErrorKind, Labels, Origin, Phase, Result, SagaId, SagaStatus, Snapshot, StepRanges};

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

    pub(super) async fn resume_here<C>(&self, saga: &Saga<C>, newest: &Snapshot, options: ResumeOptions) -> Result<RunReport<C>>
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
        let completed = outline_change::carry(&newest.outline, saga.outline(), &newest.completed)?;
        let compensated = outline_change::carry(&newest.outline, saga.outline(), &newest.compensated)?;
        let mut position = Position::at(saga.outline().clone(), newest.status, completed, compensated, newest.failure.clone());
        position.unpark();
        let head = Head {
            saga_id: newest.saga_id.clone(),
            sequence: newest.sequence,
            prev_digest: newest.digest(),
            created_at: Some(newest.created_at),
            labels: control::without_snapshot_name(&newest.labels),
            external_refs: merged(&newest.external_refs, options.external_refs),
            origin: newest.origin.clone(),
            actor: options.actor.or_else(|| newest.actor.clone()),
            policy: newest.policy.clone().unwrap_or_else(|| saga.policy().clone()),
            recorded_policy: newest.policy.clone(),
            input: newest.input,
            history: newest.history,
        };
        let mut run = self.run(saga, head, position, Held::text(newest.context_text().clone()), options.stop);
        run.context.get()?;
        run.note_unknown(newest);
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
            input: None,
            history: Some(self.0.new_history()),
        };
        let mut run = self.run(saga, head, position, context, fork.stop);
        run.context.get()?;
        run.take_over().await?;
        self.go(run).await
    }
}

/// The recorded references, with newer ones in place of those of the same name.
fn merged(recorded: &Arc<BTreeMap<String, String>>, newer: Option<BTreeMap<String, String>>) -> Arc<BTreeMap<String, String>> {
    let mut refs = recorded.clone();
    if let Some(newer) = newer {
        Arc::make_mut(&mut refs).extend(newer);
    }
    refs
}

impl<C: Serialize + DeserializeOwned + Clone + Send + 'static> Run<'_, C> {
    /// Reports the steps that were perhaps running when the saga was cancelled without its runner.
    fn note_unknown(&mut self, newest: &Snapshot) {
        let in_flight = newest.failure.iter().flat_map(|failure| &failure.in_flight);
        self.steps.extend(in_flight.map(|name| StepReport {
            name: name.clone(),
            disposition: Disposition::Unknown,
            attempts: 0,
            started_at: newest.created_at,
            duration: Duration::ZERO,
        }));
    }

    /// Appends a record in this runner's name before anything runs, so that of several takers exactly one goes on.
    async fn take_over(&mut self) -> Result<()> {
        let first = self.position.wave().first().copied();
        let step = if self.position.next().is_empty() { None } else { first };
        self.capture_first(Phase::Resume, step).await
    }
}
