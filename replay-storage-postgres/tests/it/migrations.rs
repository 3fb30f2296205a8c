//! Tables that are made, migrated and refused.

use std::process::{Command, Stdio};

use bytes::Bytes;
use replay_conformance::records::history;
use replay_core::{
    ErrorKind,
    storage::{CellStorage, If, SnapshotStorage},
};

use crate::support::{Schema, admin, newest_sequence, sql, value};

const CHILD: &str = "REPLAY_POSTGRES_CHILD_SCHEMA";

/// Each process makes the tables of one new schema, or finds that another did, and appends at once.
#[tokio::test]
async fn processes_that_start_at_once_migrate_once() {
    if let Ok(name) = std::env::var(CHILD) {
        let schema = std::mem::ManuallyDrop::new(Schema(name));
        schema.open().await.append(history(&format!("saga_{}", std::process::id()), 5)).await.unwrap();
        return;
    }
    let schema = Schema::new();
    let program = std::env::current_exe().expect("the path of this program");
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = Command::new(&program);
            command.args(["migrations::processes_that_start_at_once_migrate_once", "--exact", "--nocapture"]).env(CHILD, &schema.0);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the child starts")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("the child ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the child ran no test");
    }
    let mut admin = admin().await;
    let once = format!("SELECT count(*) = max(version) FROM {}.schema_versions", schema.0);
    assert!(value::<bool>(&mut admin, once).await);
    assert_eq!(value::<i64>(&mut admin, format!("SELECT count(*) FROM {}.saga_snapshots", schema.0)).await, 40);
}

#[tokio::test]
async fn tasks_that_start_at_once_migrate_once() {
    let schema = Schema::new();
    let stores = futures::future::join_all((0..8).map(|_| schema.open())).await;
    stores[0].append(history("a", 2)).await.unwrap();
    assert_eq!(newest_sequence(&stores[7], "a").await, 2);
}

#[tokio::test]
async fn tables_of_a_later_version_are_used_if_they_allow_it_and_else_refused() {
    let schema = Schema::new();
    schema.open().await.append(history("a", 1)).await.unwrap();
    let mut admin = admin().await;
    sql(&mut admin, format!("INSERT INTO {}.schema_versions (version, usable_from) VALUES (1000, 1)", schema.0)).await;
    assert_eq!(newest_sequence(&schema.open().await, "a").await, 1);
    sql(&mut admin, format!("INSERT INTO {}.schema_versions (version, usable_from) VALUES (1001, 1000)", schema.0)).await;
    let error = schema.builder().open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerVersion, "{error}");
}

/// Takes the tables back to what version 1 left.
async fn take_back_to_1(schema: &Schema) {
    let name = &schema.0;
    let undo = format!("ALTER TABLE {name}.cells DROP COLUMN deleted_version; DELETE FROM {name}.schema_versions WHERE version > 1");
    sql(&mut admin().await, undo).await;
}

#[tokio::test]
async fn tables_of_version_1_are_migrated_with_what_they_hold() {
    let schema = Schema::new();
    let old = schema.open().await;
    old.append(history("a", 3)).await.unwrap();
    let version = old.put_cell("k", Bytes::from_static(b"v"), If::Any, None).await.unwrap();
    drop(old);
    take_back_to_1(&schema).await;
    let error = schema.builder().migrate(false).open().await.unwrap_err();
    assert_eq!((error.kind(), error.advice().is_some()), (ErrorKind::Unavailable, true), "{error}");
    let new = schema.open().await;
    assert_eq!(newest_sequence(&new, "a").await, 3);
    assert_eq!(new.get_cell("k").await.unwrap().unwrap().version, version);
    assert!(new.delete_cell("k", If::Version(version)).await.unwrap());
    assert_eq!(new.get_cell("k").await.unwrap(), None);
}

/// A program of version 1 knows no mark of deleted cells: what it writes has to be there for one that does, and the other way round.
#[tokio::test]
async fn a_program_of_version_1_may_run_beside_this_one() {
    let schema = Schema::new();
    let store = schema.open().await;
    let mut admin = admin().await;
    let name = &schema.0;
    let far = chrono::DateTime::from_timestamp_micros(1 << 60);
    let first = store.put_cell("k", Bytes::from_static(b"v"), If::Any, far).await.unwrap();
    assert!(store.delete_cell("k", If::Any).await.unwrap());
    // The statements of version 1, with its parameters in place.
    let get = format!("SELECT count(*) FROM {name}.cells WHERE key = 'k' AND (expires_at IS NULL OR expires_at > now())");
    assert_eq!(value::<i64>(&mut admin, get.as_str()).await, 0, "it is deleted for both");
    let claim = format!(
        "INSERT INTO {name}.cells AS c (namespace_no, key, version, expires_at, value)
         SELECT namespace_no, 'k', 1, NULL, 'new' FROM {name}.namespaces
         ON CONFLICT (namespace_no, key) DO UPDATE
         SET version = greatest(c.version + 1, excluded.version), expires_at = excluded.expires_at, value = excluded.value
         WHERE c.expires_at <= now()
         RETURNING version"
    );
    let claimed: i64 = value(&mut admin, claim).await;
    let seen = store.get_cell("k").await.unwrap().expect("what the other one claimed");
    assert_eq!((i64::try_from(seen.version), seen.value), (Ok(claimed), Bytes::from_static(b"new")));
    assert!(seen.version > first);
    let held = store.put_cell("k", Bytes::from_static(b"mine"), If::Absent, None).await.unwrap_err();
    assert_eq!(held.kind(), ErrorKind::Conflict, "{held}");
    sql(&mut admin, format!("UPDATE {name}.cells SET expires_at = now(), value = '' WHERE key = 'k'")).await;
    assert_eq!(store.get_cell("k").await.unwrap(), None, "the other one deleted it");
}

#[tokio::test]
async fn what_only_looks_makes_nothing() {
    let schema = Schema::new();
    for (builder, may_be_made) in [(schema.builder().create(false), true), (schema.builder().migrate(false), false)] {
        let error = builder.open().await.unwrap_err();
        assert_eq!(error.is_no_store(), may_be_made, "{error:?}");
        assert_eq!((error.kind(), error.fact("schema")), (ErrorKind::Unavailable, Some(schema.0.as_str())), "{error}");
    }
    let mut admin = admin().await;
    let exists = format!("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = '{}')", schema.0);
    assert!(!value::<bool>(&mut admin, exists).await);
    schema.open().await;
    let namespace = replay_core::Namespace::new("other").unwrap();
    let other = schema.builder().create(false).migrate(false).namespace(namespace.clone()).open().await.unwrap();
    assert_eq!(newest_sequence(&other, "a").await, 0);
    let count = format!("SELECT count(*) FROM {}.namespaces", schema.0);
    assert_eq!(value::<i64>(&mut admin, count.as_str()).await, 1, "looking makes no namespace");
    // Another handle makes it, and then this one sees it.
    schema.builder().namespace(namespace).open().await.unwrap().append(history("a", 3)).await.unwrap();
    assert_eq!(newest_sequence(&other, "a").await, 3);
}

#[tokio::test]
async fn a_user_without_rights_to_make_tables_uses_those_that_are_there() {
    let schema = Schema::new();
    schema.open().await;
    let role = format!("role_{}", schema.0);
    let mut admin = admin().await;
    let name = &schema.0;
    sql(
        &mut admin,
        format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'pw'; GRANT USAGE ON SCHEMA {name} TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {name} TO {role}"
        ),
    )
    .await;
    let (user, password, _, _) = crate::support::parts();
    let url = crate::support::url_with(&format!("{user}:{password}@"), &format!("{role}:pw@"));
    let store = schema.at(&url).open().await.unwrap();
    store.append(history("a", 2)).await.unwrap();
    assert_eq!(newest_sequence(&store, "a").await, 2);
    drop(store);
    sql(&mut admin, format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
