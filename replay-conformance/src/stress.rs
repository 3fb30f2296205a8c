//! Figures of a store under load, for benches: what is measured is the same for every store.

use std::time::{Duration, Instant};

use bytes::Bytes;
use replay_core::{Result, SnapshotRecord, Store};
use tokio::task::JoinSet;

use crate::records::Chain;

/// A load of appends: `sagas` at once, each appending `steps` records one after the other, each with a context of `context_bytes`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Load {
    /// How many sagas append at once; by default 64.
    pub sagas: usize,
    /// How many records each of them appends; by default 100.
    pub steps: usize,
    /// The size of each context in bytes; by default 1,024.
    pub context_bytes: usize,
    /// What the ids of the sagas begin with; by default `stress`. A store that holds them already refuses the load.
    pub prefix: String,
}

impl Default for Load {
    fn default() -> Self {
        Self { sagas: 64, steps: 100, context_bytes: 1024, prefix: "stress".to_owned() }
    }
}

impl Load {
    /// Sets how many sagas append at once.
    #[must_use]
    pub fn with_sagas(mut self, sagas: usize) -> Self {
        self.sagas = sagas;
        self
    }

    /// Sets how many records each saga appends.
    #[must_use]
    pub fn with_steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// Sets the size of each context in bytes.
    #[must_use]
    pub fn with_context_bytes(mut self, bytes: usize) -> Self {
        self.context_bytes = bytes;
        self
    }

    /// Sets what the ids of the sagas begin with.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }
}

/// What a load took.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Figures {
    /// How many records were appended and acknowledged.
    pub appends: u64,
    /// From the first call to the last answer.
    pub elapsed: Duration,
    /// The median time of one append.
    pub median: Duration,
    /// The time that 99 of 100 appends stayed under.
    pub p99: Duration,
}

impl Figures {
    /// Acknowledged appends per second.
    #[expect(clippy::cast_precision_loss, reason = "a figure to read, not to count with")]
    pub fn appends_per_second(&self) -> f64 {
        self.appends as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

/// Puts `load` on the store. The records are made beforehand, so that only the store is measured.
///
/// # Errors
/// The store's own.
pub async fn append(store: &Store, load: &Load) -> Result<Figures> {
    let context = Bytes::from(format!(r#"{{"body":"{}"}}"#, "x".repeat(load.context_bytes.saturating_sub(11))));
    let histories: Vec<Vec<SnapshotRecord>> = (0..load.sagas)
        .map(|n| {
            let mut chain = Chain::new(&format!("{}-{n}", load.prefix));
            (0..load.steps).map(|_| chain.with_context(context.clone())).collect()
        })
        .collect();
    let started = Instant::now();
    let mut sagas = JoinSet::new();
    for history in histories {
        sagas.spawn(one_saga(store.clone(), history));
    }
    let mut times = Vec::with_capacity(load.sagas * load.steps);
    while let Some(saga) = sagas.join_next().await {
        times.extend(saga.expect("the saga does not panic")?);
    }
    let elapsed = started.elapsed();
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
    Ok(Figures { appends: times.len() as u64, elapsed, median: at(50), p99: at(99) })
}

async fn one_saga(store: Store, history: Vec<SnapshotRecord>) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(history.len());
    for record in history {
        let started = Instant::now();
        store.snapshots().append(vec![record]).await?;
        times.push(started.elapsed());
    }
    Ok(times)
}
