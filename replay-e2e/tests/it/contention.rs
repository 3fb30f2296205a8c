//! Sixteen runners that all want the same sagas: 10,000 steps in all.

use replay_e2e::contend::{Contest, quarrel};
use replay_storage_memory::Memory;
use replay_storage_sqlite::{Durability, Sqlite};

const CONTEST: Contest = Contest { runners: 16, sagas: 100, steps: 100, seed: 1 };

fn check(executed: u64) {
    assert!(executed >= CONTEST.sagas * CONTEST.steps, "{executed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_runners_in_memory_leave_every_history_whole() {
    let memory = Memory::new();
    check(quarrel(async || memory.clone().into_store(), CONTEST).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_runners_on_one_sqlite_file_leave_every_history_whole() {
    let dir = tempfile::tempdir().unwrap();
    // Each runner opens the file for itself, as processes do.
    let open = async || Sqlite::builder(dir.path().join("store.db")).durability(Durability::Normal).open().await.unwrap().into_store();
    check(quarrel(open, CONTEST).await.unwrap());
}
