//! Capturing: turning where a run stands into a record, and getting the store to take it.

use bytes::Bytes;
use futures::TryStreamExt;
use serde::{Serialize, de::DeserializeOwned};

use super::{MissingCapture, OnCaptureError, drive::Run};
use crate::{
    Error, ErrorKind, FailureKind, Phase, Result, SnapshotRecord,
    clock::after,
    codec,
    storage::{PruneRequest, PruneScope, SnapshotQuery},
};

/// The context of a run: as a value, as the JSON text that was captured of it, or both.
pub(super) struct Held<C> {
    value: Option<C>,
    text: Option<Bytes>,
}

impl<C: Clone + DeserializeOwned + Send> Held<C> {
    pub(super) fn value(value: C) -> Self {
        Self { value: Some(value), text: None }
    }

    pub(super) fn text(text: Bytes) -> Self {
        Self { value: None, text: Some(text) }
    }

    /// The context to run a step with. It is handed over as it is if the captured text can bring it back; else it is cloned.
    pub(super) fn lend(&mut self) -> Result<C> {
        match (&self.value, &self.text) {
            (Some(value), None) => Ok(value.clone()),
            (_, Some(text)) => match self.value.take() {
                Some(value) => Ok(value),
                None => codec::context::decode(text),
            },
            (None, None) => Err(Error::new(ErrorKind::Internal, "run step").message("the context is gone")),
        }
    }

    pub(super) fn get(&mut self) -> Result<&C> {
        let value = match self.value.take() {
            Some(value) => value,
            None => self.lend()?,
        };
        Ok(self.value.insert(value))
    }

    pub(super) fn into_value(mut self) -> Result<C> {
        self.lend()
    }
}

impl<C: Serialize + Clone + DeserializeOwned + Send> Held<C> {
    /// The JSON text, which is made once per state.
    fn encoded(&mut self, size_hint: usize, limit: u64) -> Result<Bytes> {
        if let Some(text) = &self.text {
            return Ok(text.clone());
        }
        let text = codec::context::encode(self.get()?, size_hint)?;
        if text.len() as u64 > limit {
            return Err(Error::new(ErrorKind::LimitExceeded, "capture context")
                .message("the context is too large")
                .hint("keep large values in a blob store and their names in the context, or raise `max_context_bytes`")
                .with("bytes", text.len())
                .with("limit", limit));
        }
        self.text = Some(text.clone());
        Ok(text)
    }
}

impl<C: Serialize + DeserializeOwned + Clone + Send + 'static> Run<'_, C> {
    /// Makes sure that the context can be captured.
    pub(super) fn encode_context(&mut self) -> Result<Bytes> {
        let text = self.context.encoded(self.context_size + self.context_size / 8 + 64, self.head.policy.max_context_bytes)?;
        self.context_size = text.len();
        Ok(text)
    }

    /// Captures where the run stands. Says whether the run may go on as planned: not if it was cancelled in the meantime.
    pub(super) async fn capture(&mut self, phase: Phase, step: Option<u32>) -> Result<bool> {
        match self.try_capture(phase, step).await {
            Err(error) if self.head.policy.on_capture_error == OnCaptureError::Continue && !error.is(ErrorKind::Conflict) => {
                tracing::warn!(saga = %self.head.saga_id, %error, "snapshot missing");
                let step = step.and_then(|at| self.saga.outline().step(at)).map(|step| step.name.clone());
                self.missing.push(MissingCapture { phase, step, error: error.to_string() });
                Ok(true)
            }
            other => other,
        }
    }

    /// Captures also if the run was cancelled in the meantime.
    pub(super) async fn capture_firmly(&mut self, phase: Phase, step: Option<u32>) -> Result<()> {
        while !self.capture(phase, step).await? {}
        Ok(())
    }

    /// Captures whatever the policy says of failures: a saga that is taken over must not run before that is recorded.
    pub(super) async fn capture_first(&mut self, phase: Phase, step: Option<u32>) -> Result<()> {
        while !self.try_capture(phase, step).await? {}
        Ok(())
    }

    async fn try_capture(&mut self, phase: Phase, step: Option<u32>) -> Result<bool> {
        let text = self.encode_context().map_err(|error| match step.and_then(|at| self.saga.outline().step(at)) {
            Some(step) => error.with("step", &step.name),
            None => error,
        })?;
        loop {
            let record = self.seal(phase, step, text.clone());
            match self.shared.append(&record).await {
                Ok(()) => {
                    self.took(&record);
                    self.keep_newest(phase).await;
                    return Ok(true);
                }
                Err(conflict) if conflict.is(ErrorKind::Conflict) => {
                    if self.adopt(conflict).await? {
                        return Ok(false);
                    }
                }
                Err(error) => {
                    self.unsure.push(record.digest());
                    return Err(error);
                }
            }
        }
    }

    fn seal(&self, phase: Phase, step: Option<u32>, text: Bytes) -> SnapshotRecord {
        let now = self.shared.clock.now();
        let created_at = self.head.created_at.map_or(now, |last| now.max(after(last)));
        let mut meta = self.head.next_meta(self.saga.outline(), created_at, self.shared.runner_id);
        meta.phase = phase;
        meta.step = step;
        meta.status = self.position.status;
        meta.next = self.position.next();
        meta.completed = self.position.completed.clone();
        meta.compensated = self.position.compensated.clone();
        meta.failure = self.position.failure.clone();
        SnapshotRecord::seal(meta, text)
    }

    fn took(&mut self, record: &SnapshotRecord) {
        self.head.sequence = record.sequence;
        self.head.prev_digest = record.digest();
        self.head.created_at = Some(record.created_at);
        self.captured = true;
        self.uncaptured = Some(0);
    }

    /// Somebody else appended to this saga. If that was only a manual snapshot or a request to cancel, made in this runner's name, or
    /// a record of this run that was thought to be lost, the run goes on from there; says whether it was cancelled.
    async fn adopt(&mut self, conflict: Error) -> Result<bool> {
        let query = SnapshotQuery::new(self.head.saga_id.clone()).with_sequences(self.head.sequence + 1, u64::MAX).with_payloads(false);
        let mut appended = self.shared.store.snapshots().list(query);
        let mut newest: Option<SnapshotRecord> = None;
        while let Some(record) = appended.try_next().await? {
            let is_cancel = record.failure.as_ref().filter(|failure| failure.kind == FailureKind::Cancelled);
            let prev = newest.as_ref().map_or(self.head.prev_digest, SnapshotRecord::digest);
            let ours = record.runner == Some(self.shared.runner_id) && record.prev_digest == prev;
            let told = is_cancel.is_some() || record.phase == Phase::Manual || self.unsure.contains(&record.digest());
            if !ours || !told {
                return Err(conflict
                    .message("another runner has taken this saga over")
                    .hint("this run stopped; look at the saga with `show`"));
            }
            if let Some(failure) = is_cancel {
                self.cancelled = Some(failure.message.clone());
            }
            newest = Some(record);
        }
        let Some(newest) = newest else { return Err(conflict) };
        let (captured, uncaptured) = (self.captured, self.uncaptured);
        self.took(&newest);
        (self.captured, self.uncaptured) = (captured, uncaptured);
        Ok(self.cancelled.is_some())
    }

    /// Prunes once as many records are superfluous as are kept, and at the end, so that pruning costs little per step.
    async fn keep_newest(&mut self, phase: Phase) {
        let Some(keep) = self.head.policy.max_snapshots else { return };
        let keep = keep.max(1);
        let is_end = phase == Phase::Completion;
        if !is_end && self.head.sequence < self.pruned_to.saturating_add(keep.saturating_mul(2)) {
            return;
        }
        let scope = PruneScope::KeepNewest { saga_id: Some(self.head.saga_id.clone()), keep };
        loop {
            match self.shared.store.snapshots().prune(PruneRequest::new(scope.clone())).await {
                Ok(report) if report.more && report.records > 0 => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(saga = %self.head.saga_id, %error, "superfluous snapshots were not pruned");
                    break;
                }
            }
        }
        self.pruned_to = self.head.sequence.saturating_sub(keep);
    }
}
