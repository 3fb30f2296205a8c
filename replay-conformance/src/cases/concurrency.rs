//! Many writers at once, and calls that end half-way.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{TryStreamExt, future::join_all};
use replay_core::{
    Digest, ErrorKind, SnapshotRecord, Store,
    storage::{At, If, SagaQuery, SnapshotQuery},
};
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    check::{append, assert_history, history, ids, keep_newest, prune, sequences},
    env::Env,
    records::{self, Chain, saga},
    runner::{Case, Needs},
};

cases!("concurrency", Needs::Snapshots;
    of_64_writers_one_wins_each_sequence,
    of_16_starts_of_one_saga_one_wins,
    sixteen_runners_leave_a_clean_history,
    sixty_four_sagas_side_by_side_lose_nothing,
    lists_of_the_same_sagas_in_opposite_order_do_not_block_each_other,
    a_listing_beside_appends_has_no_gap,
    a_listing_of_sagas_beside_appends_shows_each_once,
    a_prune_beside_appends_removes_only_the_old,
    two_handles_see_each_other,
    an_append_that_is_dropped_leaves_no_gap,
);

pub(crate) const LOGS: &[Case] = logs::CASES;
pub(crate) const CELLS: &[Case] = cells::CASES;

/// Runs `job` for each of `0..count` at once, none before all are there, and gives what each says.
async fn at_once<T, F>(count: usize, job: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (mut jobs, start) = (JoinSet::new(), Arc::new(Barrier::new(count)));
    for n in 0..count {
        let (job, start) = (job(n), start.clone());
        jobs.spawn(async move {
            start.wait().await;
            job.await
        });
    }
    jobs.join_all().await
}

/// Appends, and says whether it was accepted; anything but a conflict is a failure.
async fn wins(store: &Store, record: SnapshotRecord) -> bool {
    match store.snapshots().append(vec![record]).await {
        Ok(()) => true,
        Err(error) if error.is(ErrorKind::Conflict) => false,
        Err(error) => panic!("{error:?}"),
    }
}

async fn of_64_writers_one_wins_each_sequence(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    for sequence in 1..=5_u64 {
        let bids: Vec<_> = (0..64).map(|n| chain.clone().with_context(format!(r#"{{"writer":{n}}}"#))).collect();
        let won = at_once(64, |n| {
            let (store, bid) = (store.clone(), bids[n].clone());
            async move { wins(&store, bid.clone()).await.then_some(bid) }
        });
        let winners: Vec<_> = won.await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1, "winners of sequence {sequence}");
        let stored = history(&store, "order_1").await;
        assert_eq!(stored.len() as u64, sequence);
        assert_eq!(stored.last(), winners.first(), "the winner is what is stored");
        chain.go_on_after(stored.last());
    }
}

async fn of_16_starts_of_one_saga_one_wins(env: Env) {
    let stores = join_all((0..16).map(|_| env.open())).await;
    for round in 0..5 {
        let id = format!("order_{round}");
        let won = at_once(16, |n| {
            let (store, record) = (stores[n].clone(), Chain::new(&id).with_context(n.to_string()));
            async move { wins(&store, record).await }
        });
        assert_eq!(won.await.into_iter().filter(|won| *won).count(), 1);
        assert_eq!(sequences(&stores[0], &id).await, [1]);
    }
}

/// Each runner reads the newest record and tries to add to it, as a saga's runner does after taking it over.
async fn runner(store: Store, n: usize, appends: usize) -> Vec<(u64, Digest)> {
    let mut acknowledged = Vec::new();
    while acknowledged.len() < appends {
        let newest = store.snapshots().load(&saga("order_1"), At::Latest).await.expect("the load succeeds");
        let (sequence, digest) = newest.map_or((0, Digest::ZERO), |newest| (newest.sequence, newest.digest()));
        let mut chain = Chain::new("order_1");
        let record = chain.record(|meta| (meta.sequence, meta.prev_digest) = (sequence + 1, digest), format!(r#"{{"runner":{n}}}"#));
        let id = (record.sequence, record.digest());
        if wins(&store, record).await {
            acknowledged.push(id);
        }
        tokio::task::yield_now().await;
    }
    acknowledged
}

async fn sixteen_runners_leave_a_clean_history(env: Env) {
    let stores = join_all((0..16).map(|_| env.open())).await;
    let acknowledged = at_once(16, |n| runner(stores[n].clone(), n, 12)).await;
    let mut acknowledged: Vec<_> = acknowledged.into_iter().flatten().collect();
    acknowledged.sort_unstable();
    let stored = history(&stores[0], "order_1").await;
    let found: Vec<_> = stored.iter().map(|record| (record.sequence, record.digest())).collect();
    assert_eq!(found, acknowledged, "what is stored is what was acknowledged, one owner per sequence");
    assert!((1..).zip(&found).all(|(expected, (sequence, _))| *sequence == expected), "the history has a gap");
    let mut before = Digest::ZERO;
    for record in &stored {
        assert_eq!(record.prev_digest, before, "an update was lost before {}", record.id());
        before = record.digest();
    }
}

async fn sixty_four_sagas_side_by_side_lose_nothing(env: Env) {
    let store = env.open().await;
    at_once(64, |n| {
        let store = store.clone();
        async move {
            for record in records::history(&format!("order_{n}"), 10) {
                append(&store, [record]).await;
            }
        }
    })
    .await;
    assert_eq!(ids(&store, SagaQuery::default()).await.len(), 64);
    for n in 0..64 {
        let id = format!("order_{n}");
        assert_history(&history(&store, &id).await, &records::history(&id, 10));
    }
}

async fn lists_of_the_same_sagas_in_opposite_order_do_not_block_each_other(env: Env) {
    let stores = join_all((0..8).map(|_| env.open())).await;
    let names: Vec<String> = (0..8).map(|n| format!("order_{n}")).collect();
    at_once(8, |n| {
        let (store, mut names) = (stores[n].clone(), names.clone());
        async move {
            if n % 2 == 0 {
                names.reverse();
            }
            for round in 0..10 {
                // The same records from all sides: each is new for one writer and already stored for the others.
                append(&store, names.iter().map(|id| records::history(id, round + 1).remove(round))).await;
            }
        }
    })
    .await;
    for id in &names {
        assert_history(&history(&stores[0], id).await, &records::history(id, 10));
    }
}

async fn a_listing_beside_appends_has_no_gap(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, chain.take(400)).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for _ in 0..60 {
                append(&store, [chain.next_record()]).await;
            }
        }
    });
    for _ in 0..10 {
        let mut stream = store.snapshots().list(SnapshotQuery::new(saga("order_1")));
        let mut expected = 1;
        while let Some(record) = stream.try_next().await.expect("the listing succeeds") {
            assert_eq!(record.sequence, expected);
            expected += 1;
            tokio::task::yield_now().await;
        }
        assert!(expected > 400, "the listing ended early, before {expected}");
    }
    writer.await.expect("the writer succeeds");
}

async fn a_listing_of_sagas_beside_appends_shows_each_once(env: Env) {
    let store = env.open().await;
    let mut chains: Vec<_> = (0..300).map(|n| Chain::new(&format!("order_{n}")).starting_at(records::after(n / 3))).collect();
    append(&store, chains.iter_mut().map(Chain::next_record)).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for chunk in chains.chunks_mut(10) {
                append(&store, chunk.iter_mut().map(Chain::next_record)).await;
            }
        }
    });
    for _ in 0..5 {
        let mut shown = ids(&store, SagaQuery::default()).await;
        shown.sort();
        shown.dedup();
        assert_eq!(shown.len(), 300);
    }
    writer.await.expect("the writer succeeds");
}

async fn a_prune_beside_appends_removes_only_the_old(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, chain.take(5)).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for _ in 0..60 {
                append(&store, [chain.next_record()]).await;
            }
        }
    });
    while !writer.is_finished() {
        prune(&store, keep_newest("order_1", 3)).await;
        let left = sequences_of(&store).await;
        assert!(left.len() >= 3 && left.windows(2).all(|pair| pair[0] < pair[1]), "{left:?}");
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer succeeds");
    prune(&store, keep_newest("order_1", 3)).await;
    assert_eq!(sequences(&store, "order_1").await, [63, 64, 65]);
}

async fn sequences_of(store: &Store) -> Vec<u64> {
    crate::check::listed(store, SnapshotQuery::new(saga("order_1"))).await
}

async fn two_handles_see_each_other(env: Env) {
    let (one, other) = (env.open().await, env.open().await);
    let mut chain = Chain::new("order_1");
    for store in [&one, &other, &one, &other] {
        append(store, [chain.next_record()]).await;
    }
    assert_history(&history(&one, "order_1").await, &records::history("order_1", 4));
    assert_history(&history(&other, "order_1").await, &records::history("order_1", 4));
}

async fn an_append_that_is_dropped_leaves_no_gap(env: Env) {
    let store = env.open().await;
    let mut random = fastrand::Rng::with_seed(11);
    let mut chain = Chain::new("order_1");
    for _ in 0..60 {
        let records = chain.take(random.usize(1..4));
        let mut polls = random.u32(0..6);
        {
            let mut call = pin!(store.snapshots().append(records.clone()));
            // A few polls, then it is dropped wherever it stands.
            std::future::poll_fn(|cx: &mut Context<'_>| {
                if polls == 0 {
                    return Poll::Ready(());
                }
                polls -= 1;
                match call.as_mut().poll(cx) {
                    Poll::Ready(result) => {
                        result.expect("the append is accepted");
                        Poll::Ready(())
                    }
                    Poll::Pending if polls == 0 => Poll::Ready(()),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
        }
        append(&store, records).await;
    }
    let stored = history(&store, "order_1").await;
    assert!((1..).zip(&stored).all(|(expected, record)| record.sequence == expected), "the history has a gap");
    assert_eq!(stored.len() as u64, chain.sequence());
}

mod logs {
    use super::{Bytes, Env, ErrorKind, Needs, TryStreamExt, at_once};

    cases!("concurrency", Needs::Logs; a_log_with_many_writers_has_no_gap_and_loses_nothing);

    async fn a_log_with_many_writers_has_no_gap_and_loses_nothing(env: Env) {
        let store = env.open().await;
        at_once(16, |writer| {
            let store = store.clone();
            async move {
                let logs = store.logs().expect("logs");
                let (mut len, mut done) = (0, 0);
                while done < 8 {
                    let entry = Bytes::from(format!("{writer}:{done}"));
                    match logs.append_log("s", len, vec![entry]).await {
                        Ok(new) => (len, done) = (new, done + 1),
                        Err(error) if error.is(ErrorKind::Conflict) => {
                            len = error.fact("len").and_then(|len| len.parse().ok()).expect("the fact len");
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
        let entries: Vec<_> = store.logs().expect("logs").read_log("s", 0, u64::MAX).try_collect().await.expect("a read");
        assert!((0..).zip(&entries).all(|(index, entry)| entry.index == index), "the log has a gap");
        let mut texts: Vec<_> = entries.iter().map(|entry| entry.bytes.clone()).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 16 * 8);
    }
}

mod cells {
    use super::{Bytes, Env, ErrorKind, If, Needs, at_once};

    cases!("concurrency", Needs::Cells; of_64_claims_of_one_cell_one_wins, no_update_of_a_cell_is_lost);

    async fn of_64_claims_of_one_cell_one_wins(env: Env) {
        let store = env.open().await;
        for round in 0..5 {
            let won = at_once(64, |n| {
                let (store, key) = (store.clone(), format!("k{round}"));
                async move {
                    let put = store.cells().expect("cells").put_cell(&key, Bytes::from(n.to_string()), If::Absent, None);
                    match put.await {
                        Ok(version) => Some((n, version)),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
                            None
                        }
                    }
                }
            });
            let winners: Vec<_> = won.await.into_iter().flatten().collect();
            assert_eq!(winners.len(), 1);
            let cell = store.cells().expect("cells").get_cell(&format!("k{round}")).await.expect("a get").expect("a cell");
            assert_eq!((cell.value, cell.version), (Bytes::from(winners[0].0.to_string()), winners[0].1));
        }
    }

    async fn no_update_of_a_cell_is_lost(env: Env) {
        let store = env.open().await;
        store.cells().expect("cells").put_cell("n", Bytes::from_static(b"0"), If::Absent, None).await.expect("a put");
        at_once(8, |_| {
            let store = store.clone();
            async move {
                let cells = store.cells().expect("cells");
                let mut done = 0;
                while done < 10 {
                    let cell = cells.get_cell("n").await.expect("a get").expect("a cell");
                    let n: u32 = std::str::from_utf8(&cell.value).expect("text").parse().expect("a number");
                    match cells.put_cell("n", Bytes::from((n + 1).to_string()), If::Version(cell.version), None).await {
                        Ok(version) => {
                            assert!(version > cell.version, "the version did not grow");
                            done += 1;
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}"),
                    }
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
        let cell = store.cells().expect("cells").get_cell("n").await.expect("a get").expect("a cell");
        assert_eq!(cell.value, Bytes::from_static(b"80"));
    }
}
