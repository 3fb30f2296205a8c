//! Every legal id is legal, and no two of them are the same saga.

use replay_core::storage::{At, SagaQuery};

use crate::{
    check::{append, assert_history, history, ids, prune, sequence_at, whole_saga},
    env::Env,
    records::{self, saga},
    runner::Needs,
};

cases!("ids", Needs::Snapshots;
    every_printable_character_may_be_in_an_id,
    ids_that_look_like_paths_patterns_and_statements_are_just_ids,
    an_id_may_have_255_bytes,
    ids_that_look_alike_are_different_sagas,
    the_same_holds_for_names_of_steps_and_definitions,
);

/// Each id keeps its own history, whatever the others are called.
async fn keep_apart(env: &Env, texts: &[&str]) {
    let store = env.open().await;
    let histories: Vec<_> = (1..).zip(texts).map(|(n, id)| records::history(id, 1 + n % 3)).collect();
    for records in &histories {
        append(&store, records.clone()).await;
    }
    for (text, records) in texts.iter().zip(&histories) {
        assert_history(&history(&store, text).await, records);
        assert_eq!(sequence_at(&store, text, At::Latest).await, Some(records.len() as u64), "{text:?}");
    }
    let mut shown = ids(&store, SagaQuery::default()).await;
    let mut expected: Vec<String> = texts.iter().map(ToString::to_string).collect();
    shown.sort();
    expected.sort();
    assert_eq!(shown, expected);
    // Removing one leaves the others.
    for (text, rest) in texts.iter().zip((0..texts.len()).rev()) {
        prune(&store, whole_saga(&saga(text))).await;
        assert_eq!(ids(&store, SagaQuery::default()).await.len(), rest, "after {text:?} was removed");
    }
}

async fn every_printable_character_may_be_in_an_id(env: Env) {
    let texts: Vec<String> = (' '..='~').map(|c| format!("a{c}b")).collect();
    keep_apart(&env, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

async fn ids_that_look_like_paths_patterns_and_statements_are_just_ids(env: Env) {
    let texts = [
        ".",
        "..",
        "../..",
        "/",
        "//",
        "/etc/passwd",
        "C:\\nul",
        "a/",
        "a//b",
        "%",
        "%2e%2e",
        "_",
        "*",
        "?",
        "[a]",
        "{a}",
        "{}",
        "a{b}c",
        "'",
        "\"",
        "'; DROP TABLE saga_snapshots; --",
        "$1",
        "?1",
        ":a",
        "@a",
        "\\",
        "`",
        "NULL",
        "null",
        "0",
        "-1",
        "1e3",
        "true",
        "🙂🙃",
        "Ω≈ç√∫",
        "日本語",
        "שלום",
        "a@1",
        "a@1@2",
        "a:b",
        "a|b",
        "a#b",
        "a&b=c",
        "a+b",
        "--help",
        "-",
        " ",
        "  ",
    ];
    keep_apart(&env, &texts).await;
}

async fn an_id_may_have_255_bytes(env: Env) {
    let texts = ["x".repeat(255), "x".repeat(254), "🙂".repeat(63), format!("{}ü", "/".repeat(253)), "%".repeat(255)];
    keep_apart(&env, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

async fn ids_that_look_alike_are_different_sagas(env: Env) {
    let texts = [
        "a",
        "A",
        "a ",
        " a",
        "a:",
        "a:b",
        "a:b:c",
        "ab",
        "a/b",
        "a\u{301}",
        "á",
        "\u{1e9e}",
        "ß",
        "ss",
        "ı",
        "i",
        "I",
        "İ",
        "K",
        "k",
        "\u{212a}",
        "a\u{200b}",
        "1",
        "01",
        "1.0",
        "Å",
        "A\u{30a}",
        "\u{212b}",
    ];
    keep_apart(&env, &texts).await;
}

async fn the_same_holds_for_names_of_steps_and_definitions(env: Env) {
    let store = env.open().await;
    let names = ["a'b", "a\"b", "%", "..", "日本語", "🙂", "a.b", "$.a", "a b"];
    let outline = records::outline_of("'; --", "%_'\"", &names);
    let records = records::Chain::new("order_1").with_outline(outline).take(names.len());
    append(&store, records.clone()).await;
    assert_history(&history(&store, "order_1").await, &records);
    for (sequence, name) in (1..).zip(names) {
        assert_eq!(sequence_at(&store, "order_1", At::before_step(name)).await, Some(sequence), "{name:?}");
    }
}
