//! Several processes on one file.

use std::process::{Child, Stdio};

use replay_core::storage::{LogStorage, SnapshotStorage};

use crate::{
    child,
    support::{append_up_to, folder, id, newest, next_record, open, record},
};

const PROCESSES: usize = 6;

fn spawn_all(name: &str, folder: &std::path::Path) {
    let children: Vec<Child> = (0..PROCESSES)
        .map(|n| {
            let mut command = child::again(name, folder);
            command.env("REPLAY_SQLITE_NUMBER", n.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("the child starts")
        })
        .collect();
    for child in children {
        child::check(&child.wait_with_output().expect("the child ends"));
    }
}

fn number() -> usize {
    std::env::var("REPLAY_SQLITE_NUMBER").expect("the child's number").parse().expect("a number")
}

/// Each process makes the tables of one new file, or finds that another did, and appends at once.
#[test]
fn processes_that_start_at_once_migrate_once() {
    if let Some(folder) = child::folder() {
        child::block_on(async {
            let store = open(&folder.join("store.db")).await;
            append_up_to(&store, &format!("saga_{}", number()), 20).await;
        });
        return;
    }
    for _ in 0..8 {
        let folder = folder();
        spawn_all("processes::processes_that_start_at_once_migrate_once", folder.path());
        child::block_on(async {
            let store = open(&folder.path().join("store.db")).await;
            for n in 0..PROCESSES {
                assert_eq!(newest(&store, &format!("saga_{n}")).await, 20);
            }
        });
    }
}

/// All processes append to one saga; what each was told it appended is what the history says.
#[test]
fn processes_that_append_to_one_saga_get_each_sequence_once() {
    const APPENDS: u64 = 200;
    if let Some(folder) = child::folder() {
        child::block_on(async {
            let store = open(&folder.join("store.db")).await;
            let won = format!("won by {}", number());
            loop {
                let record = next_record(&store, "contested", format!("{{\"process\":{}}}", number())).await;
                let next = record.sequence;
                if next > APPENDS {
                    return;
                }
                match store.append(vec![record]).await {
                    Ok(()) => store.append_log(&won, store_len(&store, &won).await, vec![next.to_string().into()]).await.map(drop).unwrap(),
                    Err(error) => assert!(error.is(replay_core::ErrorKind::Conflict), "{error}"),
                }
            }
        });
        return;
    }
    let folder = folder();
    spawn_all("processes::processes_that_append_to_one_saga_get_each_sequence_once", folder.path());
    child::block_on(async {
        use futures::TryStreamExt;
        use replay_core::storage::SnapshotQuery;
        let store = open(&folder.path().join("store.db")).await;
        let history: Vec<_> = store.list(SnapshotQuery::new(id("contested"))).try_collect().await.unwrap();
        let mut claimed = Vec::new();
        for n in 0..PROCESSES {
            let won: Vec<_> = store.read_log(&format!("won by {n}"), 0, u64::MAX).try_collect().await.unwrap();
            for entry in won {
                let sequence: u64 = std::str::from_utf8(&entry.bytes).unwrap().parse().unwrap();
                let record = &history[usize::try_from(sequence).unwrap() - 1];
                assert_eq!(record.payload().unwrap().bytes, format!("{{\"process\":{n}}}").as_bytes(), "{sequence} is another's");
                claimed.push(sequence);
            }
        }
        claimed.sort_unstable();
        assert_eq!(claimed, (1..=APPENDS).collect::<Vec<_>>());
    });
}

async fn store_len(store: &replay_storage_sqlite::Sqlite, stream: &str) -> u64 {
    use futures::TryStreamExt;
    let streams: Vec<_> = store.streams(stream).try_collect().await.expect("the streams");
    streams.first().map_or(0, |stream| stream.len)
}

/// A saga that another process deleted and began anew is not mistaken for the one that this process remembers.
#[tokio::test]
async fn a_saga_that_another_handle_replaced_is_found_again() {
    use replay_core::storage::{PruneRequest, PruneScope};
    let (_folder, path, store) = crate::support::fresh().await;
    append_up_to(&store, "a", 3).await;
    let other = open(&path).await;
    other.prune(PruneRequest::new(PruneScope::Saga(id("a")))).await.unwrap();
    let error = store.append(vec![record("a", 4)]).await.unwrap_err();
    assert_eq!(error.fact("expected"), Some("1"), "{error}");
    append_up_to(&other, "b", 1).await;
    append_up_to(&other, "a", 2).await;
    store.append(vec![record("a", 3)]).await.unwrap();
    assert_eq!((newest(&other, "a").await, newest(&other, "b").await), (3, 1));
}
