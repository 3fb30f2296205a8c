//! Where a saga comes from and what was made of it.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use super::{ReplayEntry, plan::key_base};
use crate::{
    Failure, HistoryId, Origin, Result, SagaId, SagaStatus, SnapshotMeta, SnapshotRecord,
    storage::{At, SagaQuery, SagaSummary, SnapshotStorage},
};

/// A saga's lineage: the saga that it goes back to, and everything that replays made of that, as a tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lineage {
    /// The saga that was asked about.
    pub saga_id: SagaId,
    /// The tree in the order in which it is printed: each saga is followed by what was made of it, the oldest first.
    pub sagas: Vec<LineageSaga>,
}

impl Lineage {
    /// The saga `id` in the tree.
    pub fn saga(&self, id: &SagaId) -> Option<&LineageSaga> {
        self.sagas.iter().find(|saga| saga.saga_id == *id)
    }

    /// The origins that lead to the saga `id`.
    pub(super) fn origins_in<'a>(&'a self, id: &'a SagaId) -> impl Iterator<Item = &'a Origin> {
        self.sagas.iter().filter_map(|saga| saga.origin.as_deref()).filter(move |origin| origin.saga_id == *id)
    }
}

/// One saga of a lineage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LineageSaga {
    /// The saga.
    pub saga_id: SagaId,
    /// How far below the root of the tree, which has 0.
    pub depth: usize,
    /// Where it stands; none if it was deleted.
    pub status: Option<SagaStatus>,
    /// Why it left its way forward.
    pub error: Option<Arc<Failure>>,
    /// When its newest snapshot was created.
    pub updated_at: Option<DateTime<Utc>>,
    /// Where it comes from; none for the root.
    pub origin: Option<Arc<Origin>>,
    /// The log's entries about replays of this saga, refused and dry ones included; empty if the store keeps no logs.
    pub replays: Vec<ReplayEntry>,
}

/// The sagas that replays made of `saga`, the oldest first; if its `history` is known, without those of another saga that had its id.
async fn forks(store: &dyn SnapshotStorage, saga: &SagaId, history: Option<HistoryId>) -> Result<Vec<SagaSummary>> {
    let mut forks: Vec<SagaSummary> = store.sagas(SagaQuery::default().with_origin(saga.clone())).try_collect().await?;
    let other = |fork: &SagaSummary| fork.origin.as_ref().and_then(|origin| origin.history).is_some_and(|of| Some(of) != history);
    if history.is_some() {
        forks.retain(|fork| !other(fork));
    }
    forks.reverse();
    Ok(forks)
}

fn root_of(meta: &SnapshotMeta) -> &SagaId {
    meta.origin.as_ref().map_or(&meta.saga_id, |origin| &origin.root)
}

/// The history of the first saga of the lineage, if `newest` is a direct replay of it.
fn root_history(newest: &SnapshotMeta) -> Option<HistoryId> {
    newest.origin.as_ref().filter(|origin| origin.saga_id == origin.root).and_then(|origin| origin.history)
}

/// The newest record of the first saga of the lineage that `newest` is in, unless that was deleted and its id has another saga now.
async fn root_record(store: &dyn SnapshotStorage, newest: &SnapshotMeta) -> Result<Option<SnapshotRecord>> {
    let found = store.load(root_of(newest), At::Latest).await?;
    let known = root_history(newest);
    Ok(found.filter(|found| known.is_none() || found.history == known))
}

/// The steps whose effect, as the saga of `newest` knows it, was compensated by that saga or by another of its lineage.
///
/// An effect is known by the base of its idempotency key: a replay that skips a step shares the base with the saga that executed it,
/// and one that executes it anew under a fresh key does not.
pub(super) async fn compensated_effects(store: &dyn SnapshotStorage, newest: &SnapshotMeta) -> Result<BTreeSet<Arc<str>>> {
    let mut gone = BTreeSet::new();
    let mut note = |meta: &SnapshotMeta| {
        for name in meta.compensated_steps().iter() {
            let own = key_base(&newest.saga_id, newest.origin.as_deref(), name);
            if key_base(&meta.saga_id, meta.origin.as_deref(), name) == own {
                gone.insert(Arc::from(name));
            }
        }
    };
    note(newest);
    let root = root_of(newest).clone();
    let mut history = newest.history;
    if root != newest.saga_id {
        let record = root_record(store, newest).await?;
        history = root_history(newest).or_else(|| record.as_ref().and_then(|record| record.history));
        if let Some(record) = &record {
            note(record);
        }
    }
    let mut seen = HashSet::from([root.clone()]);
    let mut open = vec![(root, history)];
    while let Some((parent, history)) = open.pop() {
        for fork in forks(store, &parent, history).await? {
            let may_compensate = matches!(fork.status, SagaStatus::Compensating | SagaStatus::RolledBack | SagaStatus::Parked);
            if may_compensate
                && fork.saga_id != newest.saga_id
                && let Some(record) = store.load(&fork.saga_id, At::Latest).await?
            {
                note(&record);
            }
            if seen.insert(fork.saga_id.clone()) {
                open.push((fork.saga_id, None));
            }
        }
    }
    Ok(gone)
}

/// The tree that the saga of `newest` is in, without log entries.
pub(super) async fn tree(store: &dyn SnapshotStorage, newest: &SnapshotMeta) -> Result<Lineage> {
    let root = root_of(newest).clone();
    let head = if root == newest.saga_id {
        Some(newest.clone())
    } else {
        root_record(store, newest).await?.map(|record| (**record.meta()).clone())
    };
    let history = root_history(newest).or_else(|| head.as_ref().and_then(|head| head.history));
    let mut sagas = vec![LineageSaga {
        saga_id: root.clone(),
        depth: 0,
        status: head.as_ref().map(|head| head.status),
        error: head.as_ref().and_then(|head| head.failure.clone()),
        updated_at: head.as_ref().map(|head| head.created_at),
        origin: None,
        replays: Vec::new(),
    }];
    let mut seen = HashSet::from([root.clone()]);
    let mut open: Vec<(SagaSummary, usize)> = children(store, &root, history, 1).await?;
    while let Some((saga, depth)) = open.pop() {
        if !seen.insert(saga.saga_id.clone()) {
            continue;
        }
        open.extend(children(store, &saga.saga_id, None, depth + 1).await?);
        sagas.push(LineageSaga {
            saga_id: saga.saga_id,
            depth,
            status: Some(saga.status),
            error: saga.error,
            updated_at: Some(saga.updated_at),
            origin: saga.origin,
            replays: Vec::new(),
        });
    }
    Ok(Lineage { saga_id: newest.saga_id.clone(), sagas })
}

/// The forks of `saga`, the youngest first, as a stack takes them.
async fn children(
    store: &dyn SnapshotStorage,
    saga: &SagaId,
    history: Option<HistoryId>,
    depth: usize,
) -> Result<Vec<(SagaSummary, usize)>> {
    Ok(forks(store, saga, history).await?.into_iter().rev().map(|fork| (fork, depth)).collect())
}
