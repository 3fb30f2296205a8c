use std::{fmt, task::Poll, time::Instant};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use metrics::{SharedString, counter, histogram};
use tracing::{Instrument, Span, debug_span, field};

use super::plan::Call;
use crate::{
    ErrorKind, Result, SagaId, SnapshotRecord,
    storage::{At, Capabilities, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
};

/// Counter of calls, by `store`, `operation` (the method) and `outcome`: `ok`, the kind of the error in words, or `dropped` for a call
/// or a stream that was given up before its end.
pub const CALLS: &str = "replay_store_calls_total";

/// Histogram of how long calls take, in seconds, by `store` and `operation`; for a stream, from its first poll to its end.
pub const CALL_SECONDS: &str = "replay_store_call_seconds";

/// Counter of records and heads that calls wrote, read or removed, by `store` and `operation`.
pub const RECORDS: &str = "replay_store_records_total";

/// Counter of the stored bytes of the records that were appended or loaded, by `store` and `operation`.
pub const BYTES: &str = "replay_store_bytes_total";

/// A store that says what is asked of it: a `tracing` span at debug level for each call, named `store`, with the fields `store`,
/// `operation`, `saga` (where there is one), `records` and `outcome`, and the metrics [`CALLS`], [`CALL_SECONDS`], [`RECORDS`] and
/// [`BYTES`] through the `metrics` facade. Contexts are never in them.
#[derive(Debug, Clone)]
pub struct Instrumented<S> {
    inner: S,
    name: SharedString,
}

impl<S: SnapshotStorage> Instrumented<S> {
    /// Says what is asked of `inner`.
    pub fn new(inner: S) -> Self {
        let name = SharedString::from(inner.to_string());
        Self { inner, name }
    }

    fn start(&self, call: Call, saga: Option<&SagaId>) -> Watch {
        let (store, saga) = (&*self.name, saga.map(field::display));
        let span = debug_span!("store", store, operation = call.as_str(), saga, records = field::Empty, outcome = field::Empty);
        Watch { store: self.name.clone(), operation: call.as_str(), span, started: None, records: 0, bytes: 0 }
    }

    async fn watch<T>(&self, mut watch: Watch, work: impl Future<Output = Result<T>>, size: impl FnOnce(&T) -> (u64, u64)) -> Result<T> {
        watch.started = Some(Instant::now());
        let result = work.instrument(watch.span.clone()).await;
        if let Ok(answer) = &result {
            (watch.records, watch.bytes) = size(answer);
        }
        watch.end(outcome(&result));
        result
    }
}

fn outcome<T>(result: &Result<T>) -> &'static str {
    result.as_ref().map_or_else(|error| ErrorKind::as_str(error.kind()), |_| "ok")
}

/// A call under way; says how it ended when it is dropped.
struct Watch {
    store: SharedString,
    operation: &'static str,
    span: Span,
    /// None once the end was told, and for a stream that was never polled, which asked nothing of the store.
    started: Option<Instant>,
    records: u64,
    bytes: u64,
}

impl Watch {
    fn stream<T: Send + 'static>(mut self, mut items: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
        let mut is_over = false;
        futures::stream::poll_fn(move |cx| {
            if is_over {
                return Poll::Ready(None);
            }
            self.started.get_or_insert_with(Instant::now);
            let entered = self.span.enter();
            let next = items.poll_next_unpin(cx);
            let outcome = match &next {
                Poll::Ready(Some(Ok(_))) => {
                    self.records += 1;
                    return next;
                }
                Poll::Ready(Some(error)) => outcome(error),
                Poll::Ready(None) => "ok",
                Poll::Pending => return next,
            };
            drop(entered);
            is_over = true;
            self.end(outcome);
            next
        })
        .boxed()
    }
}

impl Watch {
    /// Says how the call ended; only the first end counts.
    fn end(&mut self, outcome: &'static str) {
        let Some(started) = self.started.take() else { return };
        self.span.record("records", self.records).record("outcome", outcome);
        let (store, operation) = (|| self.store.clone(), self.operation);
        counter!(CALLS, "store" => store(), "operation" => operation, "outcome" => outcome).increment(1);
        histogram!(CALL_SECONDS, "store" => store(), "operation" => operation).record(started.elapsed().as_secs_f64());
        if self.records > 0 {
            counter!(RECORDS, "store" => store(), "operation" => operation).increment(self.records);
        }
        if self.bytes > 0 {
            counter!(BYTES, "store" => store(), "operation" => operation).increment(self.bytes);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end("dropped");
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: SnapshotStorage> SnapshotStorage for Instrumented<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let size = (records.len() as u64, records.iter().map(SnapshotRecord::stored_len).sum());
        let watch = self.start(Call::Append, records.first().map(|record| &record.saga_id));
        self.watch(watch, self.inner.append(records), move |()| size).await
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        let size = |found: &Option<SnapshotRecord>| found.as_ref().map_or((0, 0), |record| (1, record.stored_len()));
        self.watch(self.start(Call::Load, Some(saga)), self.inner.load(saga, at), size).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        self.start(Call::List, Some(&query.saga_id)).stream(self.inner.list(query))
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        self.start(Call::Sagas, None).stream(self.inner.sagas(query))
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        self.watch(self.start(Call::Prune, None), self.inner.prune(request), |report| (report.records, 0)).await
    }
}

impl<S: SnapshotStorage> fmt::Display for Instrumented<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instrumented({})", self.inner)
    }
}
