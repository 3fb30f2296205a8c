//! A schema of the test's own on the shared server.

use replay_conformance::records::saga;
use replay_core::{
    SnapshotRecord,
    storage::{At, SnapshotStorage, StoreUrl},
};
use replay_storage_postgres::{Postgres, PostgresBuilder};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// The shared server.
pub(crate) fn url() -> String {
    replay_services::required_url("REPLAY_TEST_POSTGRES_URL")
}

/// The URL of the shared server with something in it replaced.
pub(crate) fn url_with(part: &str, by: &str) -> String {
    let changed = url().replacen(part, by, 1);
    assert_ne!(changed, url(), "the URL has no {part}");
    changed
}

/// The shared server's user, password, `host:port` and database.
pub(crate) fn parts() -> (String, String, String, String) {
    let url = url();
    let rest = url.strip_prefix("postgres://").expect("a postgres URL");
    let (login, place) = rest.rsplit_once('@').expect("a login");
    let (user, password) = login.split_once(':').expect("a password");
    let (server, database) = place.split_once('/').expect("a database");
    (user.to_owned(), password.to_owned(), server.to_owned(), database.to_owned())
}

/// A connection of the test itself, as the superuser.
pub(crate) async fn admin() -> PgConnection {
    PgConnection::connect(&url()).await.expect("a connection")
}

pub(crate) async fn sql(connection: &mut PgConnection, text: impl Into<String>) {
    connection.execute(AssertSqlSafe(text.into())).await.expect("the statement succeeds");
}

/// The value of the only row and column.
pub(crate) async fn value<T>(connection: &mut PgConnection, text: impl Into<String>) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    sqlx::query_scalar(AssertSqlSafe(text.into())).fetch_one(connection).await.expect("the query succeeds")
}

/// A schema that is dropped with it.
#[derive(Debug)]
pub(crate) struct Schema(pub(crate) String);

impl Schema {
    pub(crate) fn new() -> Self {
        Self(format!("it_{}_{:016x}", std::process::id(), fastrand::u64(..)))
    }

    /// A builder for this schema at `url`.
    pub(crate) fn at(&self, url: &str) -> PostgresBuilder {
        Postgres::builder(url).expect("a URL").schema(&self.0)
    }

    pub(crate) fn builder(&self) -> PostgresBuilder {
        self.at(&url())
    }

    pub(crate) async fn open(&self) -> Postgres {
        self.builder().open().await.expect("the store opens")
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let text = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.0);
        let clean_up = || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(async {
                sql(&mut admin().await, text).await;
            });
        };
        // The test's runtime must not be blocked by another one on its own thread.
        std::thread::scope(|scope| scope.spawn(clean_up).join().expect("the schema is dropped"));
    }
}

/// Opens what must not open.
pub(crate) async fn refused(url: &str) -> replay_core::Error {
    let opened = Postgres::open_url(StoreUrl::parse(url).expect("a URL")).await;
    opened.map(|store| store.to_string()).expect_err("it must not open")
}

/// The newest record of a saga.
pub(crate) async fn newest(store: &Postgres, id: &str) -> Option<SnapshotRecord> {
    store.load(&saga(id), At::Latest).await.expect("the load succeeds")
}

pub(crate) async fn newest_sequence(store: &Postgres, id: &str) -> u64 {
    newest(store, id).await.map_or(0, |record| record.sequence)
}
