//! Torn and flipped bytes: an old state or a new one, or an error, never a third.

use std::path::Path;

use futures::TryStreamExt;
use replay_core::{
    ErrorKind, SnapshotRecord,
    storage::{At, SagaQuery, SnapshotQuery, SnapshotStorage},
};
use replay_storage_sqlite::{Durability, Sqlite};

use crate::support::{append_up_to, fresh, id, open, record};

const SAGAS: [&str; 2] = ["a", "b"];

/// A page of the log with what is in front of it.
const FRAME: usize = 8192 + 24;

async fn history(store: &Sqlite, saga: &str) -> replay_core::Result<Vec<SnapshotRecord>> {
    store.list(SnapshotQuery::new(id(saga))).try_collect().await
}

/// The tables are in the file, and eight appends in the log. Cut anywhere, the log gives a prefix of them.
#[tokio::test]
async fn a_torn_log_gives_a_prefix_of_what_was_appended() {
    let (folder, path, store) = fresh().await;
    drop(store);
    let store = open(&path).await;
    for sequence in 1..=4 {
        for saga in SAGAS {
            store.append(vec![record(saga, sequence)]).await.unwrap();
        }
    }
    let (file, log) = (std::fs::read(&path).unwrap(), std::fs::read(path.with_extension("db-wal")).unwrap());
    let frames = (log.len() - 32) / FRAME;
    assert_eq!(log.len(), 32 + frames * FRAME, "the log is whole frames");
    let inside = [0, 1, 8, 23, 24, 25, 4096, FRAME - 1];
    let cuts = (0..frames).flat_map(|frame| inside.map(|within| 32 + frame * FRAME + within)).chain([0, 1, 16, 31, log.len()]);
    let torn = folder.path().join("torn.db");
    let mut seen = std::collections::BTreeSet::new();
    for cut in cuts {
        std::fs::write(&torn, &file).unwrap();
        std::fs::write(torn.with_extension("db-wal"), &log[..cut]).unwrap();
        let lengths = lengths_of_prefixes(&torn).await;
        let total = lengths[0] + lengths[1];
        assert!(lengths[0] == lengths[1] || lengths[0] == lengths[1] + 1, "cut at {cut}: {lengths:?}");
        seen.insert(total);
    }
    assert_eq!(seen, (0..=8).collect(), "every number of appends was the outcome of some cut");
}

/// How many records each saga has, each of them the one that was appended, and its head the newest.
async fn lengths_of_prefixes(path: &Path) -> [usize; 2] {
    let store = Sqlite::builder(path).durability(Durability::Normal).open().await.unwrap();
    let mut lengths = [0; 2];
    let heads: Vec<_> = store.sagas(SagaQuery::default()).try_collect().await.unwrap();
    for (saga, length) in SAGAS.into_iter().zip(&mut lengths) {
        let history = history(&store, saga).await.unwrap();
        for (sequence, found) in (1..).zip(&history) {
            assert_eq!(found, &record(saga, sequence));
        }
        let head = heads.iter().find(|head| head.saga_id == id(saga)).map_or(0, |head| head.sequence);
        assert_eq!(head, history.len() as u64);
        *length = history.len();
    }
    lengths
}

#[tokio::test]
async fn a_flipped_byte_of_a_record_names_the_record() {
    let (_folder, path, store) = fresh().await;
    append_up_to(&store, "a", 3).await;
    drop(store);
    let sound = std::fs::read(&path).unwrap();
    let second = record("a", 2);
    for part in [second.header(), &second.payload().unwrap().bytes] {
        let start = sound.windows(part.len()).position(|window| window == &part[..]).expect("the record is in the file");
        for at in start..start + part.len() {
            let mut flipped = sound.clone();
            flipped[at] ^= 0x10;
            std::fs::write(&path, &flipped).unwrap();
            let store = open(&path).await;
            let read = store.load(&id("a"), At::Sequence(2)).await.and_then(|record| record.expect("a record").decode());
            let error = read.expect_err("a flipped byte is noticed");
            assert!(matches!(error.kind(), ErrorKind::Integrity | ErrorKind::NewerVersion), "{error}");
            assert_eq!(error.fact("snapshot"), Some("a@2"), "{error}");
            assert_eq!(store.load(&id("a"), At::Latest).await.unwrap().unwrap(), record("a", 3), "its neighbours are readable");
        }
    }
}

/// Bytes anywhere in the file: whatever is given is what was appended.
#[tokio::test]
async fn flipped_bytes_anywhere_never_give_other_data() {
    let (_folder, path, store) = fresh().await;
    for saga in SAGAS {
        append_up_to(&store, saga, 40).await;
    }
    drop(store);
    let sound = std::fs::read(&path).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut errors = 0;
    for _ in 0..400 {
        let mut flipped = sound.clone();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(state >> 33).unwrap() % flipped.len();
            flipped[at] ^= 1 << (state & 7);
        }
        std::fs::write(&path, &flipped).unwrap();
        let Ok(store) = Sqlite::builder(&path).durability(Durability::Normal).open().await else {
            errors += 1;
            continue;
        };
        for saga in SAGAS {
            match history(&store, saga).await {
                Err(_) => errors += 1,
                Ok(history) => history.iter().for_each(|found| assert_eq!(found, &record(saga, found.sequence))),
            }
        }
        drop(store);
        for companion in ["db-wal", "db-shm"] {
            let _ = std::fs::remove_file(path.with_extension(companion));
        }
    }
    assert!(errors > 0, "some of the flips hit something");
}
