//! The promises of every store, held by this one, each case in a schema of its own.
#![allow(clippy::expect_used, reason = "a fixture is part of the tests")]

use std::{process::ExitCode, sync::Arc};

use replay_conformance::{Fixture, Suite};
use replay_core::{ManualClock, Namespace, Result, Store, storage::Capabilities};
use replay_storage_postgres::{Pooler, Postgres};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

fn url() -> String {
    std::env::var("REPLAY_TEST_POSTGRES_URL")
        .expect("REPLAY_TEST_POSTGRES_URL is not set: run `cargo xtask test`, or `cargo xtask services up` and set what it prints")
}

/// A schema that is dropped with it.
struct Schema {
    name: String,
    clock: ManualClock,
}

impl Schema {
    async fn open(&self, namespace: Namespace, pooler: Pooler, max_connections: u32) -> Result<Store> {
        let builder = Postgres::builder(&url())?.schema(&self.name).namespace(namespace).clock(Arc::new(self.clock.clone()));
        Ok(builder.pooler(pooler).max_connections(max_connections).open().await?.into_store())
    }

    fn new(clock: ManualClock) -> Self {
        Self { name: format!("kit_{}_{:016x}", std::process::id(), fastrand::u64(..)), clock }
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let drop = AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {} CASCADE", self.name));
        let clean_up = || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(async {
                let mut connection = PgConnection::connect(&url()).await.expect("a connection");
                connection.execute(drop).await.expect("the schema is dropped");
            });
        };
        // The case's runtime must not be blocked by another one on its own thread.
        std::thread::scope(|scope| scope.spawn(clean_up).join().expect("the schema is dropped"));
    }
}

fn capabilities() -> Capabilities {
    Capabilities::default().with_durable(true).with_shared(true).with_sql(true).with_max_record_bytes(256 << 20)
}

struct Usual(Schema);

impl Fixture for Usual {
    const NAME: &'static str = "postgres";

    fn capabilities() -> Capabilities {
        capabilities()
    }

    async fn create(clock: ManualClock) -> Result<Self> {
        Ok(Self(Schema::new(clock)))
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        self.0.open(namespace, Pooler::None, 5).await
    }
}

/// A pool of two connections, with every statement as it is sent through a pooler that shares connections between transactions.
struct Pooled(Schema);

impl Fixture for Pooled {
    const NAME: &'static str = "postgres-pooled";

    fn capabilities() -> Capabilities {
        capabilities()
    }

    async fn create(clock: ManualClock) -> Result<Self> {
        Ok(Self(Schema::new(clock)))
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        self.0.open(namespace, Pooler::Transaction, 2).await
    }
}

fn main() -> ExitCode {
    Suite::new().with::<Usual>().with::<Pooled>().run()
}
