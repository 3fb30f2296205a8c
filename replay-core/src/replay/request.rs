//! What a replay is asked to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    SagaId,
    json::Override,
    saga::{AnySaga, StopSignal},
};

/// From where a saga is replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Checkpoint {
    /// The newest checkpoint whose next steps have this one.
    Step(Arc<str>),
    /// The snapshot with this sequence.
    Sequence(u64),
    /// The newest snapshot that is not after this instant.
    Time(DateTime<Utc>),
}

impl Checkpoint {
    /// The newest checkpoint before the step `name`.
    pub fn step(name: impl Into<Arc<str>>) -> Self {
        Self::Step(name.into())
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(name) => write!(f, "step `{name}`"),
            Self::Sequence(sequence) => write!(f, "sequence {sequence}"),
            Self::Time(instant) => write!(f, "the instant {}", instant.to_rfc3339()),
        }
    }
}

/// Which idempotency keys the steps of a replay hand on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyPolicy {
    /// Those of the original, so that a receiver that did it already says so. A step whose effect was compensated gets a fresh one,
    /// since its receiver would take the old one for done.
    #[default]
    Inherit,
    /// Fresh ones for every step that runs. A skipped step keeps its own, by which its compensation is known.
    Fresh,
}

/// What happens with a step that is completed at the checkpoint, but was compensated since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Compensated {
    /// It runs again, before what needs it: its effect is gone.
    #[default]
    Rerun,
    /// It is skipped like the others, for callers who know better.
    Skip,
}

/// Whether a replay makes a step fail, so that compensation is exercised for real.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ForceFailure {
    /// No step is made to fail.
    #[default]
    Never,
    /// The checkpoint's step fails without being executed.
    Checkpoint,
    /// This step fails without being executed.
    Step(Arc<str>),
}

/// A replay: which saga, from where, and what is different this time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReplayRequest {
    /// The saga to replay. It is never changed.
    pub saga_id: SagaId,
    /// From where.
    pub checkpoint: Checkpoint,
    /// How the context differs; by default not at all.
    pub context_override: Override,
    /// Whether to plan only: nothing runs, and nothing is written but an entry in the replay log.
    pub dry_run: bool,
    /// Whether a step is made to fail.
    pub force_failure: ForceFailure,
    /// Which idempotency keys the steps hand on.
    pub keys: KeyPolicy,
    /// Steps that get a fresh idempotency key although keys are inherited, such as one whose request the override changed.
    pub fresh_keys: BTreeSet<Arc<str>>,
    /// What happens with steps that were compensated since.
    pub compensated: Compensated,
    /// Whether a definition whose fingerprint differs from the recorded one may be used; completed steps must still exist by name.
    pub allow_definition_change: bool,
    /// The definition to use; none = the one that the recorded name and version lead to.
    pub definition: Option<Arc<dyn AnySaga>>,
    /// Names of things outside the context that are recorded with the new saga, besides those of the checkpoint.
    pub external_refs: BTreeMap<String, String>,
    /// The new saga's id; none = a new UUIDv7.
    pub new_id: Option<SagaId>,
    /// The same key again, for the same saga, gives the existing replay instead of a second one. 1 to 255 bytes.
    pub replay_key: Option<Arc<str>>,
    /// On whose behalf.
    pub initiated_by: Option<Arc<str>>,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// By which the run can be asked to stop.
    pub stop: StopSignal,
}

impl ReplayRequest {
    /// A replay of `saga_id` from `checkpoint`, with nothing different.
    pub fn new(saga_id: SagaId, checkpoint: Checkpoint) -> Self {
        Self {
            saga_id,
            checkpoint,
            context_override: Override::None,
            dry_run: false,
            force_failure: ForceFailure::Never,
            keys: KeyPolicy::default(),
            fresh_keys: BTreeSet::new(),
            compensated: Compensated::default(),
            allow_definition_change: false,
            definition: None,
            external_refs: BTreeMap::new(),
            new_id: None,
            replay_key: None,
            initiated_by: None,
            reason: None,
            stop: StopSignal::new(),
        }
    }

    /// A replay of `saga_id` from its newest checkpoint before the step `name`.
    pub fn from_step(saga_id: SagaId, name: impl Into<Arc<str>>) -> Self {
        Self::new(saga_id, Checkpoint::step(name))
    }

    /// Sets how the context differs.
    #[must_use]
    pub fn with_override(mut self, context_override: Override) -> Self {
        self.context_override = context_override;
        self
    }

    /// Sets whether to plan only.
    #[must_use]
    pub fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Sets whether a step is made to fail.
    #[must_use]
    pub fn with_force_failure(mut self, force_failure: ForceFailure) -> Self {
        self.force_failure = force_failure;
        self
    }

    /// Sets which idempotency keys the steps hand on.
    #[must_use]
    pub fn with_keys(mut self, keys: KeyPolicy) -> Self {
        self.keys = keys;
        self
    }

    /// Gives the step `name` a fresh idempotency key.
    #[must_use]
    pub fn fresh_keys_for(mut self, name: impl Into<Arc<str>>) -> Self {
        self.fresh_keys.insert(name.into());
        self
    }

    /// Sets what happens with steps that were compensated since.
    #[must_use]
    pub fn with_compensated(mut self, compensated: Compensated) -> Self {
        self.compensated = compensated;
        self
    }

    /// Sets whether a changed definition may be used.
    #[must_use]
    pub fn with_definition_change(mut self, allow: bool) -> Self {
        self.allow_definition_change = allow;
        self
    }

    /// Sets the definition to use.
    #[must_use]
    pub fn with_definition(mut self, definition: Arc<dyn AnySaga>) -> Self {
        self.definition = Some(definition);
        self
    }

    /// Adds the name of a thing outside the context.
    #[must_use]
    pub fn with_external_ref(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.external_refs.insert(key.into(), value.into());
        self
    }

    /// Sets the new saga's id.
    #[must_use]
    pub fn with_new_id(mut self, id: SagaId) -> Self {
        self.new_id = Some(id);
        self
    }

    /// Sets the replay key.
    #[must_use]
    pub fn with_replay_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.replay_key = Some(key.into());
        self
    }

    /// Sets on whose behalf.
    #[must_use]
    pub fn with_initiated_by(mut self, who: impl Into<Arc<str>>) -> Self {
        self.initiated_by = Some(who.into());
        self
    }

    /// Sets why.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<Arc<str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Sets by which the run can be asked to stop.
    #[must_use]
    pub fn with_stop(mut self, stop: StopSignal) -> Self {
        self.stop = stop;
        self
    }
}
