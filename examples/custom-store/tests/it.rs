//! What is particular to the journal: how it stands torn and damaged files, and that the guide shows its code as it is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use example_custom_store::JournalStore;
use futures::TryStreamExt;
use replay_conformance::records::{history, saga};
use replay_core::{ErrorKind, Namespace, Result, Store, storage::SnapshotQuery};

fn open(folder: &Path) -> Store {
    JournalStore::open(folder, Namespace::default()).unwrap()
}

async fn sequences(store: &Store) -> Result<Vec<u64>> {
    let records: Vec<_> = store.snapshots().list(SnapshotQuery::new(saga("order_1"))).try_collect().await?;
    Ok(records.iter().map(|record| record.sequence).collect())
}

/// A journal with the first record in one entry and the next two in another, and how long it was after the first.
async fn journal(folder: &Path) -> (Vec<u8>, usize) {
    let store = open(folder);
    let records = history("order_1", 3);
    store.snapshots().append(records[..1].to_vec()).await.unwrap();
    let first = fs::read(file(folder)).unwrap().len();
    store.snapshots().append(records[1..].to_vec()).await.unwrap();
    (fs::read(file(folder)).unwrap(), first)
}

fn file(folder: &Path) -> std::path::PathBuf {
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

#[tokio::test]
async fn a_torn_entry_counts_as_never_written_and_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, first) = journal(folder.path()).await;
    for end in (first..bytes.len()).step_by(7) {
        fs::write(file(folder.path()), &bytes[..end]).unwrap();
        let store = open(folder.path());
        assert_eq!(sequences(&store).await.unwrap(), [1], "cut at {end}");
        store.snapshots().append(history("order_1", 3).split_off(1)).await.unwrap();
        assert_eq!(sequences(&open(folder.path())).await.unwrap(), [1, 2, 3], "cut at {end}");
    }
}

#[tokio::test]
async fn damage_before_the_end_is_an_error_and_nothing_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, first) = journal(folder.path()).await;
    for at in 12..first {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(file(folder.path()), &damaged).unwrap();
        let store = open(folder.path());
        assert_eq!(sequences(&store).await.unwrap_err().kind(), ErrorKind::Integrity, "byte {at}");
        store.snapshots().append(history("order_1", 3)).await.unwrap_err();
        assert_eq!(fs::read(file(folder.path())).unwrap(), damaged);
    }
}

#[test]
fn the_guide_shows_the_code_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code: String = ["src/lib.rs", "src/index.rs", "src/file.rs", "tests/conformance.rs", "Cargo.toml"]
        .iter()
        .map(|path| fs::read_to_string(root.join(path)).unwrap())
        .collect();
    let guide = fs::read_to_string(root.join("../../docs/guide/write-your-own-store.md")).unwrap();
    let blocks: Vec<&str> =
        guide.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n')).map(|(_, code)| code).collect();
    assert!(blocks.len() > 4, "the guide shows no code");
    for block in blocks {
        assert!(code.contains(block), "the guide shows what the example no longer has:\n{block}");
    }
}
