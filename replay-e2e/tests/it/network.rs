//! Twelve things that networks do, on every store behind one.

use futures::future::join_all;
use replay_e2e::{network::Scenario, stores::NetworkStore};

/// All at once, each with a proxy of its own: most of the time is spent waiting for what does not come.
async fn every_scenario(store: NetworkStore) {
    if !store.is_under_test() {
        return;
    }
    let url = store.shared_url();
    let scenarios = Scenario::all();
    assert_eq!(scenarios.len(), 12);
    let ran = join_all(scenarios.iter().map(|scenario| scenario.run(store, &url))).await;
    let failed: Vec<String> = ran.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

macro_rules! on_every_store {
    ($($name:ident: $store:expr;)*) => {
        $(#[tokio::test]
        async fn $name() {
            every_scenario($store).await;
        })*
    };
}

on_every_store! {
    a_saga_on_redis_survives_what_networks_do: NetworkStore::Redis;
    a_saga_on_postgres_survives_what_networks_do: NetworkStore::Postgres;
    a_saga_on_s3_survives_what_networks_do: NetworkStore::S3;
}
