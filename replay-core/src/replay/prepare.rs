//! Everything about a replay that is settled before anything is written.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    LocalReplay, ReplayRequest, checkpoint, lineage,
    plan::{self, Given, Planned, Refusal, changed_definition},
};
use crate::{
    Error, ErrorKind, HistoryId, Origin, ReplayId, Result, SagaId, Snapshot, SnapshotMeta, codec,
    json::Redactor,
    saga::{Active, AnySaga, Fork, SnapshotPolicy, find},
    storage::At,
};

/// A replay that is ready to run, but for what is in `refusals`.
pub(super) struct Prepared {
    pub(super) saga: Arc<dyn AnySaga>,
    pub(super) planned: Planned,
    pub(super) refusals: Vec<Error>,
    checkpoint: Snapshot,
    context: Bytes,
    root: SagaId,
}

impl LocalReplay {
    /// Finds checkpoint and definition, plans, and tries the override on.
    pub(super) async fn prepare(&self, request: &ReplayRequest, new_saga: &SagaId) -> Result<Prepared> {
        let store = &**self.runner.store().snapshots();
        let Some(newest) = store.load(&request.saga_id, At::Latest).await? else {
            return Err(checkpoint::unknown(&request.saga_id));
        };
        let now = self.runner.clock().now();
        let checkpoint = checkpoint::find(store, &request.saga_id, &newest, &request.checkpoint, now).await?.decode()?;
        let saga = self.definition(request, &checkpoint).await?;
        let gone = lineage::compensated_effects(store, &newest).await?;
        let mut planned = plan::plan(&Given {
            request,
            checkpoint: &checkpoint,
            newest: &newest,
            gone: &gone,
            definition: saga.outline(),
            namespace: self.runner.store().namespace(),
            new_saga,
            redactor: &self.redactor,
        })?;
        let mut refusals = Vec::new();
        if planned.plan.definition.changed && !request.allow_definition_change {
            refusals.push(changed_definition(&planned.plan.definition));
        }
        let context = match self.context(request, &checkpoint, &*saga) {
            Ok(context) => context,
            Err(error) => {
                refusals.push(error);
                checkpoint.context_text().clone()
            }
        };
        if request.new_id.is_some() && store.load(new_saga, At::Latest).await?.is_some() {
            let conflict = Error::new(ErrorKind::Conflict, "replay saga").message("the id for the new saga is in use");
            refusals.push(conflict.with("new_saga", new_saga));
        }
        planned.plan.refusals = refusals.iter().map(Refusal::of).collect();
        let root = newest.origin.as_ref().map_or_else(|| newest.saga_id.clone(), |origin| origin.root.clone());
        Ok(Prepared { saga, planned, refusals, checkpoint, context, root })
    }

    async fn definition(&self, request: &ReplayRequest, checkpoint: &SnapshotMeta) -> Result<Arc<dyn AnySaga>> {
        let Some(given) = &request.definition else { return find(&*self.source, checkpoint).await };
        if given.outline().name() != checkpoint.outline.name() {
            return Err(Error::new(ErrorKind::Refused, "replay saga")
                .message(format!("it is a saga `{}`, not `{}`", checkpoint.saga_name(), given.outline().name()))
                .hint("give a definition of the same saga")
                .with("saga", &checkpoint.saga_id));
        }
        Ok(given.clone())
    }

    /// The context that the replay begins with: exactly the recorded text, if nothing overrides it.
    fn context(&self, request: &ReplayRequest, checkpoint: &Snapshot, saga: &dyn AnySaga) -> Result<Bytes> {
        let mut text = checkpoint.context_text().clone();
        if !request.context_override.is_empty() {
            let mut context = checkpoint.context()?;
            request.context_override.apply(&mut context)?;
            text = codec::context::encode(&context, text.len())?;
        }
        let limit =
            checkpoint.policy.as_ref().map_or_else(|| SnapshotPolicy::default().max_context_bytes, |policy| policy.max_context_bytes);
        if text.len() as u64 > limit {
            return Err(Error::new(ErrorKind::LimitExceeded, "replay saga")
                .message("the context with its override is too large")
                .with("bytes", text.len())
                .with("limit", limit));
        }
        saga.check_context(&text).map_err(|error| without_secret(error, &self.redactor))?;
        Ok(text)
    }
}

/// A context that does not fit: the message names the value that stands there, which must not be told if it is a secret.
fn without_secret(error: Error, redactor: &Redactor) -> Error {
    let hint = "correct the override, or look at the context with a dry run";
    match error.fact("place") {
        Some(place) if redactor.is_secret_key(place) => {
            Error::invalid("replay saga", "the context does not fit the saga's type").hint(hint).with("place", place)
        }
        _ => error.hint(hint),
    }
}

impl Prepared {
    pub(super) fn history(&self) -> Option<HistoryId> {
        self.checkpoint.history
    }

    pub(super) fn refuse(&mut self, error: Error) {
        self.planned.plan.refusals.push(Refusal::of(&error));
        self.refusals.push(error);
    }

    pub(super) fn fork(&self, request: &ReplayRequest, replay_id: ReplayId, active: Active) -> Fork {
        let checkpoint = &self.checkpoint;
        let key_base = self.planned.key_base.clone();
        let mut origin = Origin::new(checkpoint.saga_id.clone(), checkpoint.sequence, replay_id, self.root.clone(), key_base);
        origin.history = checkpoint.history;
        origin.step_key_bases = self.planned.step_key_bases.clone();
        origin.force_failure = self.planned.force_failure.clone();
        let mut external_refs = checkpoint.external_refs.clone();
        if !request.external_refs.is_empty() {
            Arc::make_mut(&mut external_refs).extend(request.external_refs.clone());
        }
        Fork {
            id: self.planned.plan.new_saga.clone(),
            active,
            context: self.context.clone(),
            completed: self.planned.completed.clone(),
            origin,
            prev_digest: checkpoint.digest(),
            labels: checkpoint.labels.clone(),
            external_refs,
            policy: checkpoint.policy.clone(),
            actor: request.initiated_by.clone(),
            stop: request.stop.clone(),
        }
    }
}
