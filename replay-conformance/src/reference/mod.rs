//! A store that is as simple as the contract allows: one lock, everything in plain collections. The model that random histories are
//! compared with, and the store that bugs are planted into.

mod blobs;
mod cells;
mod logs;
mod prune;
mod snapshots;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use replay_core::{
    Digest, ManualClock, Namespace, Outline, SagaId, SnapshotMeta, SnapshotRecord,
    storage::{Capabilities, Cell},
};

use crate::Mutant;

#[derive(Clone)]
pub(crate) struct Reference {
    worlds: Arc<Mutex<BTreeMap<String, World>>>,
    clock: ManualClock,
    namespace: String,
    bug: Option<Mutant>,
}

#[derive(Default)]
pub(crate) struct World {
    sagas: BTreeMap<String, Saga>,
    /// What a planted bug leaves of a saga that is gone.
    ghosts: Vec<Saga>,
    outlines: BTreeMap<(Arc<str>, Arc<str>), Arc<Outline>>,
    logs: BTreeMap<String, Vec<(DateTime<Utc>, Bytes)>>,
    cells: BTreeMap<String, Cell>,
    cells_gone: u64,
    blobs: HashMap<Digest, (Bytes, u32)>,
}

#[derive(Clone)]
pub(crate) struct Saga {
    started_at: DateTime<Utc>,
    head: Arc<SnapshotMeta>,
    records: Vec<SnapshotRecord>,
    last: u64,
}

impl Reference {
    pub(crate) fn new(clock: ManualClock) -> Self {
        Self::with_bug(clock, None)
    }

    pub(crate) fn with_bug(clock: ManualClock, bug: Option<Mutant>) -> Self {
        Self { worlds: Arc::default(), clock, namespace: "default".to_owned(), bug }
    }

    /// What its conformance run pins. It keeps its data as long as its place, which stands for a disk here.
    pub(crate) fn pinned() -> Capabilities {
        Capabilities::default().with_durable(true)
    }

    pub(crate) fn in_namespace(mut self, namespace: &Namespace) -> Self {
        namespace.as_str().clone_into(&mut self.namespace);
        self
    }

    /// The same without data.
    pub(crate) fn emptied(&self) -> Self {
        Self { worlds: Arc::default(), ..self.clone() }
    }

    fn has(&self, bug: Mutant) -> bool {
        self.bug == Some(bug)
    }

    fn world(&self) -> MappedMutexGuard<'_, World> {
        let shared = self.has(Mutant::NamespacesLeak) || self.has(Mutant::NamespacesAreJoined);
        let name = if shared { String::new() } else { self.namespace.clone() };
        MutexGuard::map(self.worlds.lock(), |worlds| worlds.entry(name).or_default())
    }

    /// Lets other writers in, as a planted bug does between a check and a write.
    async fn lets_others_in() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// Under which key a saga is kept.
    fn key(&self, saga: &SagaId) -> String {
        let id = saga.as_str();
        match self.bug {
            Some(Mutant::FoldsCaseOfIds) => id.to_lowercase(),
            Some(Mutant::TrimsIds) => id.trim().to_owned(),
            Some(Mutant::CutsLongIds) => id.chars().scan(0, |len, c| (*len += c.len_utf8(), *len <= 254).1.then_some(c)).collect(),
            Some(Mutant::NamespacesAreJoined) => format!("{}:{id}", self.namespace),
            _ => id.to_owned(),
        }
    }

    /// Whether a saga that is kept is one of this handle's namespace.
    fn sees(&self, key: &str) -> bool {
        !self.has(Mutant::NamespacesAreJoined) || key.starts_with(&format!("{}:", self.namespace))
    }
}

/// Whether `text` begins with `prefix`, read as a pattern in which `%` is any text and `_` any character.
fn begins_like(text: &str, prefix: &str) -> bool {
    let mut rest = prefix.chars();
    let Some(first) = rest.next() else { return true };
    let mut chars = text.chars();
    match first {
        '%' => (0..=text.len()).filter_map(|at| text.get(at..)).any(|text| begins_like(text, rest.as_str())),
        '_' => chars.next().is_some() && begins_like(chars.as_str(), rest.as_str()),
        _ => chars.next() == Some(first) && begins_like(chars.as_str(), rest.as_str()),
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reference")
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({}, {:?})", self.namespace, self.bug)
    }
}
