//! Small versioned cells: conditions and versions.

pub(crate) mod more;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use replay_core::{
    Clock, ErrorKind,
    storage::{Cell, CellStorage, If},
};

use crate::{check::refused, env::Env, runner::Needs};

cases!("cells", Needs::Cells;
    a_value_comes_back_with_its_version,
    absent_holds_only_where_there_is_none,
    a_version_holds_only_for_that_version,
    anything_always_holds,
    a_refusal_names_the_current_version,
    a_refused_write_changes_nothing,
    a_version_grows_with_each_write,
    a_version_is_at_least_the_stores_clock,
    a_version_grows_though_the_clock_steps_back,
    a_version_is_not_used_again_after_a_delete,
    a_version_is_not_used_again_after_expiry,
    a_delete_says_whether_there_was_one,
    a_deleted_cell_stays_gone_though_the_clock_steps_back,
    a_delete_with_another_version_is_refused,
    a_delete_of_an_absent_cell_on_that_condition_is_invalid,
);

pub(super) async fn cells(env: &Env) -> Arc<dyn CellStorage> {
    env.open().await.cells().expect("the fixture offers cells").clone()
}

pub(super) async fn get(cells: &Arc<dyn CellStorage>, key: &str) -> Option<Cell> {
    cells.get_cell(key).await.expect("the get succeeds")
}

pub(super) async fn put(cells: &Arc<dyn CellStorage>, key: &str, value: &'static str, condition: If, until: Option<DateTime<Utc>>) -> u64 {
    cells.put_cell(key, Bytes::from_static(value.as_bytes()), condition, until).await.expect("the put succeeds")
}

/// The version that a refused write names.
pub(super) async fn refuses(cells: &Arc<dyn CellStorage>, key: &str, condition: If) -> String {
    let error = refused(cells.put_cell(key, Bytes::from_static(b"refused"), condition, None).await, ErrorKind::Conflict);
    error.fact("version").expect("the fact version").to_owned()
}

pub(super) fn micros(env: &Env) -> u64 {
    u64::try_from(env.clock.now().timestamp_micros()).expect("after 1970")
}

async fn a_value_comes_back_with_its_version(env: Env) {
    let cells = cells(&env).await;
    assert_eq!(get(&cells, "k").await, None);
    let version = put(&cells, "k", "v", If::Any, None).await;
    assert_eq!(get(&cells, "k").await, Some(Cell { value: Bytes::from_static(b"v"), version, expires_at: None }));
    let until = env.clock.now() + Duration::from_micros(1_000_001);
    let version = put(&cells, "k", "", If::Any, Some(until)).await;
    assert_eq!(get(&cells, "k").await, Some(Cell { value: Bytes::new(), version, expires_at: Some(until) }));
}

async fn absent_holds_only_where_there_is_none(env: Env) {
    let cells = cells(&env).await;
    let version = put(&cells, "k", "first", If::Absent, None).await;
    assert_eq!(refuses(&cells, "k", If::Absent).await, version.to_string());
    put(&cells, "K", "other", If::Absent, None).await;
    assert_eq!(get(&cells, "k").await.map(|cell| cell.value), Some(Bytes::from_static(b"first")));
}

async fn a_version_holds_only_for_that_version(env: Env) {
    let cells = cells(&env).await;
    let first = put(&cells, "k", "1", If::Absent, None).await;
    let second = put(&cells, "k", "2", If::Version(first), None).await;
    assert_eq!(refuses(&cells, "k", If::Version(first)).await, second.to_string());
    assert_eq!(refuses(&cells, "k", If::Version(second + 1)).await, second.to_string());
    assert_eq!(refuses(&cells, "k", If::Version(0)).await, second.to_string());
    assert_eq!(refuses(&cells, "k", If::Version(u64::MAX)).await, second.to_string());
    put(&cells, "k", "3", If::Version(second), None).await;
}

async fn anything_always_holds(env: Env) {
    let cells = cells(&env).await;
    put(&cells, "k", "1", If::Any, None).await;
    put(&cells, "k", "2", If::Any, None).await;
    assert_eq!(get(&cells, "k").await.map(|cell| cell.value), Some(Bytes::from_static(b"2")));
}

async fn a_refusal_names_the_current_version(env: Env) {
    let cells = cells(&env).await;
    assert_eq!(refuses(&cells, "k", If::Version(7)).await, "absent");
    let version = put(&cells, "k", "1", If::Any, None).await;
    assert_eq!(refuses(&cells, "k", If::Version(7)).await, version.to_string());
    cells.delete_cell("k", If::Any).await.expect("the delete succeeds");
    assert_eq!(refuses(&cells, "k", If::Version(version)).await, "absent");
}

async fn a_refused_write_changes_nothing(env: Env) {
    let cells = cells(&env).await;
    let until = env.clock.now() + Duration::from_mins(1);
    put(&cells, "k", "1", If::Any, Some(until)).await;
    let before = get(&cells, "k").await;
    refuses(&cells, "k", If::Absent).await;
    refuses(&cells, "k", If::Version(1)).await;
    assert_eq!(get(&cells, "k").await, before);
    refuses(&cells, "other", If::Version(1)).await;
    assert_eq!(get(&cells, "other").await, None);
}

async fn a_version_grows_with_each_write(env: Env) {
    let cells = cells(&env).await;
    let mut before = 0;
    for n in 0..20 {
        if n % 5 == 0 {
            env.clock.advance(Duration::from_micros(3));
        }
        let version = put(&cells, "k", "v", If::Any, None).await;
        assert!(version > before, "{version} after {before}");
        before = version;
    }
}

async fn a_version_is_at_least_the_stores_clock(env: Env) {
    let cells = cells(&env).await;
    assert_eq!(put(&cells, "k", "1", If::Any, None).await, micros(&env));
    assert_eq!(put(&cells, "k", "2", If::Any, None).await, micros(&env) + 1, "the clock stood still");
    env.clock.advance(Duration::from_secs(5));
    assert_eq!(put(&cells, "k", "3", If::Any, None).await, micros(&env));
}

async fn a_version_grows_though_the_clock_steps_back(env: Env) {
    let cells = cells(&env).await;
    let before = put(&cells, "k", "1", If::Any, None).await;
    env.clock.set(env.clock.now() - Duration::from_hours(1));
    assert_eq!(put(&cells, "k", "2", If::Any, None).await, before + 1);
    put(&cells, "k", "3", If::Version(before + 1), None).await;
}

async fn a_version_is_not_used_again_after_a_delete(env: Env) {
    let cells = cells(&env).await;
    let before = put(&cells, "k", "1", If::Any, None).await;
    cells.delete_cell("k", If::Any).await.expect("the delete succeeds");
    env.clock.advance(Duration::from_millis(1));
    assert!(put(&cells, "k", "2", If::Absent, None).await > before);
    refuses(&cells, "k", If::Version(before)).await;
}

async fn a_version_is_not_used_again_after_expiry(env: Env) {
    let cells = cells(&env).await;
    let before = put(&cells, "k", "1", If::Any, Some(env.clock.now() + Duration::from_millis(1))).await;
    env.clock.advance(Duration::from_millis(2));
    assert!(put(&cells, "k", "2", If::Absent, None).await > before);
    refuses(&cells, "k", If::Version(before)).await;
}

/// Hosts share a store, and the clock of one is behind that of the other who deleted the cell.
async fn a_deleted_cell_stays_gone_though_the_clock_steps_back(env: Env) {
    let cells = cells(&env).await;
    let mut versions = Vec::new();
    for key in ["absent", "any", "get", "until"] {
        let until = (key == "until").then(|| env.clock.now() + Duration::from_hours(1));
        versions.push(put(&cells, key, "v", If::Any, until).await);
    }
    env.clock.advance(Duration::from_millis(500));
    for key in ["absent", "any", "get", "until"] {
        assert!(cells.delete_cell(key, If::Any).await.expect("the delete succeeds"), "{key}");
    }
    env.clock.set(env.clock.now() - Duration::from_millis(400));
    assert_eq!((get(&cells, "get").await, get(&cells, "until").await), (None, None), "a deleted cell is seen again");
    assert_eq!(cells.scan_cells("").count().await, 0, "a deleted cell is listed");
    assert_eq!(refuses(&cells, "get", If::Version(versions[2])).await, "absent");
    assert!(!cells.delete_cell("get", If::Any).await.expect("the delete succeeds"), "it was deleted twice");
    assert!(put(&cells, "absent", "new", If::Absent, None).await > versions[0]);
    assert!(put(&cells, "any", "new", If::Any, None).await > versions[1]);
    assert_eq!(get(&cells, "absent").await.expect("the cell").value, "new");
}

async fn a_delete_says_whether_there_was_one(env: Env) {
    let cells = cells(&env).await;
    assert!(!cells.delete_cell("k", If::Any).await.expect("the delete succeeds"));
    assert!(!cells.delete_cell("k", If::Version(7)).await.expect("the delete succeeds"));
    let version = put(&cells, "k", "1", If::Any, None).await;
    put(&cells, "k2", "2", If::Any, None).await;
    assert!(cells.delete_cell("k", If::Version(version)).await.expect("the delete succeeds"));
    assert!(!cells.delete_cell("k", If::Any).await.expect("the delete succeeds"));
    assert_eq!(get(&cells, "k").await, None);
    assert!(cells.delete_cell("k2", If::Any).await.expect("the delete succeeds"));
}

async fn a_delete_with_another_version_is_refused(env: Env) {
    let cells = cells(&env).await;
    let version = put(&cells, "k", "1", If::Any, None).await;
    for wrong in [0, version - 1, version + 1, u64::MAX] {
        let error = refused(cells.delete_cell("k", If::Version(wrong)).await, ErrorKind::Conflict);
        assert_eq!(error.fact("version"), Some(version.to_string().as_str()));
    }
    assert!(get(&cells, "k").await.is_some());
}

async fn a_delete_of_an_absent_cell_on_that_condition_is_invalid(env: Env) {
    let cells = cells(&env).await;
    refused(cells.delete_cell("k", If::Absent).await, ErrorKind::Invalid);
    put(&cells, "k", "1", If::Any, None).await;
    refused(cells.delete_cell("k", If::Absent).await, ErrorKind::Invalid);
    assert!(get(&cells, "k").await.is_some());
}
