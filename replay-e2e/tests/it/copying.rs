//! kill -9 while sagas are copied or moved from one SQLite file to another.

use std::{path::Path, sync::Arc};

use futures::TryStreamExt;
use replay_core::{
    SnapshotRecord, Store,
    copy::{CopyOptions, copy},
    storage::{SagaQuery, SagaSummary, SnapshotQuery},
};
use replay_e2e::{
    child::{self, Job, Work},
    fatal::Kill,
    parent::Death,
};
use replay_storage_memory::Memory;

use crate::program;

fn copy_all(dir: &Path, kill: Option<Kill>) -> Death {
    let job = Job::new(dir, Work::Copy);
    program()
        .run(&match kill {
            Some(kill) => job.with_kill(kill),
            None => job,
        })
        .unwrap()
}

async fn everything(store: &Store) -> Vec<(SagaSummary, Vec<SnapshotRecord>)> {
    let heads: Vec<SagaSummary> = store.snapshots().sagas(SagaQuery::default()).try_collect().await.unwrap();
    let mut all = Vec::new();
    for head in heads {
        let query = SnapshotQuery::new(head.saga_id.clone());
        all.push((head, store.snapshots().list(query).try_collect().await.unwrap()));
    }
    all
}

#[tokio::test]
async fn a_copy_killed_at_any_append_is_completed_by_the_next_one_and_nothing_is_twice() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(program().run(&Job::new(dir.path(), Work::StartMany(6))).unwrap(), Death::Ended(_)));
    let original = everything(&child::store(dir.path()).await.unwrap()).await;
    assert_eq!(original.len(), 6);
    for kill in (1..=6).flat_map(|number| [Kill::Before(number), Kill::After(number)]) {
        assert_eq!(copy_all(dir.path(), Some(kill)), Death::Killed, "{kill:?}");
        let Death::Ended(ended) = copy_all(dir.path(), None) else { panic!("killed") };
        assert!(ended[0].how.ends_with("0 refused"), "{kill:?}: {ended:?}");
        let copy = child::copy_store(dir.path()).await.unwrap();
        assert_eq!(everything(&copy).await, original, "{kill:?}");
        drop(copy);
        for name in ["copy.db", "copy.db-wal", "copy.db-shm"] {
            let _ = std::fs::remove_file(dir.path().join(name));
        }
    }
}

#[tokio::test]
async fn a_copy_whose_every_process_is_killed_gets_there_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(program().run(&Job::new(dir.path(), Work::StartMany(6))).unwrap(), Death::Ended(_)));
    // Two sagas are copied at once, so a killed process has copied one or two.
    let kills = (0..6).take_while(|_| copy_all(dir.path(), Some(Kill::After(1))) == Death::Killed).count();
    assert!((3..=6).contains(&kills), "{kills}");
    let Death::Ended(ended) = copy_all(dir.path(), None) else { panic!("killed") };
    assert_eq!(ended[0].how, "0 copied, 6 unchanged, 0 refused");
}

#[tokio::test]
async fn through_a_file_and_memory_and_back_everything_is_equal() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(program().run(&Job::new(dir.path(), Work::StartMany(6))).unwrap(), Death::Ended(_)));
    let (file, memory) = (child::store(dir.path()).await.unwrap(), Memory::new().into_store());
    let options = CopyOptions::default().with_verify(true);
    copy(&file, &memory, &options, &|_| {}).await.unwrap();
    let back = child::copy_store(dir.path()).await.unwrap();
    let report = copy(&memory, &back, &options, &|_| {}).await.unwrap();
    assert_eq!((report.copied, report.refused), (6, 0));
    assert_eq!(everything(&back).await, everything(&file).await);
}

#[tokio::test]
async fn a_move_killed_at_any_append_or_removal_loses_nothing_and_is_completed_by_the_next_one() {
    for removing in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(program().run(&Job::new(dir.path(), Work::StartMany(3))).unwrap(), Death::Ended(_)));
        let original = everything(&child::store(dir.path()).await.unwrap()).await;
        // A record of 33 is removed, or a saga of three appended, between two kills.
        let (step, kills) = if removing { (5, 6) } else { (1, 3) };
        for round in 0..kills {
            let kill = if round % 2 == 0 { Kill::After(step) } else { Kill::Before(step + 1) };
            let death = program().run(&Job::new(dir.path(), Work::Move { removing }).with_kill(kill)).unwrap();
            let (hot, cold) = (child::store(dir.path()).await.unwrap(), child::copy_store(dir.path()).await.unwrap());
            let both = hot.clone().with_snapshots(Arc::new(child::tiers(&hot, &cold)));
            assert_eq!(everything(&both).await, original, "round {round}");
            if round == 0 {
                assert_eq!(death, Death::Killed);
            }
        }
        assert!(matches!(program().run(&Job::new(dir.path(), Work::Move { removing })).unwrap(), Death::Ended(_)));
        let (hot, cold) = (child::store(dir.path()).await.unwrap(), child::copy_store(dir.path()).await.unwrap());
        assert!(everything(&hot).await.is_empty());
        assert_eq!(everything(&cold).await, original);
    }
}
