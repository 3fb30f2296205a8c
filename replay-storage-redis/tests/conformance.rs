//! The promises of every store, held by this one: on one server, and on a cluster.
#![allow(clippy::expect_used, reason = "a fixture is part of the tests")]

use std::{process::ExitCode, sync::Arc};

use replay_conformance::{Fixture, Suite};
use replay_core::{ManualClock, Namespace, Result, Store, storage::Capabilities};
use replay_services::required_url;
use replay_storage_redis::Redis;

/// A key prefix that nobody else has.
fn prefix() -> String {
    format!("t-{}", uuid::Uuid::now_v7().simple())
}

fn capabilities() -> Capabilities {
    let capabilities = Capabilities::default().with_durable(true).with_shared(true).with_native_expiry(true);
    capabilities.with_max_record_bytes((512 << 20) - 1024)
}

async fn open(url: &str, prefix: &str, clock: &ManualClock, namespace: Namespace) -> Result<Store> {
    let builder = Redis::builder(url)?.prefix(prefix).namespace(namespace).clock(Arc::new(clock.clone()));
    Ok(builder.open().await?.into_store())
}

struct Server {
    prefix: String,
    clock: ManualClock,
}

impl Fixture for Server {
    const NAME: &'static str = "redis";

    fn capabilities() -> Capabilities {
        capabilities()
    }

    async fn create(clock: ManualClock) -> Result<Self> {
        Ok(Self { prefix: prefix(), clock })
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        open(&required_url("REPLAY_TEST_REDIS_URL"), &self.prefix, &self.clock, namespace).await
    }
}

struct Cluster {
    prefix: String,
    clock: ManualClock,
}

impl Fixture for Cluster {
    const NAME: &'static str = "redis-cluster";

    fn capabilities() -> Capabilities {
        capabilities()
    }

    async fn create(clock: ManualClock) -> Result<Self> {
        Ok(Self { prefix: prefix(), clock })
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        open(&required_url("REPLAY_TEST_REDIS_CLUSTER_URL"), &self.prefix, &self.clock, namespace).await
    }
}

fn main() -> ExitCode {
    Suite::new().with::<Server>().with::<Cluster>().run()
}
