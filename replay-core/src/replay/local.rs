//! Replaying in this process.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tracing::Instrument;

use super::{
    CheckpointInfo, Lineage, ReplayEntry, ReplayPlan, ReplayRequest, ReplayResult, ReplayStatus, SagaReplay, checkpoint, lineage,
    log::{Closed, Opened, Opening, Proof, ReplayLog},
    prepare::Prepared,
};
use crate::{
    Error, ErrorKind, HistoryId, ReplayId, Result, SagaId,
    json::Redactor,
    saga::{Active, ForkHandle, Runner, SagaSource},
    storage::At,
};

/// Replays sagas on a [`Runner`] of this process. Clones are cheap and share the runner.
#[derive(Debug, Clone)]
pub struct LocalReplay {
    pub(super) runner: Runner,
    pub(super) source: Arc<dyn SagaSource>,
    pub(super) redactor: Redactor,
}

/// The ids of one replay, and when it was asked for.
pub(super) struct Attempt {
    pub(super) replay_id: ReplayId,
    pub(super) new_saga: SagaId,
    pub(super) at: DateTime<Utc>,
    /// The history of the original.
    pub(super) history: Option<HistoryId>,
}

impl LocalReplay {
    /// Replays on `runner` and its store, with the definitions that `source` knows.
    pub fn new(runner: Runner, source: impl SagaSource) -> Self {
        let source: Arc<dyn SagaSource> = Arc::new(source);
        Self { runner, source, redactor: Redactor::default() }
    }

    /// Sets what is kept out of the replay log; by default values under keys that look secret.
    #[must_use]
    pub fn with_redactor(mut self, redactor: Redactor) -> Self {
        self.redactor = redactor;
        self
    }

    /// The runner that it replays on.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// The log of the replays of a history of `original`, if the store keeps logs.
    pub(super) fn log(&self, original: &SagaId, history: Option<HistoryId>) -> Result<ReplayLog<'_>> {
        Ok(ReplayLog::of(&**self.runner.store().logs()?, original, history))
    }

    pub(super) fn opened(&self, request: &ReplayRequest, attempt: &Attempt, prepared: Option<&Prepared>) -> Opened {
        let plan = prepared.map(|prepared| &prepared.planned.plan);
        Opened {
            replay_id: attempt.replay_id,
            original: request.saga_id.clone(),
            new_saga: Some(attempt.new_saga.clone()),
            checkpoint: request.checkpoint.clone(),
            sequence: plan.map(|plan| plan.sequence),
            context_override: request.context_override.redacted(&self.redactor),
            keys: request.keys,
            compensated: request.compensated,
            force_failure: request.force_failure.clone(),
            fingerprint: plan.map(|plan| plan.definition.used),
            initiated_by: request.initiated_by.clone(),
            reason: request.reason.clone(),
            replay_key: request.replay_key.clone(),
            runner: self.runner.id(),
            dry_run: request.dry_run,
            // Only a request with a replay key is ever compared with another.
            proof: request.replay_key.as_ref().map(|_| Proof::of(request, self.runner.ids().uuid(attempt.at))),
            at: attempt.at,
        }
    }

    pub(super) fn refused(&self, attempt: &Attempt, error: &Error) -> Closed {
        // What a context holds is in the error that the caller gets, but not for everybody who reads the log.
        let text = match error.fact("place") {
            Some(place) => format!("{}: the context does not fit, place={place}", error.kind()),
            None => error.to_string(),
        };
        Closed {
            replay_id: attempt.replay_id,
            status: ReplayStatus::Failed,
            refused: true,
            saga_status: None,
            error: Some(text),
            at: self.runner.clock().now(),
        }
    }

    /// Writes into the log what ran nothing: a refusal, or a dry run. The caller gets the refusal itself, so that a log that cannot be
    /// written is only told beside it.
    async fn note(&self, request: &ReplayRequest, attempt: &Attempt, prepared: Option<&Prepared>, closed: Closed) -> Option<String> {
        let log = self.log(&request.saga_id, attempt.history).ok()?;
        let opened = Opened { new_saga: None, ..self.opened(request, attempt, prepared) };
        let error = log.note(opened, closed).await.err()?;
        tracing::warn!(original = %request.saga_id, %error, "a replay that ran nothing is not in the log");
        Some(format!("the replay log could not be written: {error}"))
    }

    async fn replay_here(&self, request: ReplayRequest) -> Result<ReplayResult> {
        request.replay_key.as_deref().map(check_key).transpose()?;
        let history = self.newest(&request.saga_id).await?.ok_or_else(|| checkpoint::unknown(&request.saga_id))?.history;
        if let Some(key) = &request.replay_key {
            let log = self.log(&request.saga_id, history).map_err(|error| {
                error.hint("a replay key needs a store that keeps logs; replay without one").with("saga", &request.saga_id)
            })?;
            if !request.dry_run
                && let Some(entry) = log.with_key(key).await?
            {
                return self.existing(request, entry).await;
            }
        }
        let at = self.runner.clock().now();
        let ids = self.runner.ids();
        let new_saga = request.new_id.clone().unwrap_or_else(|| ids.saga_id(at));
        let attempt = Attempt { replay_id: ReplayId::from_uuid(ids.uuid(at)), new_saga, at, history };
        let mut prepared = match self.prepare(&request, &attempt.new_saga).await {
            Ok(prepared) => prepared,
            Err(error) => {
                if is_refusal(&error) {
                    self.note(&request, &attempt, None, self.refused(&attempt, &error)).await;
                }
                return Err(error);
            }
        };
        if request.dry_run {
            self.look_up_key(&request, &mut prepared).await?;
        }
        let refusal = if prepared.refusals.is_empty() { None } else { Some(prepared.refusals.swap_remove(0)) };
        if request.dry_run {
            return Ok(self.dry_run(&request, &attempt, prepared, refusal.as_ref()).await);
        }
        if let Some(error) = refusal {
            self.note(&request, &attempt, Some(&prepared), self.refused(&attempt, &error)).await;
            return Err(error);
        }
        let active = self.runner.reserve(&attempt.new_saga).await?;
        if let Ok(log) = self.log(&request.saga_id, attempt.history)
            && let Opening::Existing(entry) = log.open(self.opened(&request, &attempt, Some(&prepared))).await?
        {
            drop(active);
            return self.existing(request, *entry).await;
        }
        self.run(&request, &attempt, prepared, active).await
    }

    /// What a replay key that is known means for a replay that is only planned.
    async fn look_up_key(&self, request: &ReplayRequest, prepared: &mut Prepared) -> Result<()> {
        let Some(key) = &request.replay_key else { return Ok(()) };
        let Some(entry) = self.log(&request.saga_id, prepared.history())?.with_key(key).await? else { return Ok(()) };
        if entry.is_same(request, &self.redactor) {
            let warning = format!("the replay key belongs to replay {}: that one is shown, and no second one runs", entry.replay_id);
            prepared.planned.plan.warnings.push(warning);
        } else {
            prepared.refuse(key_in_use(request, &entry));
        }
        Ok(())
    }

    /// The log's entries about a history of `saga`, each as it stands.
    async fn entries(&self, saga: &SagaId, history: Option<HistoryId>) -> Result<Vec<ReplayEntry>> {
        let (entries, _) = self.log(saga, history)?.read().await?;
        let mut current = Vec::with_capacity(entries.len());
        for entry in entries {
            current.push(self.current(entry).await?);
        }
        Ok(current)
    }

    async fn dry_run(&self, request: &ReplayRequest, attempt: &Attempt, prepared: Prepared, refusal: Option<&Error>) -> ReplayResult {
        let status = if refusal.is_some() { ReplayStatus::Failed } else { ReplayStatus::Success };
        let closed = match refusal {
            Some(error) => self.refused(attempt, error),
            None => Closed {
                replay_id: attempt.replay_id,
                status,
                refused: false,
                saga_status: None,
                error: None,
                at: self.runner.clock().now(),
            },
        };
        let warning = self.note(request, attempt, Some(&prepared), closed).await;
        ReplayResult {
            replay_id: attempt.replay_id,
            original: request.saga_id.clone(),
            new_saga: None,
            status,
            plan: Some(prepared.planned.plan),
            report: None,
            existing: false,
            logged: warning.is_none() && self.runner.store().logs().is_ok(),
            warnings: warning.into_iter().collect(),
        }
    }

    /// Runs what is prepared and, if the store keeps logs, opened there; closes the entry.
    pub(super) async fn run(&self, request: &ReplayRequest, attempt: &Attempt, prepared: Prepared, active: Active) -> Result<ReplayResult> {
        let fork = prepared.fork(request, attempt.replay_id, active);
        let report = match prepared.saga.run_fork(&self.runner, ForkHandle(fork)).await {
            Ok(report) => report,
            Err(error) => return Err(self.did_not_end(request, attempt, error).await),
        };
        let failure = report.failure.as_ref().map(|failure| failure.kind);
        let status = if report.interrupted { ReplayStatus::Running } else { ReplayStatus::of(report.status, failure) };
        metrics::counter!("replay_replays_total", "status" => status.as_str()).increment(1);
        let mut warnings = Vec::new();
        let log = self.log(&request.saga_id, attempt.history).ok();
        if status != ReplayStatus::Running
            && let Some(log) = &log
        {
            let closed = Closed {
                replay_id: attempt.replay_id,
                status,
                refused: false,
                saga_status: Some(report.status),
                error: report.failure.as_ref().map(ToString::to_string),
                at: self.runner.clock().now(),
            };
            if let Err(error) = log.close(closed).await {
                tracing::warn!(replay = %attempt.replay_id, %error, "the end of a replay is not in the log");
                warnings.push(format!("the replay log could not be written after the run: {error}"));
            }
        }
        Ok(ReplayResult {
            replay_id: attempt.replay_id,
            original: request.saga_id.clone(),
            new_saga: Some(attempt.new_saga.clone()),
            status,
            plan: Some(prepared.planned.plan),
            report: Some(report),
            existing: false,
            logged: log.is_some(),
            warnings,
        })
    }

    /// The run ended with an error of the store. If not even its first snapshot is there, nothing ran, and the entry is closed.
    async fn did_not_end(&self, request: &ReplayRequest, attempt: &Attempt, error: Error) -> Error {
        let head = self.runner.store().snapshots().load(&attempt.new_saga, At::Latest).await;
        let ours = |head: &crate::SnapshotRecord| head.origin.as_ref().is_some_and(|origin| origin.replay_id == attempt.replay_id);
        let nothing_ran = matches!(&head, Ok(None)) || matches!(&head, Ok(Some(head)) if !ours(head));
        if !nothing_ran {
            return error.with("replay", attempt.replay_id).with("new_saga", &attempt.new_saga);
        }
        if let Ok(log) = self.log(&request.saga_id, attempt.history)
            && let Err(error) = log.close(self.refused(attempt, &error)).await
        {
            tracing::warn!(replay = %attempt.replay_id, %error, "a replay that ran nothing is still open in the log");
        }
        error.with("replay", attempt.replay_id)
    }
}

/// Whether nothing ran because of what was asked for, rather than because of the store.
pub(super) fn is_refusal(error: &Error) -> bool {
    let kinds = [ErrorKind::Invalid, ErrorKind::NotFound, ErrorKind::Refused, ErrorKind::Conflict, ErrorKind::LimitExceeded];
    // A saga that does not exist has no log either.
    kinds.contains(&error.kind()) && error.detail() != Some(checkpoint::NO_SUCH_SAGA)
}

/// The refusal of a replay key that belongs to another replay.
pub(super) fn key_in_use(request: &ReplayRequest, entry: &ReplayEntry) -> Error {
    Error::new(ErrorKind::Conflict, "replay saga")
        .message("the replay key was used for another replay of this saga")
        .hint("ask for the same replay, or use another key")
        .with("saga", &request.saga_id)
        .with("replay", entry.replay_id)
}

fn check_key(key: &str) -> Result<()> {
    if key.is_empty() || key.len() > crate::MAX_ID_BYTES || key.chars().any(char::is_control) {
        return Err(Error::invalid("replay saga", "a replay key has 1 to 255 bytes without control characters"));
    }
    Ok(())
}

#[async_trait]
impl SagaReplay for LocalReplay {
    async fn replay(&self, request: ReplayRequest) -> Result<ReplayResult> {
        let span = tracing::info_span!("replay", original = %request.saga_id, dry_run = request.dry_run);
        self.replay_here(request).instrument(span).await
    }

    async fn plan(&self, request: &ReplayRequest) -> Result<ReplayPlan> {
        let result = self.replay(request.clone().with_dry_run(true)).await?;
        result.plan.ok_or_else(|| Error::new(ErrorKind::Internal, "plan replay").message("the dry run has no plan"))
    }

    async fn history(&self, saga: &SagaId) -> Result<Lineage> {
        let store = &**self.runner.store().snapshots();
        let newest = store.load(saga, At::Latest).await?.ok_or_else(|| checkpoint::unknown(saga))?;
        let mut lineage = lineage::tree(store, &newest).await?;
        if self.runner.store().logs().is_ok() {
            for at in 0..lineage.sagas.len() {
                let saga = &lineage.sagas[at];
                // What was made of a saga knows its history also when it was deleted, and another one has its id.
                let history = match lineage.origins_in(&saga.saga_id).find_map(|origin| origin.history) {
                    None => self.newest(&saga.saga_id).await?.and_then(|newest| newest.history),
                    known => known,
                };
                lineage.sagas[at].replays = self.entries(&lineage.sagas[at].saga_id, history).await?;
            }
        }
        Ok(lineage)
    }

    async fn checkpoints(&self, saga: &SagaId) -> Result<Vec<CheckpointInfo>> {
        checkpoint::all(&**self.runner.store().snapshots(), saga, self.runner.clock().now()).await
    }

    async fn replays(&self, saga: &SagaId) -> Result<Vec<ReplayEntry>> {
        self.runner.store().logs()?;
        match self.newest(saga).await? {
            Some(newest) => self.entries(saga, newest.history).await,
            None => Ok(Vec::new()),
        }
    }
}
