//! How a saga is started and resumed.

use std::{collections::BTreeMap, sync::Arc};

use super::{SnapshotPolicy, StopSignal};
use crate::{Labels, SagaId};

/// How a saga is started. The default: a new id, the definition's own policy, no labels of its own.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StartOptions {
    /// The saga's id; none = a new UUIDv7.
    pub id: Option<SagaId>,
    /// What of the run is captured; none = what the definition says.
    pub policy: Option<SnapshotPolicy>,
    /// Searchable words, besides those that the definition takes from the context.
    pub labels: Labels,
    /// Names of things outside the context, recorded with every snapshot.
    pub external_refs: BTreeMap<String, String>,
    /// On whose behalf the saga runs.
    pub actor: Option<Arc<str>>,
    /// By which the run can be asked to stop.
    pub stop: StopSignal,
}

impl StartOptions {
    /// Sets the saga's id.
    #[must_use]
    pub fn with_id(mut self, id: SagaId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets what of the run is captured.
    #[must_use]
    pub fn with_policy(mut self, policy: SnapshotPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Adds a searchable word.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Adds the name of a thing outside the context.
    #[must_use]
    pub fn with_external_ref(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.external_refs.insert(key.into(), value.into());
        self
    }

    /// Sets on whose behalf the saga runs.
    #[must_use]
    pub fn with_actor(mut self, actor: impl Into<Arc<str>>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// Sets by which the run can be asked to stop.
    #[must_use]
    pub fn with_stop(mut self, stop: StopSignal) -> Self {
        self.stop = stop;
        self
    }
}

/// How a saga is resumed. The default refuses a saga whose runner is alive, and a changed definition.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ResumeOptions {
    /// Takes the saga over even if its runner seems alive.
    pub force: bool,
    /// Goes on with a definition whose fingerprint differs from the recorded one; its completed steps must still exist.
    pub allow_definition_change: bool,
    /// On whose behalf the saga goes on; none = as recorded.
    pub actor: Option<Arc<str>>,
    /// What its snapshots refer to from now on, in place of recorded references of the same name; none = as recorded.
    pub external_refs: Option<BTreeMap<String, String>>,
    /// By which the run can be asked to stop.
    pub stop: StopSignal,
}

impl ResumeOptions {
    /// Sets whether to take the saga over even if its runner seems alive.
    #[must_use]
    pub fn with_force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Sets whether to go on with a changed definition.
    #[must_use]
    pub fn with_definition_change(mut self, allow: bool) -> Self {
        self.allow_definition_change = allow;
        self
    }

    /// Sets on whose behalf the saga goes on.
    #[must_use]
    pub fn with_actor(mut self, actor: impl Into<Arc<str>>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// Adds something that its snapshots refer to from now on, in place of a recorded reference of the same name.
    #[must_use]
    pub fn with_external_ref(mut self, name: impl Into<String>, reference: impl Into<String>) -> Self {
        self.external_refs.get_or_insert_default().insert(name.into(), reference.into());
        self
    }

    /// Sets by which the run can be asked to stop.
    #[must_use]
    pub fn with_stop(mut self, stop: StopSignal) -> Self {
        self.stop = stop;
        self
    }
}
