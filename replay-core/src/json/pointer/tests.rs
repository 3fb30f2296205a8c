use proptest::prelude::*;
use serde_json::json;

use super::{super::testing, *};

fn at(text: &str) -> Pointer {
    Pointer::parse(text).unwrap()
}

#[test]
fn the_examples_of_rfc_6901_are_found() {
    let document = json!({
        "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8
    });
    assert_eq!(at("").get(&document), Some(&document));
    for (pointer, expected) in [
        ("/foo", json!(["bar", "baz"])),
        ("/foo/0", json!("bar")),
        ("/", json!(0)),
        ("/a~1b", json!(1)),
        ("/c%d", json!(2)),
        ("/e^f", json!(3)),
        ("/g|h", json!(4)),
        ("/i\\j", json!(5)),
        ("/k\"l", json!(6)),
        ("/ ", json!(7)),
        ("/m~0n", json!(8)),
    ] {
        assert_eq!(at(pointer).get(&document), Some(&expected), "{pointer}");
        assert_eq!(at(pointer).to_string(), pointer);
    }
    assert_eq!(at("/~01").tokens(), ["~1"]);
}

#[test]
fn dotted_keys_are_another_way_to_write_it() {
    assert_eq!(at("items.0.price"), at("/items/0/price"));
    assert_eq!(at("payment_token").to_string(), "/payment_token");
    for wrong in [".", "a..b", ".a", "a.", "/~", "/a~2", "/~0~"] {
        assert!(Pointer::parse(wrong).unwrap_err().is(ErrorKind::Invalid), "{wrong}");
    }
    assert!(Pointer::parse("a.".repeat(2000).trim_end_matches('.')).unwrap_err().is(ErrorKind::LimitExceeded));
    assert!(Pointer::parse_strict("a").is_err());
}

#[test]
fn array_indices_have_no_sign_and_no_leading_zero() {
    let document = json!({"a": [1, 2]});
    for missing in ["/a/2", "/a/-", "/a/01", "/a/+1", "/a/-1", "/a/x", "/a/", "/a/99999999999999999999", "/a/0/0"] {
        assert_eq!(at(missing).get(&document), None, "{missing}");
    }
}

#[test]
fn a_missing_place_differs_from_a_null() {
    let document = json!({"a": null});
    assert_eq!(at("a").get(&document), Some(&Value::Null));
    assert_eq!(at("b").get(&document), None);
}

#[test]
fn set_creates_what_is_missing_on_the_way() {
    let mut document = json!({"n": null, "items": [{"price": 1}]});
    for (pointer, value) in
        [("a.b.c", json!(1)), ("n.x", json!(2)), ("items.0.price", json!(3)), ("items.-.price", json!(4)), ("items.2", json!(5))]
    {
        at(pointer).set(&mut document, value).unwrap();
    }
    assert_eq!(document, json!({"a": {"b": {"c": 1}}, "n": {"x": 2}, "items": [{"price": 3}, {"price": 4}, 5]}));
    at("").set(&mut document, json!(7)).unwrap();
    assert_eq!(document, json!(7));
}

#[test]
fn set_names_what_is_in_the_way_and_changes_nothing() {
    let document = json!({"a": {"b": "text"}, "items": [1]});
    for (pointer, place) in [("a.b.c.d", "/a/b"), ("items.2", "/items"), ("items.x", "/items"), ("items.0.y", "/items/0")] {
        let mut changed = document.clone();
        let error = at(pointer).set(&mut changed, json!(1)).unwrap_err();
        assert_eq!((error.kind(), error.fact("pointer")), (ErrorKind::Invalid, Some(place)), "{pointer}");
        assert!(error.advice().is_some());
        assert_eq!(changed, document);
    }
}

#[test]
fn remove_takes_out_what_is_there() {
    let mut document = json!({"a": {"b": 1}, "items": [1, 2, 3]});
    assert_eq!(at("a.b").remove(&mut document), Some(json!(1)));
    assert_eq!(at("items.1").remove(&mut document), Some(json!(2)));
    for missing in ["a.b", "x.y", "items.7", "items.-", "items.0.z"] {
        assert_eq!(at(missing).remove(&mut document), None);
    }
    assert_eq!(document, json!({"a": {}, "items": [1, 3]}));
    assert_eq!(at("").remove(&mut document), Some(json!({"a": {}, "items": [1, 3]})));
    assert_eq!(document, Value::Null);
}

#[test]
fn nothing_is_set_deeper_than_the_limit() {
    testing::on_small_stack(|| {
        let pointer = Pointer { tokens: vec!["a".to_owned(); MAX_DEPTH] };
        let mut document = Value::Null;
        pointer.set(&mut document, json!(1)).unwrap();
        assert!(tree::is_same(&document, &testing::nested_objects()));
        assert!(pointer.set(&mut document, json!([])).unwrap_err().is(ErrorKind::LimitExceeded));
        assert!(at("a").set(&mut document, testing::nested_arrays()).unwrap_err().is(ErrorKind::LimitExceeded));
        assert!(tree::is_same(&document, &testing::nested_objects()));
    });
}

proptest! {
    #[test]
    fn what_is_displayed_parses_back(tokens in proptest::collection::vec(testing::key(), 0..5)) {
        let pointer = Pointer { tokens };
        prop_assert_eq!(Pointer::parse_strict(&pointer.to_string()).unwrap(), pointer.clone());
        let text = serde_json::to_string(&pointer).unwrap();
        prop_assert_eq!(serde_json::from_str::<Pointer>(&text).unwrap(), pointer);
    }

    #[test]
    fn what_is_set_is_found_and_removed(mut document in testing::value(), tokens in proptest::collection::vec(testing::key(), 0..4), new in testing::value()) {
        let pointer = Pointer { tokens };
        let before = document.clone();
        match pointer.set(&mut document, new.clone()) {
            Ok(()) if !pointer.tokens().iter().any(|token| token == "-") => {
                prop_assert_eq!(pointer.get(&document), Some(&new));
                prop_assert_eq!(pointer.get(&document), document.pointer(&pointer.to_string()));
                prop_assert_eq!(pointer.remove(&mut document), Some(new));
            }
            Ok(()) => {}
            Err(_) => prop_assert_eq!(document, before),
        }
    }
}
