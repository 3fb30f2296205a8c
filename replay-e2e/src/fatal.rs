//! A store whose process is killed at a numbered append.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use replay_core::{
    Result, SagaId, SnapshotRecord,
    storage::{At, Capabilities, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

/// When a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kill {
    /// As its append of this number, from 1, is asked for.
    Before(u64),
    /// Once its append of this number was acknowledged, before the engine hears of it.
    After(u64),
}

/// Ends this process as `kill -9` does: nothing is flushed, dropped or told.
pub fn kill_self() -> ! {
    let killed = kill_process(getpid(), Signal::KILL);
    unreachable!("still alive after SIGKILL: {killed:?}")
}

/// A store whose process is killed at one of its appends.
#[derive(Debug)]
pub struct Fatal {
    inner: Arc<dyn SnapshotStorage>,
    kill: Kill,
    appends: AtomicU64,
}

impl Fatal {
    /// `inner`, whose process is killed at `kill`.
    pub fn new(inner: Arc<dyn SnapshotStorage>, kill: Kill) -> Self {
        Self { inner, kill, appends: AtomicU64::new(0) }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fatal({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SnapshotStorage for Fatal {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let number = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        if self.kill == Kill::Before(number) {
            kill_self();
        }
        let done = self.inner.append(records).await;
        if self.kill == Kill::After(number) {
            kill_self();
        }
        done
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
