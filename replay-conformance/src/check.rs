//! What the cases say again and again.

use std::fmt::Debug;

use futures::TryStreamExt;
use replay_core::{
    Error, ErrorKind, Result, SagaId, SnapshotRecord, Store,
    storage::{At, Order, PruneReport, PruneRequest, PruneScope, SagaQuery, SagaSummary, SnapshotQuery},
};

use crate::records::saga;

pub(crate) async fn append(store: &Store, records: impl IntoIterator<Item = SnapshotRecord>) {
    store.snapshots().append(records.into_iter().collect()).await.expect("the append is accepted");
}

pub(crate) async fn load(store: &Store, id: &str, at: At) -> Option<SnapshotRecord> {
    store.snapshots().load(&saga(id), at).await.expect("the load succeeds")
}

/// The sequence of the record at a position.
pub(crate) async fn sequence_at(store: &Store, id: &str, at: At) -> Option<u64> {
    load(store, id, at).await.map(|record| record.sequence)
}

pub(crate) async fn list(store: &Store, query: SnapshotQuery) -> Vec<SnapshotRecord> {
    store.snapshots().list(query).try_collect().await.expect("the listing succeeds")
}

/// The sequences that a listing gives.
pub(crate) async fn listed(store: &Store, query: SnapshotQuery) -> Vec<u64> {
    list(store, query).await.iter().map(|record| record.sequence).collect()
}

pub(crate) async fn history(store: &Store, id: &str) -> Vec<SnapshotRecord> {
    list(store, SnapshotQuery::new(saga(id))).await
}

/// The sequences of a whole history, read in both directions, which must agree.
pub(crate) async fn sequences(store: &Store, id: &str) -> Vec<u64> {
    let ascending = listed(store, SnapshotQuery::new(saga(id))).await;
    let mut descending = listed(store, SnapshotQuery::new(saga(id)).with_order(Order::Descending)).await;
    descending.reverse();
    assert_eq!(ascending, descending, "both directions show the same records");
    ascending
}

pub(crate) async fn sagas(store: &Store, query: SagaQuery) -> Vec<SagaSummary> {
    store.snapshots().sagas(query).try_collect().await.expect("the listing succeeds")
}

/// The ids that a listing of sagas gives.
pub(crate) async fn ids(store: &Store, query: SagaQuery) -> Vec<String> {
    sagas(store, query).await.iter().map(|head| head.saga_id.to_string()).collect()
}

pub(crate) async fn head(store: &Store, id: &str) -> Option<SagaSummary> {
    sagas(store, SagaQuery::default()).await.into_iter().find(|head| head.saga_id.as_str() == id)
}

pub(crate) async fn prune(store: &Store, request: PruneRequest) -> PruneReport {
    store.snapshots().prune(request).await.expect("the prune succeeds")
}

pub(crate) fn keep_newest(id: &str, keep: u64) -> PruneRequest {
    PruneRequest::new(PruneScope::KeepNewest { saga_id: Some(saga(id)), keep })
}

pub(crate) fn one_record(id: &str, sequence: u64) -> PruneRequest {
    PruneRequest::new(PruneScope::Record(replay_core::SnapshotId { saga_id: saga(id), sequence }))
}

pub(crate) fn whole_saga(id: &SagaId) -> PruneRequest {
    PruneRequest::new(PruneScope::Saga(id.clone()))
}

/// The error of a call that must be refused, of this kind.
pub(crate) fn refused<T: Debug>(result: Result<T>, kind: ErrorKind) -> Error {
    let error = result.expect_err("the call must be refused");
    assert_eq!(error.kind(), kind, "{error:?}");
    error
}

/// Refuses the records as a conflict that names its facts.
pub(crate) async fn conflicts(store: &Store, records: Vec<SnapshotRecord>, sequence: u64, expected: u64) {
    let id = records[0].saga_id.to_string();
    let error = refused(store.snapshots().append(records).await, ErrorKind::Conflict);
    let facts = ["saga", "sequence", "expected"].map(|key| error.fact(key).unwrap_or("(missing)").to_owned());
    assert_eq!(facts, [id, sequence.to_string(), expected.to_string()], "the facts saga, sequence and expected");
}

/// What is handed out is what was put in, to the last byte of what the digests cover.
pub(crate) fn assert_same(got: &SnapshotRecord, want: &SnapshotRecord) {
    let id = want.id();
    assert_eq!(got.id(), id, "another record");
    assert_eq!(got.header(), want.header(), "{id}: the header is another");
    assert_eq!(got.digest(), want.digest(), "{id}: the digest is another");
    assert_eq!(got.meta(), want.meta(), "{id}: the header was read as something else");
    assert_eq!(got.outline.as_bytes(), want.outline.as_bytes(), "{id}: the definition is another");
    let text = |record: &SnapshotRecord| record.clone().decode().map(|snapshot| snapshot.context_text().clone());
    let (got, want) = (text(got).expect("the context is what was sealed"), text(want).expect("a sound record"));
    assert!(got == want, "{id}: the context is another");
}

pub(crate) fn assert_history(got: &[SnapshotRecord], want: &[SnapshotRecord]) {
    let sequences = |records: &[SnapshotRecord]| records.iter().map(|record| record.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(got), sequences(want));
    for (got, want) in got.iter().zip(want) {
        assert_same(got, want);
    }
}
