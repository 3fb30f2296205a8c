//! What a store has acknowledged, kept beside it, so that nothing of it can get lost unnoticed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use replay_core::{
    Digest, Result, SagaId, SnapshotRecord, Store,
    storage::{At, Capabilities, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
    verify_chain,
};
use tokio::sync::watch;

use crate::{
    effects::{Effect, check_keys},
    history,
};

/// What is acknowledged and what is done. Clones share it.
#[derive(Debug, Clone)]
pub struct Ledger {
    entries: Arc<Mutex<Entries>>,
    acknowledged: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Entries {
    sagas: BTreeMap<SagaId, Acknowledged>,
    calls: Vec<Effect>,
    violations: Vec<String>,
}

#[derive(Debug, Default)]
struct Acknowledged {
    digests: BTreeMap<u64, Digest>,
    completed: BTreeSet<String>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { entries: Arc::default(), acknowledged: watch::Sender::new(0) }
    }
}

impl Ledger {
    /// `store`, whose acknowledged appends are kept here.
    pub fn watch(&self, store: Store) -> Store {
        let snapshots = Arc::new(Watched { inner: store.snapshots().clone(), ledger: self.clone() });
        store.with_snapshots(snapshots)
    }

    /// A step is executed: none that is known to be completed may be.
    pub fn call(&self, saga: &SagaId, step: &str, key: &str) {
        let mut entries = self.entries.lock();
        if entries.sagas.get(saga).is_some_and(|known| known.completed.contains(step)) {
            entries.violations.push(format!("{saga}: {step} was acknowledged and done again"));
        }
        let pid = std::process::id();
        entries.calls.push(Effect { pid, saga: saga.to_string(), what: format!("+{step}"), key: key.to_owned() });
    }

    /// How often each step of a saga was executed, at most.
    pub fn most_calls(&self, saga: &SagaId) -> usize {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let entries = self.entries.lock();
        for call in entries.calls.iter().filter(|call| call.saga == saga.as_str()) {
            *counts.entry(&call.what).or_default() += 1;
        }
        counts.into_values().max().unwrap_or_default()
    }

    /// How many records were acknowledged, as it grows.
    pub fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    /// The sagas of which something was acknowledged.
    pub fn sagas(&self) -> Vec<SagaId> {
        self.entries.lock().sagas.keys().cloned().collect()
    }

    /// Reads every saga from `store`, which must be another way to it, and checks that what was acknowledged is there, that each history
    /// is whole and its chain valid, and that nothing was done again.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn check(&self, store: &Store) -> std::result::Result<(), String> {
        {
            let entries = self.entries.lock();
            check_keys(&entries.calls)?;
            if let Some(violation) = entries.violations.first() {
                return Err(violation.clone());
            }
        }
        for saga in self.sagas() {
            let records = history::load(store, &saga).await?;
            history::check(&records, false)?;
            let stored: BTreeMap<u64, Digest> = records.iter().map(|record| (record.sequence, record.digest())).collect();
            self.check_stored(&saga, &stored)?;
            let report = verify_chain(&**store.snapshots(), &saga).await.map_err(|error| format!("{saga}: {error}"))?;
            if !report.is_valid() || report.snapshots != records.len() as u64 {
                return Err(format!("{saga}: {report:?}"));
            }
        }
        Ok(())
    }

    fn check_stored(&self, saga: &SagaId, stored: &BTreeMap<u64, Digest>) -> std::result::Result<(), String> {
        let entries = self.entries.lock();
        let lost = entries.sagas[saga].digests.iter().find(|(sequence, digest)| stored.get(sequence) != Some(digest));
        match lost {
            None => Ok(()),
            Some((sequence, _)) => Err(format!("{saga}@{sequence} was acknowledged, and there is {:?}", stored.get(sequence))),
        }
    }

    fn took(&self, appended: &[(SagaId, u64, Digest, BTreeSet<String>)]) {
        let mut entries = self.entries.lock();
        for (saga, sequence, digest, completed) in appended {
            let known = entries.sagas.entry(saga.clone()).or_default();
            known.digests.insert(*sequence, *digest);
            known.completed.extend(completed.iter().cloned());
        }
        drop(entries);
        self.acknowledged.send_modify(|count| *count += appended.len() as u64);
    }
}

#[derive(Debug)]
struct Watched {
    inner: Arc<dyn SnapshotStorage>,
    ledger: Ledger,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watched({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SnapshotStorage for Watched {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let entry = |record: &SnapshotRecord| {
            let completed = record.completed_steps().to_vec().into_iter().collect();
            (record.saga_id.clone(), record.sequence, record.digest(), completed)
        };
        let appended: Vec<_> = records.iter().map(entry).collect();
        self.inner.append(records).await?;
        self.ledger.took(&appended);
        Ok(())
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        self.inner.load(saga, at).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        self.inner.list(query)
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        self.inner.sagas(query)
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        self.inner.prune(request).await
    }
}
