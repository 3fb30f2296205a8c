//! What the tests of this folder share: random values, the deepest values, and a thread with little stack.

use proptest::{collection, prelude::*};
use serde_json::{Map, Value, json};

use super::MAX_DEPTH;

/// Values of up to 5 levels over few keys, so that two of them have places in common.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2_i64..3).prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no such number", |n| n.is_finite()).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    scalar.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            collection::vec((key(), inner), 0..6).prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Objects of up to 6 levels.
pub(crate) fn object() -> impl Strategy<Value = Value> {
    collection::vec((key(), value()), 0..5).prop_map(|members| members.into_iter().collect())
}

/// Keys, most of them from a small set, some that need escapes in a pointer.
pub(crate) fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-d]", 1 => Just(String::new()), 1 => "[~/.0-2é\u{fffd}😀\"\\\\-]{1,3}", 1 => any::<String>()]
}

/// `{"a":{"a":…1}}` with [`MAX_DEPTH`] levels.
pub(crate) fn nested_objects() -> Value {
    (0..MAX_DEPTH).fold(json!(1), |inner, _| Value::Object(Map::from_iter([("a".to_owned(), inner)])))
}

/// `[[…1]]` with [`MAX_DEPTH`] levels.
pub(crate) fn nested_arrays() -> Value {
    (0..MAX_DEPTH).fold(json!(1), |inner, _| Value::Array(vec![inner]))
}

/// Runs `test` on a thread of 1.5 MiB, so that the 2 MiB of an ordinary one leave room for callers.
pub(crate) fn on_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(1536 << 10).spawn(test).unwrap();
    thread.join().unwrap();
}
