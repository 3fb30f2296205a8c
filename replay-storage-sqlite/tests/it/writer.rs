//! The queue of writes: callers that go away, other processes that hold the lock, panics.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use replay_core::{
    ErrorKind, ManualClock, Result, Retry,
    storage::{CellStorage, If, SnapshotStorage},
};
use replay_storage_sqlite::Sqlite;
use rusqlite::Connection;

use crate::support::{append_up_to, fresh, newest, record};

type Call = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

fn call(store: &Sqlite, saga: &str, sequence: u64) -> Call {
    let (store, record) = (store.clone(), record(saga, sequence));
    Box::pin(async move { store.append(vec![record]).await })
}

async fn poll_once(call: &mut Call) -> Poll<Result<()>> {
    poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await
}

#[tokio::test]
async fn a_leader_that_goes_away_leaves_nobody_waiting() {
    let (_folder, _path, store) = fresh().await;
    // The first call looks for company before it commits; the others queue behind it.
    let mut leader = call(&store, "leader", 1);
    assert!(poll_once(&mut leader).await.is_pending());
    let mut followers: Vec<Call> = (0..10).map(|n| call(&store, &format!("follower_{n}"), 1)).collect();
    for follower in &mut followers {
        assert!(poll_once(follower).await.is_pending());
    }
    drop(leader);
    drop(followers.pop());
    for follower in followers {
        follower.await.unwrap();
    }
    append_up_to(&store, "later", 3).await;
    for n in 0..9 {
        assert_eq!(newest(&store, &format!("follower_{n}")).await, 1);
    }
}

/// Without a runtime to leave the queue to, the one who goes away empties it.
#[test]
fn a_store_works_without_a_runtime() {
    let folder = crate::support::folder();
    let store = futures::executor::block_on(Sqlite::builder(folder.path().join("store.db")).open()).unwrap();
    let (mut leader, mut follower) = (call(&store, "a", 1), call(&store, "b", 1));
    futures::executor::block_on(async {
        assert!(poll_once(&mut leader).await.is_pending());
        assert!(poll_once(&mut follower).await.is_pending());
        drop(leader);
        follower.await.unwrap();
        append_up_to(&store, "c", 20).await;
        assert_eq!((newest(&store, "b").await, newest(&store, "c").await), (1, 20));
    });
}

/// A runtime that ends takes the task with it that empties the queue, not what is queued.
#[test]
fn a_runtime_that_ends_leaves_nobody_waiting() {
    let folder = crate::support::folder();
    let store = futures::executor::block_on(Sqlite::builder(folder.path().join("store.db")).open()).unwrap();
    for round in 1..=20 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        for n in 0..20 {
            let mut call = call(&store, &format!("saga_{n}"), round);
            runtime.spawn(async move { poll_once(&mut call).await.is_pending() });
        }
        let mut mine = call(&store, "mine", round);
        let _ = futures::executor::block_on(poll_once(&mut mine));
        drop(runtime);
        drop(mine);
        futures::executor::block_on(async { store.append(vec![record("check", round)]).await }).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_are_cancelled_lose_no_acknowledged_append_and_wedge_nothing() {
    let (_folder, _path, store) = fresh().await;
    let acknowledged: Arc<[std::sync::atomic::AtomicU64; 32]> = Arc::new(std::array::from_fn(|_| 0.into()));
    for round in 0..20_u64 {
        let tasks: Vec<_> = (0..32)
            .map(|n| {
                let (store, acknowledged) = (store.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    let saga = format!("saga_{n}");
                    let mut next = newest(&store, &saga).await + 1;
                    loop {
                        store.append(vec![record(&saga, next)]).await.unwrap();
                        acknowledged[n].store(next, std::sync::atomic::Ordering::SeqCst);
                        next += 1;
                    }
                })
            })
            .collect();
        // Some work is done, then all are stopped wherever they are.
        append_up_to(&store, &format!("pace_{round}"), 5).await;
        for task in tasks {
            task.abort();
            let ended = task.await;
            assert!(ended.is_err_and(|e| e.is_cancelled()));
        }
    }
    append_up_to(&store, "after", 3).await;
    let mut total = 0;
    for n in 0..32 {
        let known = acknowledged[n].load(std::sync::atomic::Ordering::SeqCst);
        // A call that was cancelled may have been done all the same.
        assert!(newest(&store, &format!("saga_{n}")).await >= known);
        total += known;
    }
    assert!(total > 0);
}

#[tokio::test]
async fn a_lock_of_another_process_is_waited_for_and_then_reported() {
    let (_folder, path, store) = fresh().await;
    append_up_to(&store, "a", 1).await;
    let impatient = Sqlite::builder(&path).busy_timeout(Duration::from_millis(30)).open().await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let error = impatient.append(vec![record("a", 2)]).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Unavailable, Retry::Safe), "{error}");
    assert!(error.advice().unwrap().contains("busy_timeout"));
    assert_eq!(newest(&impatient, "a").await, 1, "reading goes on");

    let mut waiting = [call(&store, "a", 2), call(&store, "b", 1)];
    for call in &mut waiting {
        assert!(poll_once(call).await.is_pending());
    }
    let waiting = tokio::spawn(futures::future::try_join_all(waiting));
    tokio::task::yield_now().await;
    other.execute_batch("COMMIT").unwrap();
    waiting.await.unwrap().unwrap();
    impatient.append(vec![record("a", 3)]).await.unwrap();
    assert_eq!(newest(&store, "a").await, 3);
}

#[tokio::test]
async fn who_came_later_waits_for_as_long_as_who_came_first() {
    let (_folder, path, store) = fresh().await;
    append_up_to(&store, "a", 1).await;
    let impatient = Sqlite::builder(&path).busy_timeout(Duration::from_millis(400)).open().await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let mut first = call(&impatient, "a", 2);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut first).await.is_err(), "it waits for the lock");
    let mut later = call(&impatient, "b", 1);
    assert!(poll_once(&mut later).await.is_pending());
    assert_eq!(first.await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(poll_once(&mut later).await.is_pending(), "it came later, and has time left");
    other.execute_batch("COMMIT").unwrap();
    later.await.unwrap();
    assert_eq!(newest(&impatient, "a").await, 1);
}

#[tokio::test]
async fn a_conflict_in_a_group_takes_no_other_with_it() {
    let (_folder, _path, store) = fresh().await;
    let calls = (0..50).map(|n| call(&store, &format!("saga_{n}"), if n % 5 == 0 { 2 } else { 1 }));
    for (n, outcome) in futures::future::join_all(calls).await.into_iter().enumerate() {
        match n % 5 {
            0 => assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Conflict),
            _ => outcome.unwrap(),
        }
    }
}

#[tokio::test]
async fn cells_that_expired_long_ago_make_room_and_versions_still_grow() {
    let folder = crate::support::folder();
    let path = folder.path().join("store.db");
    let clock = ManualClock::default();
    let store = Sqlite::builder(&path).clock(Arc::new(clock.clone())).open().await.unwrap();
    let soon = replay_core::Clock::now(&clock) + Duration::from_secs(1);
    let mut highest = 0;
    for n in 0..20 {
        highest = store.put_cell(&format!("old_{n}"), "v".into(), If::Absent, Some(soon)).await.unwrap().max(highest);
    }
    clock.advance(Duration::from_hours(25));
    for n in 0..5 {
        store.put_cell(&format!("new_{n}"), "v".into(), If::Absent, None).await.unwrap();
    }
    let sql = Connection::open(&path).unwrap();
    let left: i64 = sql.query_row("SELECT count(*) FROM cells", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 5);
    clock.set(soon - Duration::from_hours(1));
    assert!(store.put_cell("old_0", "v".into(), If::Absent, None).await.unwrap() > highest);
}
