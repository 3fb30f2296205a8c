use std::{
    fmt,
    task::{Poll, ready},
};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};

use super::plan::{Call, Doings, FaultPlan, Hook};
use crate::{
    Result, SagaId, SnapshotRecord,
    storage::{At, Capabilities, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
};

/// A store whose calls go wrong as a [`FaultPlan`] says. For tests, simulations and kill tests.
#[derive(Debug, Clone)]
pub struct Faulting<S> {
    inner: S,
    plan: FaultPlan,
}

impl<S: SnapshotStorage> Faulting<S> {
    /// Lets the calls of `inner` go wrong as `plan` says.
    pub fn new(inner: S, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }

    /// The plan; changing it changes what happens from the next call on.
    pub fn plan(&self) -> &FaultPlan {
        &self.plan
    }

    async fn around<T>(&self, call: Call, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Doings { before, fail, after, lose_answer } = self.plan.next(call);
        run(&before);
        if let Some(error) = fail {
            return Err(error);
        }
        let answer = work.await?;
        run(&after);
        lose_answer.map_or(Ok(answer), Err)
    }

    /// Counts when it is asked for, as a store would see the request; hooks run when it is first polled and when it has ended.
    fn stream<T: Send + 'static>(&self, call: Call, items: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
        let Doings { before, fail, after, lose_answer } = self.plan.next(call);
        let begin = stream::once(async move {
            run(&before);
            fail.map(Err)
        });
        let end = stream::once(async move {
            run(&after);
            lose_answer.map(Err)
        });
        let mut items = Some(begin.filter_map(std::future::ready).chain(items).chain(end.filter_map(std::future::ready)).boxed());
        stream::poll_fn(move |cx| {
            let Some(rest) = &mut items else { return Poll::Ready(None) };
            let next = ready!(rest.poll_next_unpin(cx));
            if !matches!(next, Some(Ok(_))) {
                // Nothing is read behind an error.
                items = None;
            }
            Poll::Ready(next)
        })
        .boxed()
    }
}

fn run(hooks: &[Hook]) {
    for hook in hooks {
        hook();
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: SnapshotStorage> SnapshotStorage for Faulting<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        self.around(Call::Append, self.inner.append(records)).await
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        self.around(Call::Load, self.inner.load(saga, at)).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        self.stream(Call::List, self.inner.list(query))
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        self.stream(Call::Sagas, self.inner.sagas(query))
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        self.around(Call::Prune, self.inner.prune(request)).await
    }
}

impl<S: SnapshotStorage> fmt::Display for Faulting<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulting({})", self.inner)
    }
}
