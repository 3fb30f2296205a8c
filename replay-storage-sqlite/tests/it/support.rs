//! Records to append, and the file they go to.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use chrono::DateTime;
use replay_core::{
    Digest, Outline, OutlineStep, Phase, SagaId, SagaStatus, SnapshotMeta, SnapshotRecord,
    storage::{At, SnapshotStorage},
};
use replay_storage_sqlite::Sqlite;
use tempfile::TempDir;

/// 2026-01-01T00:00:00Z.
pub(crate) const START_US: i64 = 1_767_225_600_000_000;

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

pub(crate) async fn open(path: &Path) -> Sqlite {
    Sqlite::builder(path).open().await.expect("the store opens")
}

/// A new store in a new folder.
pub(crate) async fn fresh() -> (TempDir, PathBuf, Sqlite) {
    let folder = folder();
    let path = folder.path().join("store.db");
    let store = open(&path).await;
    (folder, path, store)
}

pub(crate) fn id(saga: &str) -> SagaId {
    SagaId::new(saga).expect("a saga id")
}

pub(crate) fn outline() -> Arc<Outline> {
    let steps = ["reserve", "charge", "ship"].into_iter().zip([vec![], vec![0], vec![1]]);
    Arc::new(Outline::new("order", "1", steps.map(|(name, needs)| OutlineStep::new(name, needs)).collect()).expect("an outline"))
}

/// The record that comes at `sequence`: before a step, one millisecond after the one before it.
/// The record with this sequence of a history that is always the same.
pub(crate) fn record(saga: &str, sequence: u64) -> SnapshotRecord {
    record_after(digest_of(saga, sequence - 1), saga, sequence, format!(r#"{{"n":{sequence},"token":"tok_{sequence}"}}"#))
}

/// The record that follows the newest one of a saga.
pub(crate) async fn next_record(store: &Sqlite, saga: &str, context: impl Into<Bytes>) -> SnapshotRecord {
    let newest = store.load(&id(saga), At::Latest).await.expect("it can be read");
    let (sequence, digest) = newest.map_or((0, Digest::ZERO), |record| (record.sequence, record.digest()));
    record_after(digest, saga, sequence + 1, context)
}

pub(crate) fn record_after(prev: Digest, saga: &str, sequence: u64, context: impl Into<Bytes>) -> SnapshotRecord {
    let step = u32::try_from((sequence - 1) % 3).expect("a step");
    let at = START_US + 1000 * i64::try_from(sequence).expect("a sequence");
    let mut meta = SnapshotMeta::new(id(saga), outline(), sequence, DateTime::from_timestamp_micros(at).expect("an instant"));
    meta.phase = Phase::BeforeStep;
    meta.status = SagaStatus::Executing;
    meta.step = Some(step);
    meta.next = [step].into_iter().collect();
    meta.prev_digest = prev;
    SnapshotRecord::seal(meta, context.into())
}

/// The digest of [`record`], which the next one follows; made once each.
fn digest_of(saga: &str, sequence: u64) -> Digest {
    static KNOWN: Mutex<BTreeMap<String, Vec<Digest>>> = Mutex::new(BTreeMap::new());
    let known = || KNOWN.lock().expect("no test panics with it").get(saga).map_or(0, Vec::len) as u64;
    if sequence == 0 {
        return Digest::ZERO;
    }
    while known() < sequence {
        let digest = record(saga, known() + 1).digest();
        KNOWN.lock().expect("no test panics with it").entry(saga.to_owned()).or_default().push(digest);
    }
    KNOWN.lock().expect("no test panics with it")[saga][usize::try_from(sequence - 1).expect("a sequence")]
}

/// Appends records 1 to `count`, one at a time.
pub(crate) async fn append_up_to(store: &Sqlite, saga: &str, count: u64) {
    for sequence in 1..=count {
        store.append(vec![record(saga, sequence)]).await.expect("it is appended");
    }
}

/// The sequence of a saga's newest record, 0 if it has none.
pub(crate) async fn newest(store: &Sqlite, saga: &str) -> u64 {
    store.load(&id(saga), At::Latest).await.expect("it can be read").map_or(0, |record| record.sequence)
}
