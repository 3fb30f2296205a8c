//! Listings while sagas change.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use futures::TryStreamExt;
use replay_conformance::records::Chain;
use replay_core::{SagaStatus, storage::SagaQuery};
use replay_services::redis::Options;

use crate::support::{open, start};

const SAGAS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_that_goes_from_one_status_to_another_is_listed_once() {
    let server = start(Options::default());
    let (store, writer) = (open(server.url()).await, open(server.url()).await);
    let mut chains: Vec<_> = (0..SAGAS).map(|n| Chain::new(&format!("s{n}"))).collect();
    let first = chains.iter_mut().map(|chain| chain.with(|meta| meta.status = SagaStatus::Executing)).collect();
    store.snapshots().append(first).await.expect("an append");
    let is_done = std::sync::Arc::new(AtomicBool::new(false));
    let changes = tokio::spawn({
        let is_done = is_done.clone();
        async move {
            let mut status = SagaStatus::Executing;
            while !is_done.load(Ordering::SeqCst) {
                status = if status == SagaStatus::Executing { SagaStatus::Failed } else { SagaStatus::Executing };
                for some in chains.chunks_mut(10) {
                    let records = some.iter_mut().map(|chain| chain.with(|meta| meta.status = status)).collect();
                    writer.snapshots().append(records).await.expect("an append");
                }
            }
        }
    });
    let query = || SagaQuery::default().with_status(SagaStatus::Executing).with_status(SagaStatus::Failed);
    for _ in 0..60 {
        let listed: Vec<_> = store.snapshots().sagas(query()).try_collect().await.expect("a listing");
        let ids: BTreeSet<_> = listed.iter().map(|saga| saga.saga_id.as_str()).collect();
        assert_eq!((listed.len(), ids.len()), (SAGAS, SAGAS), "each saga has one of them all the time");
    }
    is_done.store(true, Ordering::SeqCst);
    changes.await.expect("the writer ends");
}
