//! 100,000 random appends, prunes and reopenings: whatever is left can be read, and no frame is left or lacking.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use replay_core::{
    SagaStatus, SnapshotId, SnapshotMeta, SnapshotRecord,
    storage::{At, PruneRequest, PruneScope, SnapshotQuery, SnapshotStorage},
};
use replay_storage_sqlite::{Durability, Sqlite};
use rusqlite::Connection;

use crate::support::{folder, id, record_after};

const OPERATIONS: usize = 100_000;
const SAGAS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What was appended of a saga: the newest record, and the text of each.
#[derive(Default)]
struct Model {
    newest: Option<SnapshotRecord>,
    texts: BTreeMap<u64, String>,
}

/// Mostly a field of the context before changes; sometimes it grows, is tiny, or is something else.
fn context(random: &mut fastrand::Rng, model: &Model) -> String {
    let noise = |random: &mut fastrand::Rng, len| std::iter::repeat_with(|| random.alphanumeric()).take(len).collect::<String>();
    let before = model.texts.values().next_back().filter(|text| text.len() < 3000);
    match (random.u8(..20), before) {
        (0, _) => "{}".into(),
        (1, _) => noise(random, 900),
        (2..5, Some(before)) => format!("{before}{}", noise(random, 60)),
        (5..18, Some(before)) if before.len() > 20 => format!("{:010}{}", random.u32(..), &before[10..]),
        _ => format!(r#"{{"step":{:010},"lines":"{}"}}"#, random.u32(..), "a thing that people order, ".repeat(random.usize(5..40))),
    }
}

fn next(random: &mut fastrand::Rng, saga: &str, model: &Model) -> SnapshotRecord {
    let (sequence, digest) = model.newest.as_ref().map_or((0, replay_core::Digest::ZERO), |newest| (newest.sequence, newest.digest()));
    let record = record_after(digest, saga, sequence + 1, context(random, model));
    let mut meta = SnapshotMeta::clone(record.meta());
    if random.u8(..12) == 0 {
        (meta.status, meta.next) = (SagaStatus::Completed, std::iter::empty().collect());
    }
    SnapshotRecord::seal(meta, record.context_text().unwrap())
}

fn scope(random: &mut fastrand::Rng, saga: &str, newest: u64) -> PruneScope {
    match random.u8(..8) {
        0 => PruneScope::Saga(id(saga)),
        1..4 => PruneScope::KeepNewest { saga_id: Some(id(saga)), keep: random.u64(1..12) },
        _ => PruneScope::Record(SnapshotId { saga_id: id(saga), sequence: random.u64(newest.saturating_sub(12)..=newest).max(1) }),
    }
}

/// Everything that is left of a saga is what was appended; gives how many records that is.
async fn check(store: &Sqlite, saga: &str, model: &Model, at: usize) -> usize {
    let left: Vec<_> = store.list(SnapshotQuery::new(id(saga))).try_collect().await.unwrap();
    for record in &left {
        let text = record.context_text().unwrap_or_else(|error| panic!("operation {at}: {error}"));
        assert_eq!(Some(&text[..]), model.texts.get(&record.sequence).map(String::as_bytes), "operation {at}: {}", record.id());
    }
    left.len()
}

#[tokio::test]
async fn whatever_is_left_after_random_appends_prunes_and_reopenings_is_readable() {
    let folder = folder();
    let path = folder.path().join("store.db");
    let open = || async { Sqlite::builder(&path).durability(Durability::Normal).open().await.unwrap() };
    let mut random = fastrand::Rng::with_seed(42);
    let mut handles = [open().await, open().await];
    let mut models = SAGAS.map(|_| Model::default());
    for at in 0..OPERATIONS {
        let saga = random.usize(..SAGAS.len());
        let (name, model) = (SAGAS[saga], &mut models[saga]);
        // One handle mostly goes on with its sagas; the other sometimes steps in.
        let handle = usize::from(random.u8(..10) == 0);
        let store = &handles[handle];
        match random.u16(..1000) {
            0..900 => {
                let record = next(&mut random, name, model);
                store.append(vec![record.clone()]).await.unwrap();
                model.texts.insert(record.sequence, String::from_utf8(record.context_text().unwrap().to_vec()).unwrap());
                model.newest = Some(record);
            }
            900..994 => {
                let newest = model.newest.as_ref().map_or(1, |newest| newest.sequence);
                store.prune(PruneRequest::new(scope(&mut random, name, newest))).await.unwrap();
                check(&handles[1 - handle], name, model, at).await;
                if store.load(&id(name), At::Latest).await.unwrap().is_none() {
                    *model = Model::default();
                }
            }
            _ => handles[handle] = open().await,
        }
    }
    for (name, model) in SAGAS.iter().zip(&models) {
        check(&handles[0], name, model, OPERATIONS).await;
    }
    let orphans = "SELECT (SELECT count(*) FROM frames WHERE frame_no NOT IN (SELECT frame_no FROM records WHERE frame_no IS NOT NULL))
        + (SELECT count(*) FROM records WHERE frame_no NOT IN (SELECT frame_no FROM frames))";
    let orphans: i64 = Connection::open(&path).unwrap().query_row(orphans, [], |row| row.get(0)).unwrap();
    assert_eq!(orphans, 0);
}
