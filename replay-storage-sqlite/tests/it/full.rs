//! No room, and room again.

use std::{path::Path, process::Command};

use replay_core::{Digest, ErrorKind, Retry, storage::SnapshotStorage};
use replay_storage_sqlite::Sqlite;

use crate::{
    child,
    support::{folder, newest, open, record_after},
};

fn large(sequence: u64) -> replay_core::SnapshotRecord {
    let prev = if sequence == 1 { Digest::ZERO } else { large(sequence - 1).digest() };
    record_after(prev, "a", sequence, format!("{{\"n\":{sequence},\"pad\":\"{}\"}}", "x".repeat(20_000)))
}

/// Appends until it fails, and gives the last sequence that was acknowledged and the error.
async fn fill(store: &Sqlite, from: u64) -> (u64, replay_core::Error) {
    for sequence in from.. {
        if let Err(error) = store.append(vec![large(sequence)]).await {
            return (sequence - 1, error);
        }
    }
    unreachable!("the range has no end")
}

async fn check_history(path: &Path, acknowledged: u64) {
    use futures::TryStreamExt;
    let store = open(path).await;
    let history: Vec<_> = store.list(replay_core::storage::SnapshotQuery::new(crate::support::id("a"))).try_collect().await.unwrap();
    assert_eq!(history.len() as u64, acknowledged);
    for record in history {
        record.decode().unwrap();
    }
    let sql = rusqlite::Connection::open(path).unwrap();
    let sound: String = sql.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

/// A file system of 2 MB that only the child sees.
#[test]
fn a_full_disk_is_store_full_and_works_again_when_space_returns() {
    if let Some(folder) = child::folder() {
        child::block_on(async {
            let (path, ballast) = (folder.join("store.db"), folder.join("ballast"));
            std::fs::write(&ballast, vec![0; 500_000]).unwrap();
            let store = open(&path).await;
            let (acknowledged, error) = fill(&store, 1).await;
            assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::StoreFull, Retry::Safe), "{error}");
            assert!(acknowledged > 5, "{acknowledged}");
            assert_eq!(newest(&store, "a").await, acknowledged, "what is stored is still read");
            std::fs::remove_file(&ballast).unwrap();
            store.append(vec![large(acknowledged + 1)]).await.expect("the same append is done once there is room");
            let (acknowledged, error) = fill(&store, acknowledged + 2).await;
            assert_eq!(error.kind(), ErrorKind::StoreFull, "{error}");
            drop(store);
            check_history(&path, acknowledged).await;
        });
        return;
    }
    let folder = folder();
    let mut command = Command::new("unshare");
    command.args([
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs -o size=2m none \"$REPLAY_SQLITE_CHILD\" && exec \"$@\"",
        "sh",
    ]);
    command.arg(child::this());
    let output = child::run_in(command, "full::a_full_disk_is_store_full_and_works_again_when_space_returns", folder.path())
        .output()
        .expect("not run: `unshare` of util-linux is needed for a file system of its own");
    child::check(&output);
}

/// A limit on the size of files makes writes fail in the middle, as a failing disk does.
#[test]
fn a_failing_write_is_an_error_and_takes_nothing_that_was_acknowledged() {
    if let Some(folder) = child::folder() {
        child::block_on(async {
            let store = open(&folder.join("store.db")).await;
            let (acknowledged, error) = fill(&store, 1).await;
            assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::StoreFull), "{error}");
            assert_ne!(error.retry_advice(), Retry::Never);
            assert_eq!(newest(&store, "a").await, acknowledged);
            let repeated = store.append(vec![large(acknowledged + 1)]).await;
            assert!(repeated.is_err(), "the limit still holds");
            std::fs::write(folder.join("acknowledged"), acknowledged.to_string()).unwrap();
        });
        return;
    }
    let folder = folder();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ && ulimit -f 2048 && exec \"$@\"", "sh"]).arg(child::this());
    let name = "full::a_failing_write_is_an_error_and_takes_nothing_that_was_acknowledged";
    child::check(&child::run_in(command, name, folder.path()).output().unwrap());
    let acknowledged: u64 = std::fs::read_to_string(folder.path().join("acknowledged")).unwrap().parse().unwrap();
    let path = folder.path().join("store.db");
    child::block_on(async {
        check_history(&path, acknowledged).await;
        open(&path).await.append(vec![large(acknowledged + 1)]).await.expect("it goes on where there is no limit");
    });
}
