//! A server of the test's own that is killed.

use std::sync::Arc;

use replay_conformance::records::{Chain, history, saga};
use replay_core::{
    ErrorKind, Retry,
    storage::{SnapshotQuery, SnapshotStorage},
};
use replay_services::postgres;
use replay_storage_postgres::Postgres;
use tokio::{sync::Notify, task::JoinSet};

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> replay_services::Result<T> + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic").expect("the server does as it is told")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_of_the_server() {
    use futures::TryStreamExt;
    let server = Arc::new(blocking(|| postgres::start(postgres::Options::default().durable(true))).await);
    let store = Postgres::builder(server.url()).unwrap().open().await.unwrap();
    let (mut sagas, warm) = (JoinSet::new(), Arc::new(Notify::new()));
    for n in 0..16 {
        let (store, warm) = (store.clone(), warm.clone());
        sagas.spawn(async move {
            let mut chain = Chain::new(&format!("saga_{n}"));
            loop {
                let record = chain.next_record();
                match store.append(vec![record.clone()]).await {
                    Ok(()) if chain.sequence() == 20 => warm.notify_one(),
                    Ok(()) => {}
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                        assert_ne!(error.retry_advice(), Retry::Never, "{error:?}");
                        return (chain, record);
                    }
                }
            }
        });
    }
    warm.notified().await;
    blocking({
        let server = server.clone();
        move || server.kill()
    })
    .await;
    let interrupted = sagas.join_all().await;
    blocking({
        let server = server.clone();
        move || server.restart()
    })
    .await;
    for (chain, record) in interrupted {
        // Whether it was stored or not, the same append settles it.
        store.append(vec![record]).await.unwrap();
        let stored: Vec<_> = store.list(SnapshotQuery::new(chain.saga_id().clone())).try_collect().await.unwrap();
        assert!((1..=chain.sequence()).eq(stored.iter().map(|record| record.sequence)), "{}", chain.saga_id());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_not_waited_for() {
    let server = Arc::new(blocking(|| postgres::start(postgres::Options::default())).await);
    let url = format!("{}?timeout_ms=1000&connect_timeout_ms=3000", server.url());
    let store = Postgres::builder(&url).unwrap().open().await.unwrap();
    store.append(history("a", 1)).await.unwrap();
    server.stop().unwrap();
    let error = store.append(history("b", 1)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{error:?}");
    server.cont().unwrap();
    store.append(history("b", 1)).await.unwrap();
    assert!(store.load(&saga("b"), replay_core::storage::At::Sequence(1)).await.unwrap().is_some());
}
