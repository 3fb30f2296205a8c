//! Append-only streams with compare-and-append.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt;
use replay_core::{
    Clock, ErrorKind,
    storage::{LogEntry, LogStorage},
};

use crate::{check::refused, env::Env, runner::Needs};

cases!("logs", Needs::Logs;
    an_entry_comes_back_with_its_index,
    refuses_another_length_and_names_the_real_one,
    the_same_append_again_counts_as_done,
    other_entries_at_a_taken_position_are_refused,
    an_append_that_overlaps_in_part_is_refused,
    an_empty_list_changes_nothing,
    entries_are_any_bytes,
    reads_from_an_index_at_most_so_many,
    long_streams_come_whole,
    entries_bear_the_stores_time,
    streams_are_listed_by_prefix_in_order_of_their_bytes,
    a_prefix_is_no_pattern,
    a_deleted_stream_is_gone_and_may_begin_anew,
    a_name_may_be_any_text_of_1_to_1024_bytes,
);

async fn logs(env: &Env) -> Arc<dyn LogStorage> {
    env.open().await.logs().expect("the fixture offers logs").clone()
}

fn entries(texts: &[&'static str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
}

async fn append(logs: &Arc<dyn LogStorage>, stream: &str, expected_len: u64, texts: &[&'static str]) -> u64 {
    logs.append_log(stream, expected_len, entries(texts)).await.expect("the append is accepted")
}

async fn read(logs: &Arc<dyn LogStorage>, stream: &str, from: u64, limit: u64) -> Vec<LogEntry> {
    logs.read_log(stream, from, limit).try_collect().await.expect("the read succeeds")
}

async fn texts(logs: &Arc<dyn LogStorage>, stream: &str) -> Vec<Bytes> {
    read(logs, stream, 0, u64::MAX).await.into_iter().map(|entry| entry.bytes).collect()
}

async fn names(logs: &Arc<dyn LogStorage>, prefix: &str) -> Vec<String> {
    let streams: Vec<_> = logs.streams(prefix).try_collect().await.expect("the listing succeeds");
    streams.into_iter().map(|stream| stream.name).collect()
}

async fn an_entry_comes_back_with_its_index(env: Env) {
    let logs = logs(&env).await;
    assert_eq!(append(&logs, "s", 0, &["a", "b"]).await, 2);
    assert_eq!(append(&logs, "s", 2, &["c"]).await, 3);
    assert_eq!(append(&logs, "t", 0, &["x"]).await, 1);
    let shown: Vec<_> = read(&logs, "s", 0, u64::MAX).await.into_iter().map(|entry| (entry.index, entry.bytes)).collect();
    assert_eq!(shown, (0..).zip(entries(&["a", "b", "c"])).collect::<Vec<_>>());
}

async fn refuses(logs: &Arc<dyn LogStorage>, expected_len: u64, texts: &[&'static str], len: &str) {
    let error = refused(logs.append_log("s", expected_len, entries(texts)).await, ErrorKind::Conflict);
    assert_eq!(error.fact("len"), Some(len), "the fact len");
}

async fn refuses_another_length_and_names_the_real_one(env: Env) {
    let logs = logs(&env).await;
    refuses(&logs, 1, &["a"], "0").await;
    append(&logs, "s", 0, &["a", "b"]).await;
    for wrong in [0, 1, 3, i64::MAX as u64, u64::MAX] {
        refuses(&logs, wrong, &["c"], "2").await;
    }
    assert_eq!(texts(&logs, "s").await, entries(&["a", "b"]));
    assert_eq!(names(&logs, "").await, ["s"]);
}

async fn the_same_append_again_counts_as_done(env: Env) {
    let logs = logs(&env).await;
    append(&logs, "s", 0, &["a"]).await;
    assert_eq!(append(&logs, "s", 0, &["a"]).await, 1);
    assert_eq!(append(&logs, "s", 1, &["b", "c"]).await, 3);
    assert_eq!(append(&logs, "s", 1, &["b", "c"]).await, 3);
    assert_eq!(append(&logs, "s", 0, &["a", "b", "c"]).await, 3);
    assert_eq!(texts(&logs, "s").await, entries(&["a", "b", "c"]));
}

async fn other_entries_at_a_taken_position_are_refused(env: Env) {
    let logs = logs(&env).await;
    append(&logs, "s", 0, &["a", "b"]).await;
    refuses(&logs, 1, &["x"], "2").await;
    refuses(&logs, 0, &["a", "x"], "2").await;
    refuses(&logs, 0, &["x", "b"], "2").await;
    assert_eq!(texts(&logs, "s").await, entries(&["a", "b"]));
}

async fn an_append_that_overlaps_in_part_is_refused(env: Env) {
    let logs = logs(&env).await;
    append(&logs, "s", 0, &["a", "b", "c"]).await;
    refuses(&logs, 0, &["a"], "3").await;
    refuses(&logs, 1, &["b"], "3").await;
    refuses(&logs, 2, &["c", "d"], "3").await;
    assert_eq!(texts(&logs, "s").await, entries(&["a", "b", "c"]));
}

async fn an_empty_list_changes_nothing(env: Env) {
    let logs = logs(&env).await;
    assert_eq!(append(&logs, "s", 0, &[]).await, 0);
    assert_eq!(names(&logs, "").await, [""; 0]);
    append(&logs, "s", 0, &["a"]).await;
    assert_eq!(append(&logs, "s", 1, &[]).await, 1);
    refuses(&logs, 0, &[], "1").await;
    refuses(&logs, 2, &[], "1").await;
}

async fn entries_are_any_bytes(env: Env) {
    let logs = logs(&env).await;
    let odd = vec![Bytes::new(), (0..=255).collect(), Bytes::from(vec![0; 7]), Bytes::new(), Bytes::from(vec![b'x'; 1 << 20])];
    assert_eq!(logs.append_log("s", 0, odd.clone()).await.expect("the append is accepted"), 5);
    assert_eq!(logs.append_log("s", 0, odd.clone()).await.expect("the repeat is accepted"), 5);
    assert!(texts(&logs, "s").await == odd, "the entries differ");
}

async fn reads_from_an_index_at_most_so_many(env: Env) {
    let logs = logs(&env).await;
    append(&logs, "s", 0, &["a", "b", "c", "d"]).await;
    let expected: [(u64, u64, &[u64]); 10] = [
        (0, 0, &[]),
        (0, 1, &[0]),
        (1, 2, &[1, 2]),
        (3, 9, &[3]),
        (4, 9, &[]),
        (0, u64::MAX, &[0, 1, 2, 3]),
        (2, u64::MAX, &[2, 3]),
        (2, i64::MAX as u64, &[2, 3]),
        (u64::MAX, u64::MAX, &[]),
        (i64::MAX as u64, 1, &[]),
    ];
    for (from, limit, indices) in expected {
        let shown: Vec<u64> = read(&logs, "s", from, limit).await.iter().map(|entry| entry.index).collect();
        assert_eq!(shown, indices, "from {from}, at most {limit}");
    }
    assert!(read(&logs, "nothing", 0, 9).await.is_empty());
}

async fn long_streams_come_whole(env: Env) {
    let logs = logs(&env).await;
    let entries: Vec<Bytes> = (0..1500).map(|n| Bytes::from(format!("{n}"))).collect();
    logs.append_log("s", 0, entries[..700].to_vec()).await.expect("the append is accepted");
    logs.append_log("s", 700, entries[700..].to_vec()).await.expect("the append is accepted");
    assert_eq!(texts(&logs, "s").await, entries);
    assert_eq!(read(&logs, "s", 333, 1000).await.len(), 1000);
}

async fn entries_bear_the_stores_time(env: Env) {
    let logs = logs(&env).await;
    let first = env.clock.now();
    append(&logs, "s", 0, &["a"]).await;
    env.clock.advance(Duration::from_micros(1_234_567));
    append(&logs, "s", 0, &["a"]).await;
    append(&logs, "s", 1, &["b"]).await;
    let times: Vec<_> = read(&logs, "s", 0, 9).await.iter().map(|entry| entry.appended_at).collect();
    assert_eq!(times, [first, env.clock.now()], "a repeated append keeps the time of the first");
}

async fn streams_are_listed_by_prefix_in_order_of_their_bytes(env: Env) {
    let logs = logs(&env).await;
    let all = ["a", "a/1", "a/10", "a/2", "A", "ab", "b", "é", "z", "🙂", "\u{ffee}"];
    for name in all {
        append(&logs, name, 0, &["x", "y"]).await;
    }
    let mut sorted = all;
    sorted.sort_unstable();
    assert_eq!(names(&logs, "").await, sorted);
    assert_eq!(names(&logs, "a/").await, ["a/1", "a/10", "a/2"]);
    assert_eq!(names(&logs, "a/1").await, ["a/1", "a/10"]);
    assert_eq!(names(&logs, "c").await, [""; 0]);
    let streams: Vec<_> = logs.streams("b").try_collect().await.expect("the listing succeeds");
    assert_eq!(streams.iter().map(|stream| stream.len).collect::<Vec<_>>(), [2]);
}

async fn a_prefix_is_no_pattern(env: Env) {
    let logs = logs(&env).await;
    let all = ["a%c", "abc", "a_c", "a*c", "a?c", "a[c", "a\\c", "a'c", "\u{10ffff}c"];
    for name in all {
        append(&logs, name, 0, &["x"]).await;
    }
    for name in all {
        let prefix = name.strip_suffix('c').expect("it ends with c");
        let expected: Vec<_> = all.into_iter().filter(|other| other.starts_with(prefix)).collect();
        assert_eq!(names(&logs, prefix).await, expected, "prefix {prefix}");
    }
}

async fn a_deleted_stream_is_gone_and_may_begin_anew(env: Env) {
    let logs = logs(&env).await;
    append(&logs, "s", 0, &["a", "b"]).await;
    append(&logs, "s2", 0, &["c"]).await;
    assert!(logs.delete_log("s").await.expect("the delete succeeds"));
    assert!(!logs.delete_log("s").await.expect("the delete succeeds"), "there is nothing left to delete");
    assert!(texts(&logs, "s").await.is_empty());
    assert_eq!(names(&logs, "").await, ["s2"]);
    append(&logs, "s", 0, &["x"]).await;
    assert_eq!(texts(&logs, "s").await, entries(&["x"]));
    assert_eq!(texts(&logs, "s2").await, entries(&["c"]));
}

async fn a_name_may_be_any_text_of_1_to_1024_bytes(env: Env) {
    let logs = logs(&env).await;
    let long = ["x".repeat(1024), "🙂".repeat(256)];
    for name in ["\0", "a\0b", "\n", " ", "..", "/", "'; --", long[0].as_str(), long[1].as_str()] {
        append(&logs, name, 0, &["x"]).await;
        assert_eq!(names(&logs, name).await, [name]);
        assert_eq!(texts(&logs, name).await, entries(&["x"]));
    }
    for wrong in [String::new(), "x".repeat(1025)] {
        refused(logs.append_log(&wrong, 0, entries(&["x"])).await, ErrorKind::Invalid);
    }
}
