//! Replays that were begun before: how they stand, how they go on, how their entries are closed.

use serde_json::Value;

use super::{
    LocalReplay, ReplayEntry, ReplayRequest, ReplayResult, ReplayStatus, checkpoint,
    local::{Attempt, is_refusal, key_in_use},
    log::Closed,
};
use crate::{
    ErrorKind, Result, RunnerId, SagaId, SagaStatus, SnapshotMeta, SnapshotRecord,
    saga::{ResumeOptions, RunReport, find},
    storage::At,
};

impl LocalReplay {
    /// Resumes a saga, with the definition that it was made with, and writes into the replay log how the replay that made it ended.
    ///
    /// # Errors
    /// As [`Runner::resume_with`](crate::saga::Runner::resume_with), and `NotFound` if the definition is not known.
    pub async fn resume(&self, saga: &SagaId, options: ResumeOptions) -> Result<RunReport<Value>> {
        let newest = self.newest(saga).await?.ok_or_else(|| checkpoint::unknown(saga))?;
        let definition = find(&*self.source, &newest).await?;
        let report = definition.resume(&self.runner, saga, options).await?;
        if !report.interrupted
            && let Err(error) = self.settle(&newest, report.status, &report).await
        {
            tracing::warn!(%saga, %error, "the end of a replay is not in the log");
        }
        Ok(report)
    }

    /// Brings the replay log in line with the saga: if a replay made it, and it has ended or is parked, the replay's entry is closed.
    /// To be called after a saga was resumed in another way than by [`resume`](Self::resume). Gives the entry as it then stands; none
    /// if no replay made the saga, or the store keeps no logs.
    ///
    /// # Errors
    /// `NotFound`, or the store's own.
    pub async fn reconcile(&self, saga: &SagaId) -> Result<Option<ReplayEntry>> {
        let newest = self.newest(saga).await?.ok_or_else(|| checkpoint::unknown(saga))?;
        let Some(entry) = self.entry_of(&newest).await? else { return Ok(None) };
        if !entry.is_open() {
            return Ok(Some(entry));
        }
        let was_closed_as = entry.closed;
        let mut entry = self.current(entry).await?;
        let has_ended = !matches!(entry.status, ReplayStatus::Pending | ReplayStatus::Running);
        if has_ended && was_closed_as != Some(newest.status) {
            self.close(&newest, &entry, newest.status).await?;
            entry.closed = Some(newest.status);
        }
        Ok(Some(entry))
    }

    pub(super) async fn newest(&self, saga: &SagaId) -> Result<Option<SnapshotRecord>> {
        self.runner.store().snapshots().load(saga, At::Latest).await
    }

    /// The entry of the replay that made a saga.
    async fn entry_of(&self, saga: &SnapshotMeta) -> Result<Option<ReplayEntry>> {
        let Some(origin) = &saga.origin else { return Ok(None) };
        let Ok(log) = self.log(&origin.saga_id, origin.history) else { return Ok(None) };
        Ok(log.read().await?.0.into_iter().find(|entry| entry.replay_id == origin.replay_id))
    }

    /// Closes the entry of the replay that made a saga, whose run has just ended.
    async fn settle(&self, saga: &SnapshotMeta, status: SagaStatus, report: &RunReport<Value>) -> Result<()> {
        let Some(mut entry) = self.entry_of(saga).await?.filter(ReplayEntry::is_open) else { return Ok(()) };
        if entry.closed == Some(status) {
            return Ok(());
        }
        entry.status = ReplayStatus::of(status, report.failure.as_ref().map(|failure| failure.kind));
        entry.error = report.failure.as_ref().map(ToString::to_string);
        self.close(saga, &entry, status).await
    }

    async fn close(&self, saga: &SnapshotMeta, entry: &ReplayEntry, status: SagaStatus) -> Result<()> {
        let Some(origin) = &saga.origin else { return Ok(()) };
        let closed = Closed {
            replay_id: origin.replay_id,
            status: entry.status,
            refused: false,
            saga_status: Some(status),
            error: entry.error.clone(),
            at: self.runner.clock().now(),
        };
        self.log(&origin.saga_id, origin.history)?.close(closed).await
    }

    /// The entry with what its new saga says, if the log does not know its end.
    pub(super) async fn current(&self, mut entry: ReplayEntry) -> Result<ReplayEntry> {
        let Some(new_saga) = entry.new_saga.clone().filter(|_| entry.is_open()) else { return Ok(entry) };
        let head = self.newest(&new_saga).await?;
        let head = head.filter(|head| head.origin.as_ref().is_some_and(|origin| origin.replay_id == entry.replay_id));
        let Some(head) = head else {
            // A saga that is gone was deleted after its replay had been closed.
            if entry.closed.is_none() {
                entry.interrupted = !self.is_at_it(entry.runner, &new_saga).await?;
            }
            return Ok(entry);
        };
        entry.status = ReplayStatus::of(head.status, head.failure.as_ref().map(|failure| failure.kind));
        entry.error = head.failure.as_ref().map(ToString::to_string);
        if entry.status == ReplayStatus::Running {
            entry.ended_at = None;
            entry.interrupted = match head.runner {
                Some(runner) => !self.is_at_it(runner, &new_saga).await?,
                None => true,
            };
        } else {
            entry.ended_at = Some(head.created_at);
        }
        Ok(entry)
    }

    /// Whether `runner` lives and, as far as that can be told, runs `saga`.
    async fn is_at_it(&self, runner: RunnerId, saga: &SagaId) -> Result<bool> {
        if runner == self.runner.id() { Ok(self.runner.is_running(saga)) } else { self.runner.is_alive(runner).await }
    }

    /// The replay that a replay key belongs to. If it was interrupted, it goes on.
    pub(super) async fn existing(&self, request: ReplayRequest, entry: ReplayEntry) -> Result<ReplayResult> {
        if !entry.is_same(&request, &self.redactor) {
            return Err(key_in_use(&request, &entry));
        }
        let entry = self.current(entry).await?;
        let Some(new_saga) = entry.new_saga.clone().filter(|_| entry.interrupted) else { return Ok(as_result(entry)) };
        let gone_on = if entry.status == ReplayStatus::Pending {
            self.begin_again(request, &entry, new_saga).await
        } else {
            self.go_on(request, &entry, new_saga).await
        };
        match gone_on {
            // Somebody else was faster.
            Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Conflict) => Ok(as_result(self.current(entry).await?)),
            other => other,
        }
    }

    async fn go_on(&self, request: ReplayRequest, entry: &ReplayEntry, new_saga: SagaId) -> Result<ReplayResult> {
        let options = ResumeOptions::default().with_stop(request.stop);
        let report = match &request.definition {
            None => self.resume(&new_saga, options).await?,
            Some(definition) => {
                let report = definition.resume(&self.runner, &new_saga, options).await?;
                self.reconcile(&new_saga).await?;
                report
            }
        };
        let mut result = as_result(entry.clone());
        let failure = report.failure.as_ref().map(|failure| failure.kind);
        result.status = if report.interrupted { ReplayStatus::Running } else { ReplayStatus::of(report.status, failure) };
        result.report = Some(report);
        Ok(result)
    }

    /// Its entry was opened, but its saga never began.
    async fn begin_again(&self, request: ReplayRequest, entry: &ReplayEntry, new_saga: SagaId) -> Result<ReplayResult> {
        let active = self.runner.reserve(&new_saga).await?;
        let history = self.newest(&request.saga_id).await?.and_then(|newest| newest.history);
        let attempt = Attempt { replay_id: entry.replay_id, new_saga, at: entry.started_at, history };
        let refusal = match self.prepare(&request, &attempt.new_saga).await {
            Ok(mut prepared) if !prepared.refusals.is_empty() => prepared.refusals.swap_remove(0),
            Ok(prepared) => {
                let result = self.run(&request, &attempt, prepared, active).await?;
                return Ok(ReplayResult { existing: true, ..result });
            }
            Err(error) => error,
        };
        if is_refusal(&refusal) {
            self.log(&request.saga_id, attempt.history)?.close(self.refused(&attempt, &refusal)).await?;
        }
        Err(refusal)
    }
}

fn as_result(entry: ReplayEntry) -> ReplayResult {
    ReplayResult {
        replay_id: entry.replay_id,
        original: entry.original,
        new_saga: entry.new_saga,
        status: entry.status,
        plan: None,
        report: None,
        existing: true,
        logged: true,
        warnings: Vec::new(),
    }
}
