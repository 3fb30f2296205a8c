//! kill -9 of the server (CR-4): what was acknowledged is there after, and sagas go on.

use replay_e2e::{outage::kill_server, stores::NetworkStore};

const KILLS: u64 = 20;

async fn kill_twenty_times(store: NetworkStore) {
    if !store.is_under_test() {
        return;
    }
    let server = tokio::task::spawn_blocking(move || store.start_durable()).await.unwrap();
    let outages = kill_server(server, KILLS, 1).await.unwrap();
    assert!(outages.acknowledged >= KILLS && outages.sagas >= 1, "{outages:?}");
}

macro_rules! on_every_store {
    ($($name:ident: $store:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            kill_twenty_times($store).await;
        })*
    };
}

on_every_store! {
    redis_killed_twenty_times_keeps_what_it_acknowledged: NetworkStore::Redis;
    postgres_killed_twenty_times_keeps_what_it_acknowledged: NetworkStore::Postgres;
    s3_killed_twenty_times_keeps_what_it_acknowledged: NetworkStore::S3;
}
