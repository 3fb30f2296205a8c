use proptest::prelude::*;

use super::{super::testing, *};

fn assigned(context: &Value, assignments: &[&str]) -> Result<Value> {
    let mut changed = context.clone();
    let result = Override::from_assignments(assignments)?.apply(&mut changed);
    if result.is_err() {
        assert_eq!(changed, *context, "an override that fails changes nothing");
    }
    result.map(|()| changed)
}

#[test]
fn a_value_is_json_or_else_text() {
    let texts = ["a=5", "b=\"5\"", "c=tok_ok", "d=", "e=true", "f=[1]", "g=a=b", "h=007", "i={broken", "j= 1.5 "];
    let expected = json!({"a": 5, "b": "5", "c": "tok_ok", "d": "", "e": true, "f": [1], "g": "a=b", "h": "007", "i": "{broken", "j": 1.5});
    assert_eq!(assigned(&json!({}), &texts).unwrap(), expected);
}

#[test]
fn keys_reach_inside_objects_and_arrays() {
    let context = json!({"payment": {"token": "bad", "tries": 1}, "items": [{"price": 1}, {"price": 2}], "a/b": 1, "a.b": 2});
    let texts = ["payment.token=ok", "items.1.price=9", "/items/0/price=8", "/items/-={\"price\":7}", "/a~1b=3", "/a.b=4", "new.deep.er=1"];
    let expected = json!({
        "payment": {"token": "ok", "tries": 1}, "items": [{"price": 8}, {"price": 9}, {"price": 7}], "a/b": 3, "a.b": 4,
        "new": {"deep": {"er": 1}}
    });
    assert_eq!(assigned(&context, &texts).unwrap(), expected);
}

#[test]
fn null_deletes_and_objects_are_merged() {
    let context = json!({"a": 1, "o": {"x": 1, "y": {"z": 1}}, "items": [1, 2], "s": "text"});
    let texts = [
        "a=null",
        "o={\"x\":null,\"y\":{\"w\":2}}",
        "items.0=null",
        "missing.deep=null",
        "s.x=null",
        "s={\"t\":1,\"u\":null}",
        "n={\"k\":{\"v\":null}}",
    ];
    let expected = json!({"o": {"y": {"z": 1, "w": 2}}, "items": [2], "s": {"t": 1}, "n": {"k": {}}});
    assert_eq!(assigned(&context, &texts).unwrap(), expected);
    assert_eq!(assigned(&json!({"a": {"old": 1}}), &["a=null", "a.b=2"]).unwrap(), json!({"a": {"b": 2}}));
}

#[test]
fn a_malformed_assignment_is_refused_with_a_hint() {
    for wrong in ["novalue", "", "=5", "a..b=1", "/~=1"] {
        let error = Override::from_assignments(&["ok=1", wrong]).unwrap_err();
        assert_eq!((error.kind(), error.fact("assignment")), (ErrorKind::Invalid, Some("1")), "{wrong}");
        assert!(error.advice().is_some());
    }
    assert!(!Override::from_assignments(&["hunter2"]).unwrap_err().to_string().contains("hunter2"));
    let deep = format!("a={}", "[".repeat(5000));
    assert!(Override::from_assignments(&[deep]).unwrap_err().is(ErrorKind::LimitExceeded));
}

#[test]
fn an_assignment_that_does_not_fit_names_the_place() {
    for (text, place) in [("s.x=1", "/s"), ("items.5=1", "/items"), ("items.x={}", "/items")] {
        let error = assigned(&json!({"s": "text", "items": []}), &["new=1", text]).unwrap_err();
        assert_eq!((error.fact("pointer"), error.fact("assignment")), (Some(place), Some("1")));
    }
}

#[test]
fn a_document_is_a_patch_or_a_merge_patch() {
    let mut context = json!({"a": 1, "b": 2});
    Override::from_document(json!({"a": null})).unwrap().apply(&mut context).unwrap();
    Override::from_document(json!([{"op": "replace", "path": "/b", "value": 3}])).unwrap().apply(&mut context).unwrap();
    assert_eq!(context, json!({"b": 3}));
    for wrong in [json!(1), json!("a=1"), json!(null), json!([1])] {
        assert!(Override::from_document(wrong).unwrap_err().is(ErrorKind::Invalid));
    }
}

#[test]
fn an_override_is_serialised_by_kind() {
    let patch = json!([{"op": "remove", "path": "/a"}]);
    for (change, expected) in [
        (Override::None, json!({"kind": "none"})),
        (Override::Merge(json!({"a": null})), json!({"kind": "merge", "value": {"a": null}})),
        (Override::from_document(patch.clone()).unwrap(), json!({"kind": "patch", "value": patch})),
        (Override::from_assignments(&["a.b=null"]).unwrap(), json!({"kind": "assign", "value": [{"path": "/a/b", "value": null}]})),
    ] {
        assert_eq!(serde_json::to_value(&change).unwrap(), expected);
        assert_eq!(serde_json::from_value::<Override>(expected.clone()).unwrap(), change);
        assert_eq!(change.redacted(&Redactor::default()), expected);
        assert_eq!(change.is_empty(), change == Override::None);
    }
    assert!(Override::from_assignments::<&str>(&[]).unwrap().is_empty() && Override::Merge(json!({})).is_empty());
    assert!(serde_json::from_value::<Override>(json!({"kind": "other"})).is_err());
}

#[test]
fn secrets_are_not_shown_in_any_form() {
    let redactor = Redactor::default().with_pointer(Pointer::parse("/who").unwrap());
    for (change, shown) in [
        (
            Override::Merge(json!({"payment": {"token": "canary"}, "who": "canary", "n": 1})),
            json!({"payment": {"token": "[redacted]"}, "who": "[redacted]", "n": 1}),
        ),
        (
            Override::from_document(json!([
                {"op": "add", "path": "/payment_token/x", "value": "canary", "note": "canary"},
                {"op": "add", "path": "/p", "value": {"password": "canary"}},
                {"op": "move", "from": "/a", "path": "/b"}
            ]))
            .unwrap(),
            json!([
                {"op": "add", "path": "/payment_token/x", "value": "[redacted]"},
                {"op": "add", "path": "/p", "value": {"password": "[redacted]"}},
                {"op": "move", "from": "/a", "path": "/b"}
            ]),
        ),
        (
            Override::from_assignments(&["who.x=canary", "cards.0=canary", "n=1"]).unwrap(),
            json!([{"path": "/who/x", "value": "[redacted]"}, {"path": "/cards/0", "value": "[redacted]"}, {"path": "/n", "value": 1}]),
        ),
    ] {
        assert_eq!(change.redacted(&redactor)["value"], shown);
    }
    let change = Override::from_assignments(&["payment.token=canary"]).unwrap();
    assert_eq!(format!("{change:?}"), r#"Override({"kind":"assign","value":[{"path":"/payment/token","value":"[redacted]"}]})"#);
}

proptest! {
    #[test]
    fn an_object_assigned_is_a_merge_patch_at_its_place(context in testing::object(), patch in testing::object(), key in "[a-d]") {
        let text = format!("{key}={patch}");
        let mut merged = context.clone();
        merge_patch(&mut merged, &json!({ key: patch }));
        prop_assert_eq!(assigned(&context, &[text.as_str()]).unwrap(), merged);
    }

    #[test]
    fn applied_twice_to_the_same_context_it_gives_the_same(context in testing::value(), document in testing::value()) {
        if let Ok(change) = Override::from_document(document) {
            let (mut once, mut again) = (context.clone(), context);
            prop_assert_eq!(change.apply(&mut once).is_ok(), change.apply(&mut again).is_ok());
            prop_assert_eq!(once, again);
        }
    }
}
