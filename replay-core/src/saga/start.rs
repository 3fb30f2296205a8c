//! Starting a saga, and recognising a start that was made before.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{ResumeOptions, RunReport, Runner, Saga, StartOptions, StopSignal, capture::Held, drive::Head, lease, state::Position};
use crate::{Digest, Error, ErrorKind, Phase, Result, SagaId, SagaStatus, Snapshot, SnapshotRecord, storage::At};

impl Runner {
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
    /// - `Conflict`: the id exists and is not the same start, or this runner runs it right now. `Busy`: another runner does.
    /// - `LimitExceeded`, `Invalid`: the context is too large, or cannot become JSON; more than 64 labels or external refs, or one
    ///   that is longer than 1,024 bytes.
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
        check_words("label", &labels)?;
        check_words("external ref", &options.external_refs)?;
        if options.actor.as_ref().is_some_and(|actor| actor.len() > MAX_WORD_BYTES) {
            return Err(too_long("actor", "the actor's name"));
        }
        let policy = recorded_policy.clone().unwrap_or_else(|| saga.policy().clone());
        let head = Head {
            saga_id: id.clone(),
            sequence: 0,
            prev_digest: Digest::ZERO,
            created_at: None,
            labels: Arc::new(labels),
            external_refs: Arc::new(options.external_refs),
            origin: None,
            actor: options.actor,
            policy: policy.clone(),
            recorded_policy,
            input: None,
            history: Some(shared.new_history()),
        };
        let (stop, actor) = (options.stop.clone(), head.actor.clone());
        let mut run = self.run(saga, head, Position::new(saga.outline().clone()), Held::value(context), options.stop);
        let input = Digest::of(&run.encode_context()?);
        run.head.input = policy.may_lose_input().then_some(input);
        if let Some(newest) = self.existing(&id).await? {
            drop(run);
            return self.same_start(saga, &newest, input, stop, actor).await;
        }
        if policy.begins_with_capture() {
            return self.go(run).await;
        }
        let Ok(cells) = shared.store.cells() else { return self.go(run).await };
        let claim = lease::claim_start(cells, &*shared.clock, shared.runner_id, &id).await?;
        // Whoever claimed it in between may have ended it as well.
        let report = match self.existing(&id).await? {
            Some(newest) => self.same_start(saga, &newest, input, stop, actor).await,
            None => self.go(run).await,
        };
        claim.give_up().await;
        report
    }

    /// The newest snapshot of a saga that exists. One read at the start is cheaper than telling a conflict apart afterwards.
    pub(super) async fn existing(&self, id: &SagaId) -> Result<Option<Snapshot>> {
        self.0.store.snapshots().load(id, At::Latest).await?.map(SnapshotRecord::decode).transpose()
    }

    async fn same_start<C>(
        &self,
        saga: &Saga<C>,
        newest: &Snapshot,
        input: Digest,
        stop: StopSignal,
        actor: Option<Arc<str>>,
    ) -> Result<RunReport<C>>
    where
        C: Serialize + DeserializeOwned + Clone + Send + 'static,
    {
        let conflict = |message: &str| Err(Error::new(ErrorKind::Conflict, "start saga").message(message).with("saga", &newest.saga_id));
        if newest.outline != *saga.outline() {
            return conflict("the id is in use by a saga with another definition");
        }
        let mut recorded = newest.input;
        if recorded.is_none() {
            let first = self.0.store.snapshots().load(&newest.saga_id, At::Sequence(1)).await?;
            let first = first.filter(|first| first.phase == Phase::BeforeStep && first.completed.is_empty());
            recorded = first.map(|first| first.content_digest());
        }
        let Some(recorded) = recorded else {
            return conflict("the id is in use, and what it was started with is not known");
        };
        if recorded != input {
            return conflict("the id is in use by a saga that was started with another context");
        }
        if newest.status.is_terminal() || newest.status == SagaStatus::Parked {
            return self.ended_report(newest);
        }
        self.resume_here(saga, newest, ResumeOptions { actor, stop, ..ResumeOptions::default() }).await
    }

    fn ended_report<C: DeserializeOwned + Send>(&self, newest: &Snapshot) -> Result<RunReport<C>> {
        Ok(RunReport {
            saga_id: newest.saga_id.clone(),
            status: newest.status,
            context: newest.context_as()?,
            failure: newest.failure.clone(),
            steps: Vec::new(),
            uncompensated: Position::of(newest).left_to_compensate(),
            missing_captures: Vec::new(),
            sequence: newest.sequence,
            interrupted: false,
            started_at: self.0.clock.now(),
            duration: Duration::ZERO,
        })
    }
}

/// The most labels, and the most external refs, that a saga may have: they are part of every snapshot.
const MAX_WORDS: usize = 64;

/// The longest key or value of a label or an external ref, and the longest actor's name.
const MAX_WORD_BYTES: usize = 1024;

fn check_words(what: &'static str, words: &BTreeMap<String, String>) -> Result<()> {
    if words.len() > MAX_WORDS {
        return Err(Error::new(ErrorKind::LimitExceeded, "start saga").message(format!("it has more than {MAX_WORDS} {what}s")));
    }
    match words.iter().find(|(key, value)| key.len().max(value.len()) > MAX_WORD_BYTES) {
        Some((key, _)) => Err(too_long(what, key)),
        None => Ok(()),
    }
}

fn too_long(what: &'static str, which: &str) -> Error {
    let which: String = which.chars().take(40).collect();
    Error::new(ErrorKind::LimitExceeded, "start saga")
        .message(format!("the {what} `{which}` is longer than {MAX_WORD_BYTES} bytes"))
        .hint("keep large values in the context")
}
