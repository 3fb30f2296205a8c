//! The memory store as a process sees it that may die at any call, and whose calls may fail.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use replay_core::{
    Clock, Error, ErrorKind, Result, Retry, SagaId, SnapshotRecord,
    storage::{At, Capabilities, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
};

use super::world::Process;

/// A process's way to the store.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) inner: Arc<dyn SnapshotStorage>,
    pub(super) process: Arc<Process>,
}

/// How a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Well,
    /// It fails before anything is done.
    Refused,
    /// It is done, and its answer lost.
    Lost,
    /// It is not done, and the caller cannot know.
    LostBefore,
}

fn fault(operation: &'static str, retry: Retry) -> Error {
    Error::new(ErrorKind::Unavailable, operation).message("made to fail").retry(retry)
}

impl Link {
    /// The call begins: the process may die, time may pass.
    async fn enter(&self) -> Fate {
        self.process.point().await;
        let (fate, delay) = self.process.world.fate();
        if delay > 0 {
            self.process.clock.sleep(Duration::from_millis(delay)).await;
        }
        fate
    }

    async fn read<T>(&self, operation: &'static str, read: impl Future<Output = Result<T>>) -> Result<T> {
        if self.enter().await != Fate::Well {
            return Err(fault(operation, Retry::Safe));
        }
        let found = read.await;
        self.process.point().await;
        found
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SnapshotStorage for Link {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let fate = self.enter().await;
        match fate {
            Fate::Refused => return Err(fault("append", Retry::Safe)),
            Fate::LostBefore => return Err(fault("append", Retry::Ambiguous)),
            Fate::Well | Fate::Lost => {}
        }
        let done = self.inner.append(records).await;
        self.process.point().await;
        if fate == Fate::Lost { Err(fault("append", Retry::Ambiguous)) } else { done }
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        self.read("load", self.inner.load(saga, at)).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        let (inner, process) = (self.inner.clone(), self.process.clone());
        let opened = async move {
            let link = Self { inner, process };
            match link.enter().await {
                Fate::Well => link.inner.list(query),
                _ => futures::stream::iter([Err(fault("list", Retry::Safe))]).boxed(),
            }
        };
        opened.flatten_stream().boxed()
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        self.inner.sagas(query)
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        self.read("prune", self.inner.prune(request)).await
    }
}
