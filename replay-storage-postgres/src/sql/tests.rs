use replay_core::{Namespace, storage::StoreUrl};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::*;
use crate::Postgres;

fn url() -> String {
    std::env::var("REPLAY_TEST_POSTGRES_URL")
        .expect("REPLAY_TEST_POSTGRES_URL is not set: run `cargo xtask test`, or `cargo xtask services up` and set what it prints")
}

#[tokio::test]
async fn the_server_understands_every_statement() {
    let schema = format!("statements_{}", std::process::id());
    let builder = crate::PostgresBuilder::from_url(StoreUrl::parse(&url()).unwrap()).unwrap();
    let store: Postgres = builder.schema(&schema).namespace(Namespace::default()).open().await.unwrap();
    let mut connection = PgConnection::connect(&url()).await.unwrap();
    for (name, sql) in Statements::new(&schema).all() {
        let prepared = connection.execute(AssertSqlSafe(format!("PREPARE {name} AS {sql}"))).await;
        assert!(prepared.is_ok(), "{name}: {prepared:?}");
    }
    drop(store);
    connection.execute(AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"))).await.unwrap();
}

#[test]
fn an_instant_fits_a_column() {
    let rounded = |nanos| DateTime::from_timestamp_nanos(nanos);
    assert_eq!(instant(rounded(1_999)), rounded(1_000));
    assert_eq!(instant_from(rounded(1_001)), rounded(2_000));
    assert_eq!(instant_from(rounded(2_000)), rounded(2_000));
    assert_eq!(instant(DateTime::<Utc>::MIN_UTC).timestamp_micros(), EARLIEST_US);
    assert_eq!(instant_from(DateTime::<Utc>::MAX_UTC), DateTime::<Utc>::MAX_UTC, "there is no later one");
}
