use proptest::{collection, prelude::*};
use serde_json::json;

use super::{super::testing, *};

fn patched(document: &Value, patch: Value) -> Result<Value> {
    let mut changed = document.clone();
    let result = JsonPatch::from_value(patch)?.apply(&mut changed);
    if result.is_err() {
        assert_eq!(changed, *document, "a patch that fails changes nothing");
    }
    result.map(|()| changed)
}

/// RFC 6902, appendix A.
#[test]
fn the_examples_of_rfc_6902_give_their_results() {
    for (document, patch, expected) in [
        (json!({"foo": "bar"}), json!([{"op": "add", "path": "/baz", "value": "qux"}]), json!({"baz": "qux", "foo": "bar"})),
        (json!({"foo": ["bar", "baz"]}), json!([{"op": "add", "path": "/foo/1", "value": "qux"}]), json!({"foo": ["bar", "qux", "baz"]})),
        (json!({"baz": "qux", "foo": "bar"}), json!([{"op": "remove", "path": "/baz"}]), json!({"foo": "bar"})),
        (json!({"foo": ["bar", "qux", "baz"]}), json!([{"op": "remove", "path": "/foo/1"}]), json!({"foo": ["bar", "baz"]})),
        (json!({"baz": "qux"}), json!([{"op": "replace", "path": "/baz", "value": "boo"}]), json!({"baz": "boo"})),
        (
            json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
            json!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
            json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
        ),
        (
            json!({"foo": ["all", "grass", "cows", "eat"]}),
            json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
            json!({"foo": ["all", "cows", "eat", "grass"]}),
        ),
        (
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
            json!([{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2.0}]),
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
        ),
        (json!({"foo": "bar"}), json!([{"op": "add", "path": "/child", "value": {"g": {}}}]), json!({"foo": "bar", "child": {"g": {}}})),
        (json!({}), json!([{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}]), json!({"baz": "qux"})),
        (json!({"/": 9, "~1": 10}), json!([{"op": "test", "path": "/~01", "value": 10}]), json!({"/": 9, "~1": 10})),
        (
            json!({"foo": ["bar"]}),
            json!([{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}]),
            json!({"foo": ["bar", ["abc", "def"]]}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "copy", "from": "", "path": "/b"}, {"op": "replace", "path": "/a", "value": null}]),
            json!({"a": null, "b": {"a": 1}}),
        ),
        (json!({"a": 1}), json!([{"op": "add", "path": "", "value": 2}]), json!(2)),
        (json!({"a": 1}), json!([{"op": "move", "from": "/a", "path": "/a"}]), json!({"a": 1})),
    ] {
        assert_eq!(patched(&document, patch).unwrap(), expected);
    }
}

#[test]
fn a_failing_operation_is_named_and_nothing_is_changed() {
    let document = json!({"a": {"b": [1]}, "s": "text"});
    let good = json!({"op": "add", "path": "/new", "value": 1});
    for wrong in [
        json!({"op": "add", "path": "/x/y", "value": 1}),
        json!({"op": "add", "path": "/s/y", "value": 1}),
        json!({"op": "add", "path": "/a/b/2", "value": 1}),
        json!({"op": "add", "path": "/a/b/01", "value": 1}),
        json!({"op": "remove", "path": "/x"}),
        json!({"op": "remove", "path": "/a/b/-"}),
        json!({"op": "remove", "path": ""}),
        json!({"op": "replace", "path": "/x", "value": 1}),
        json!({"op": "move", "from": "/a", "path": "/a/b/0"}),
        json!({"op": "move", "from": "/a/b/0", "path": "/x/y"}),
        json!({"op": "move", "from": "/x", "path": "/y"}),
        json!({"op": "move", "from": "", "path": "/y"}),
        json!({"op": "copy", "from": "/x", "path": "/y"}),
        json!({"op": "test", "path": "/s", "value": "secret"}),
        json!({"op": "test", "path": "/x", "value": null}),
    ] {
        let error = patched(&document, json!([good, wrong])).unwrap_err();
        assert!(error.is(ErrorKind::Invalid), "{wrong}");
        assert_eq!((error.fact("operation"), error.fact("path")), (Some("1"), wrong["path"].as_str()));
        assert!(!error.to_string().contains("secret"));
        assert_eq!(patched(&document, json!([wrong])).unwrap_err().fact("operation"), Some("0"));
    }
}

#[test]
fn what_is_no_patch_is_refused_by_its_operation() {
    for wrong in [
        json!(1),
        json!({"op": "remove"}),
        json!({"path": "/a"}),
        json!({"op": 1, "path": "/a"}),
        json!({"op": "delete", "path": "/a"}),
        json!({"op": "add", "path": "/a"}),
        json!({"op": "add", "path": "a", "value": 1}),
        json!({"op": "add", "path": "/~", "value": 1}),
        json!({"op": "move", "path": "/a"}),
        json!({"op": "copy", "path": "/a", "from": 1}),
    ] {
        let error = JsonPatch::from_value(json!([{"op": "remove", "path": ""}, wrong])).unwrap_err();
        assert_eq!((error.kind(), error.fact("operation")), (ErrorKind::Invalid, Some("1")), "{wrong}");
        assert!(serde_json::from_value::<JsonPatch>(json!([wrong])).is_err());
    }
    assert!(JsonPatch::from_value(json!({})).unwrap_err().advice().is_some());
}

#[test]
fn it_is_serialised_as_its_operations() {
    let operations = json!([{"op": "move", "from": "/a", "path": "/b"}, {"op": "add", "path": "/c", "value": null}]);
    let patch = JsonPatch::from_value(operations.clone()).unwrap();
    assert_eq!(serde_json::to_value(&patch).unwrap(), operations);
    assert_eq!(serde_json::from_value::<JsonPatch>(operations).unwrap(), patch);
    assert!(JsonPatch::default().is_empty() && !patch.is_empty());
}

#[test]
fn copies_cannot_blow_a_value_up() {
    // Each copy into the array doubles it, each into the object makes it one level deeper.
    for (document, path) in [(json!(["x".repeat(1 << 16)]), "/-"), (json!({"a": 1}), "/x")] {
        let copies: Value = (0..=MAX_DEPTH).map(|_| json!({"op": "copy", "from": "", "path": path})).collect();
        assert!(patched(&document, copies).unwrap_err().is(ErrorKind::LimitExceeded));
    }
    testing::on_small_stack(|| {
        let mut deep = testing::nested_objects();
        let patch = json!([{"op": "copy", "from": "/a", "path": "/b"}, {"op": "move", "from": "/b", "path": "/a/a"}]);
        JsonPatch::from_value(patch).unwrap().apply(&mut deep).unwrap_err();
        let patch = json!([{"op": "copy", "from": "/a", "path": "/b"}, {"op": "test", "path": "/b", "value": 1}]);
        JsonPatch::from_value(patch).unwrap().apply(&mut deep).unwrap_err();
        assert!(tree::is_same(&deep, &testing::nested_objects()));
    });
}

/// Operations on places that often exist.
fn operation() -> impl Strategy<Value = Value> {
    let pointer = || {
        collection::vec(prop_oneof!["[a-d]", "[0-2-]"], 0..3)
            .prop_map(|tokens| tokens.into_iter().fold(Pointer::root(), |place, token| place.child(token)).to_string())
    };
    let op = prop_oneof![Just("add"), Just("remove"), Just("replace"), Just("move"), Just("copy"), Just("test")];
    (op, pointer(), pointer(), testing::value())
        .prop_filter("the reference refuses to move the whole value onto itself", |(op, path, from, _)| {
            *op != "move" || *path != *from || !path.is_empty()
        })
        .prop_map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}))
}

proptest! {
    #[test]
    fn it_agrees_with_the_reference_crate(document in testing::value(), operations in collection::vec(operation(), 1..4)) {
        let operations = Value::Array(operations);
        // The reference loses the value of a `move` whose destination does not exist, and tells 1 from 1.0 in a `test`.
        let reference = serde_json::from_value::<json_patch::Patch>(operations.clone()).unwrap();
        let mut theirs = document.clone();
        let result = json_patch::patch_unsafe(&mut theirs, &reference);
        match patched(&document, operations) {
            Ok(ours) => prop_assert_eq!(ours, theirs),
            Err(_) => prop_assert!(result.is_err()),
        }
    }
}
