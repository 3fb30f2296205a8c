//! What people see with SQL.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use replay_conformance::records::{Chain, saga};
use replay_core::storage::{At, LogStorage, SagaQuery, SnapshotStorage};
use serde_json::json;

use crate::support::{Schema, admin, sql, value};

#[tokio::test]
async fn a_context_can_be_queried_whatever_it_holds() {
    let schema = Schema::new();
    let store = schema.open().await;
    // Keys out of order, one twice, an escaped NUL, and a backslash before what only looks like one.
    let odd = r#"{"z":1,"token":"tok\u0000\\u0000","a":2,"a":3}"#;
    let mut chain = Chain::new("a");
    let mut records = vec![chain.with_context(r#"{"token":"tok_1","cents":1999}"#), chain.with_context(odd)];
    records.push(chain.with_context("no JSON"));
    records.push(chain.with_context(&b"\xff\0"[..]));
    store.append(records.clone()).await.unwrap();
    for record in &records {
        let stored = store.load(&saga("a"), At::Sequence(record.sequence)).await.unwrap().unwrap();
        assert_eq!(stored.payload().unwrap().bytes, record.payload().unwrap().bytes, "the text is kept to the byte");
    }
    let mut admin = admin().await;
    let name = &schema.0;
    let query = format!("SELECT string_agg(context_json ->> 'token', '|' ORDER BY sequence) FROM {name}.snapshots");
    assert_eq!(value::<String>(&mut admin, query).await, "tok_1|tok\u{fffd}\\u0000");
    let query = format!("SELECT sequence FROM {name}.snapshots WHERE (context_json ->> 'cents')::int > 1000");
    assert_eq!(value::<i64>(&mut admin, query).await, 1);
    let query = format!("SELECT count(*) FROM {name}.snapshots WHERE context_json IS NULL");
    assert_eq!(value::<i64>(&mut admin, query).await, 2, "what is no JSON is NULL");
    let words = format!("SELECT concat_ws(' ', namespace, saga_id, saga_name, saga_version, phase, status, step) FROM {name}.snapshots");
    assert_eq!(value::<String>(&mut admin, format!("{words} WHERE sequence = 2")).await, "default a order 1 before_step executing charge");
}

#[tokio::test]
async fn an_index_on_a_field_of_the_context_is_used() {
    let schema = Schema::new();
    let store = schema.open().await;
    let mut chain = Chain::new("a");
    let records = (0..2000).map(|n| chain.with_context(format!(r#"{{"token":"tok_{n}"}}"#))).collect();
    store.append(records).await.unwrap();
    let mut admin = admin().await;
    let name = &schema.0;
    let index =
        format!("CREATE INDEX by_token ON {name}.saga_snapshots ((({name}.json_of(context)) ->> 'token')); ANALYZE {name}.saga_snapshots");
    sql(&mut admin, index).await;
    let query = format!("FROM {name}.snapshots WHERE context_json ->> 'token' = 'tok_1234'");
    let plan: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("EXPLAIN SELECT sequence {query}"))).fetch_all(&mut admin).await.unwrap();
    assert!(plan.join("\n").contains("by_token"), "{}", plan.join("\n"));
    assert_eq!(value::<i64>(&mut admin, format!("SELECT sequence {query}")).await, 1235);
    // An append keeps the index, also with what JSONB cannot hold.
    store.append(vec![chain.with_context(r#"{"token":"\u0000"}"#)]).await.unwrap();
}

#[tokio::test]
async fn the_replay_log_is_a_table() {
    let schema = Schema::new();
    let store = schema.open().await;
    let opened = |id: &str, step: &str| {
        json!({
            "v": 1, "event": "opened", "replay_id": id, "original": "order_1", "new_saga": format!("new_{id}"),
            "checkpoint": {"kind": "step", "value": step}, "sequence": 4, "context_override": {"token": "tok_ok"},
            "keys": "inherit", "compensated": "run", "force_failure": "none", "fingerprint": null, "initiated_by": "ops",
            "reason": "expired token", "replay_key": null, "runner": "00", "dry_run": false, "at": "2026-01-02T03:04:05.000006Z",
        })
    };
    let closed = json!({
        "v": 1, "event": "closed", "replay_id": "r1", "status": "success", "refused": false, "saga_status": "completed", "error": null,
        "at": "2026-01-02T03:04:07Z",
    });
    let lines = [opened("r1", "charge"), opened("r2", "ship"), closed].map(|line| Bytes::from(line.to_string()));
    store.append_log("replay/order_1", 0, lines.to_vec()).await.unwrap();
    store.append_log("replay/order_2", 0, vec![Bytes::from_static(b"\xff no entry")]).await.unwrap();
    let mut admin = admin().await;
    let words = "concat_ws(' ', replay_id, original_saga_id, new_saga_id, checkpoint_step, replay_status, initiated_by, \
                 extract(epoch from completed_at - created_at)::numeric(9, 6))";
    let query = format!("SELECT string_agg({words}, '; ' ORDER BY replay_id) FROM {}.saga_replay_log", schema.0);
    let rows: String = value(&mut admin, query).await;
    assert_eq!(rows, "r1 order_1 new_r1 charge success ops 1.999994; r2 order_1 new_r2 ship running ops");
}

#[tokio::test]
async fn an_id_is_never_taken_for_sql_or_for_a_pattern() {
    let schema = Schema::new();
    let store = schema.open().await;
    let ids = ["'; DROP TABLE saga_heads; --", "%", "_", "*", "a%b", "A%B", "\"", "$1", ":saga", "x' OR '1'='1", "\\", "{a,b}"];
    for id in ids {
        store.append(vec![Chain::new(id).next_record()]).await.unwrap();
    }
    for id in ids {
        assert_eq!(crate::support::newest_sequence(&store, id).await, 1, "{id}");
    }
    assert_eq!(crate::support::newest_sequence(&store, "a_b").await, 0);
}

#[tokio::test]
async fn a_label_longer_than_an_index_holds_is_found() {
    let schema = Schema::new();
    let store = schema.open().await;
    let mut random = fastrand::Rng::with_seed(3);
    let long: String = (0..10_000).map(|_| random.alphanumeric()).collect();
    let with = |id: &str, value: &str| Chain::new(id).with(|meta| meta.labels = Arc::new([("k".to_owned(), value.to_owned())].into()));
    store.append(vec![with("a", &long), with("b", &long[..9_999]), with("c", "short")]).await.unwrap();
    let found: Vec<_> = store.sagas(SagaQuery::default().with_label("k", long)).try_collect().await.unwrap();
    assert_eq!(found.iter().map(|saga| saga.saga_id.as_str()).collect::<Vec<_>>(), ["a"]);
}
