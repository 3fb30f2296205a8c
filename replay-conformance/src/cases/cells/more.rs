//! Small versioned cells: expiry, scans and limits.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt;
use replay_core::{
    Clock, ErrorKind,
    storage::{CellStorage, If},
};

use super::{cells, get, put, refuses};
use crate::{check::refused, env::Env, runner::Needs};

cases!("cells", Needs::Cells;
    a_cell_expires_at_the_very_instant,
    an_expired_cell_is_as_good_as_absent,
    a_cell_may_be_put_already_expired,
    a_write_sets_the_expiry_anew,
    a_cell_that_is_put_anew_after_it_expired_stays_listed,
    many_expired_cells_are_no_burden,
    a_scan_is_in_order_of_the_keys_bytes,
    a_scan_goes_by_prefix_which_is_no_pattern,
    a_scan_leaves_out_expired_cells,
    a_long_scan_comes_whole,
    a_key_may_be_any_text_of_1_to_1024_bytes,
    a_value_may_be_any_bytes_up_to_64_kib,
);

async fn keys(cells: &Arc<dyn CellStorage>, prefix: &str) -> Vec<String> {
    let cells: Vec<_> = cells.scan_cells(prefix).try_collect().await.expect("the scan succeeds");
    cells.into_iter().map(|(key, _)| key).collect()
}

async fn a_cell_expires_at_the_very_instant(env: Env) {
    let cells = cells(&env).await;
    put(&cells, "k", "v", If::Any, Some(env.clock.now() + Duration::from_micros(500))).await;
    env.clock.advance(Duration::from_micros(499));
    assert!(get(&cells, "k").await.is_some(), "it expired a microsecond early");
    env.clock.advance(Duration::from_micros(1));
    assert_eq!(get(&cells, "k").await, None, "it outlived its instant");
}

async fn an_expired_cell_is_as_good_as_absent(env: Env) {
    let cells = cells(&env).await;
    let soon = || Some(env.clock.now() + Duration::from_secs(1));
    let mut versions = Vec::new();
    for key in ["get", "absent", "version", "any", "delete", "delete-version"] {
        versions.push(put(&cells, key, "v", If::Absent, soon()).await);
    }
    env.clock.advance(Duration::from_secs(1));
    assert_eq!(get(&cells, "get").await, None);
    assert_eq!(refuses(&cells, "version", If::Version(versions[2])).await, "absent");
    assert!(!cells.delete_cell("delete", If::Any).await.expect("the delete succeeds"));
    assert!(!cells.delete_cell("delete-version", If::Version(1)).await.expect("the delete succeeds"));
    assert_eq!(keys(&cells, "").await, [""; 0]);
    put(&cells, "absent", "new", If::Absent, None).await;
    put(&cells, "any", "new", If::Any, None).await;
    assert_eq!(keys(&cells, "").await, ["absent", "any"]);
}

async fn a_cell_may_be_put_already_expired(env: Env) {
    let cells = cells(&env).await;
    put(&cells, "k", "v", If::Absent, Some(env.clock.now())).await;
    put(&cells, "k", "v", If::Absent, Some(env.clock.now() - Duration::from_secs(1))).await;
    assert_eq!(get(&cells, "k").await, None);
    put(&cells, "k", "v", If::Absent, None).await;
    assert!(get(&cells, "k").await.is_some());
}

async fn a_write_sets_the_expiry_anew(env: Env) {
    let cells = cells(&env).await;
    let soon = env.clock.now() + Duration::from_secs(1);
    put(&cells, "longer", "v", If::Any, Some(soon)).await;
    put(&cells, "longer", "v", If::Any, Some(soon + Duration::from_secs(9))).await;
    put(&cells, "for ever", "v", If::Any, Some(soon)).await;
    put(&cells, "for ever", "v", If::Any, None).await;
    put(&cells, "shorter", "v", If::Any, None).await;
    put(&cells, "shorter", "v", If::Any, Some(soon)).await;
    env.clock.advance(Duration::from_secs(5));
    put(&cells, "x", "v", If::Any, None).await;
    put(&cells, "y", "v", If::Any, None).await;
    assert_eq!(keys(&cells, "").await, ["for ever", "longer", "x", "y"]);
}

async fn a_cell_that_is_put_anew_after_it_expired_stays_listed(env: Env) {
    let cells = cells(&env).await;
    let soon = env.clock.now() + Duration::from_secs(1);
    put(&cells, "for ever", "v", If::Any, Some(soon)).await;
    put(&cells, "longer", "v", If::Any, Some(soon)).await;
    env.clock.advance(Duration::from_secs(2));
    put(&cells, "for ever", "v", If::Absent, None).await;
    put(&cells, "longer", "v", If::Absent, Some(soon + Duration::from_hours(1000))).await;
    env.clock.advance(Duration::from_hours(48));
    // Whatever a store tidies up with its writes, it is done with these.
    for n in 0..200_u32 {
        put(&cells, &format!("other {n}"), "v", If::Any, None).await;
    }
    assert_eq!(keys(&cells, "for").await, ["for ever"]);
    assert_eq!(keys(&cells, "lo").await, ["longer"]);
}

async fn many_expired_cells_are_no_burden(env: Env) {
    let cells = cells(&env).await;
    for n in 0..100_u32 {
        let until = env.clock.now() + Duration::from_millis(u64::from(n % 10));
        put(&cells, &format!("k{n}"), "v", If::Absent, Some(until)).await;
    }
    env.clock.advance(Duration::from_millis(5));
    for n in 0..100_u32 {
        assert_eq!(get(&cells, &format!("k{n}")).await.is_some(), n % 10 > 5, "k{n}");
        put(&cells, "other", "v", If::Any, None).await;
    }
}

async fn a_scan_is_in_order_of_the_keys_bytes(env: Env) {
    let cells = cells(&env).await;
    let all = ["a", "B", "b", "A", "a/1", "a/10", "a/2", "é", "e", "z", "_", "🙂", "\u{ffee}", "a\0", "a b"];
    for key in all {
        put(&cells, key, "v", If::Any, None).await;
    }
    let mut sorted = all;
    sorted.sort_unstable();
    assert_eq!(keys(&cells, "").await, sorted);
    let cell = cells.scan_cells("é").try_next().await.expect("the scan succeeds").expect("a cell");
    assert_eq!(Some(cell.1), get(&cells, "é").await);
}

async fn a_scan_goes_by_prefix_which_is_no_pattern(env: Env) {
    let cells = cells(&env).await;
    let all = ["a%c", "abc", "a_c", "a*c", "a?c", "a[c", "a\\c", "a'c", "a:c", "Abc", "a", "\u{10ffff}c"];
    for key in all {
        put(&cells, key, "v", If::Any, None).await;
    }
    for prefix in ["a%", "a_", "a*", "a?", "a[", "a\\", "a'", "a:", "ab", "a", "A", "abc", "abcd", "\u{10ffff}", "%", "*"] {
        let mut expected: Vec<_> = all.into_iter().filter(|key| key.starts_with(prefix)).collect();
        expected.sort_unstable();
        assert_eq!(keys(&cells, prefix).await, expected, "prefix {prefix}");
    }
}

async fn a_scan_leaves_out_expired_cells(env: Env) {
    let cells = cells(&env).await;
    for n in 0..6_u64 {
        put(&cells, &format!("k{n}"), "v", If::Any, Some(env.clock.now() + Duration::from_secs(n + 1))).await;
    }
    env.clock.advance(Duration::from_secs(3));
    assert_eq!(keys(&cells, "k").await, ["k3", "k4", "k5"]);
}

async fn a_long_scan_comes_whole(env: Env) {
    let cells = cells(&env).await;
    let all: Vec<String> = (0..700).map(|n| format!("k{n:04}")).collect();
    for key in &all {
        put(&cells, key, "v", If::Absent, None).await;
    }
    assert_eq!(keys(&cells, "k").await, all);
}

async fn a_key_may_be_any_text_of_1_to_1024_bytes(env: Env) {
    let cells = cells(&env).await;
    let long = ["x".repeat(1024), "🙂".repeat(256)];
    for key in ["\0", "a\0b", "\n", " ", "..", "/", "'; --", "a:b", long[0].as_str(), long[1].as_str()] {
        let version = put(&cells, key, "v", If::Absent, None).await;
        assert_eq!(get(&cells, key).await.map(|cell| cell.version), Some(version), "{key:?}");
        assert!(keys(&cells, key).await.contains(&key.to_owned()));
        assert!(cells.delete_cell(key, If::Version(version)).await.expect("the delete succeeds"));
    }
    for wrong in [String::new(), "x".repeat(1025)] {
        refused(cells.put_cell(&wrong, Bytes::new(), If::Any, None).await, ErrorKind::Invalid);
        refused(cells.get_cell(&wrong).await, ErrorKind::Invalid);
        refused(cells.delete_cell(&wrong, If::Any).await, ErrorKind::Invalid);
    }
}

async fn a_value_may_be_any_bytes_up_to_64_kib(env: Env) {
    let cells = cells(&env).await;
    for value in [Bytes::new(), (0..=255).collect(), vec![0; 64 * 1024].into()] {
        cells.put_cell("k", value.clone(), If::Any, None).await.expect("the put succeeds");
        assert!(get(&cells, "k").await.map(|cell| cell.value) == Some(value), "the value differs");
    }
    refused(cells.put_cell("big", vec![0; 64 * 1024 + 1].into(), If::Any, None).await, ErrorKind::LimitExceeded);
    assert_eq!(get(&cells, "big").await, None);
}
