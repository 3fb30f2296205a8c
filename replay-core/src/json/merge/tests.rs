use proptest::prelude::*;
use serde_json::json;

use super::{super::testing, *};

#[test]
fn every_case_of_rfc_7396_gives_its_result() {
    for (original, patch, result) in [
        (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
        (json!({"a":"b"}), json!({"a":null}), json!({})),
        (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
        (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
        (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
        (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a":"b"}), json!(["c"]), json!(["c"])),
        (json!({"a":"foo"}), json!(null), json!(null)),
        (json!({"a":"foo"}), json!("bar"), json!("bar")),
        (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
        (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
    ] {
        let mut target = original.clone();
        merge_patch(&mut target, &patch);
        assert_eq!(target, result, "{original} + {patch}");
    }
}

#[test]
fn both_sides_changes_are_taken() {
    let base = json!({"keep": 1, "gone": 2, "both": 3, "in": {"a": 1, "b": 2}, "list": [1]});
    let ours = json!({"keep": 1, "both": 4, "in": {"a": 9, "b": 2}, "list": [1], "new": {"x": 1}});
    let theirs = json!({"keep": 1, "gone": 2, "both": 4, "in": {"a": 1}, "list": [1, 2], "new": {"y": 2}});
    let merged = json!({"keep": 1, "both": 4, "in": {"a": 9}, "list": [1, 2], "new": {"x": 1, "y": 2}});
    assert_eq!(three_way(&base, &ours, &theirs), Ok(merged));
}

#[test]
fn a_place_that_both_changed_is_named() {
    for (base, ours, theirs, place) in [
        (json!({"a": {"b/c": 1}}), json!({"a": {"b/c": 2}}), json!({"a": {"b/c": 3}}), "/a/b~1c"),
        (json!({"a": [1]}), json!({"a": [1, 2]}), json!({"a": [0, 1]}), "/a"),
        (json!({"a": {"b": 1}}), json!({}), json!({"a": {"b": 2}}), "/a"),
        (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), json!({"a": {}}), "/a/b"),
        (json!({"a": null}), json!({"a": {"x": 1}}), json!({"a": {"y": 1}}), "/a"),
        (json!({}), json!({"z": 1, "b": 1}), json!({"z": 2, "b": 2}), "/b"),
        (json!({}), json!({"a": 1}), json!({"a": 1.0}), "/a"),
        (json!(1), json!(2), json!(3), ""),
    ] {
        let conflict = three_way(&base, &ours, &theirs).unwrap_err();
        assert_eq!(conflict.pointer, place);
        assert_eq!(three_way(&base, &theirs, &ours).unwrap_err(), conflict);
        let error = Error::from(conflict);
        assert_eq!((error.kind(), error.fact("pointer")), (ErrorKind::ContextConflict, Some(place)));
    }
}

#[test]
fn the_deepest_values_fit_a_small_stack() {
    testing::on_small_stack(|| {
        for value in [testing::nested_objects(), testing::nested_arrays()] {
            let mut target = tree::duplicate(&value);
            merge_patch(&mut target, &value);
            assert!(tree::is_same(&target, &value));
            merge_patch(&mut target, &json!(1));
            merge_patch(&mut target, &value);
            assert!(tree::is_same(&target, &value));
            assert!(tree::is_same(&three_way(&value, &value, &value).unwrap(), &value));
            assert!(tree::is_same(&three_way(&json!(1), &json!(1), &value).unwrap(), &value));
        }
    });
}

proptest! {
    #[test]
    fn merge_patch_agrees_with_the_reference_crate(target in testing::value(), patch in testing::value()) {
        let mut ours = target.clone();
        merge_patch(&mut ours, &patch);
        let mut theirs = target;
        json_patch::merge(&mut theirs, &patch);
        prop_assert_eq!(&ours, &theirs);
        merge_patch(&mut ours, &patch);
        prop_assert_eq!(&ours, &theirs, "a merge patch applied twice is one applied once");
    }

    #[test]
    fn one_sides_change_is_the_result(base in testing::value(), changed in testing::value()) {
        prop_assert_eq!(three_way(&base, &changed, &base), Ok(changed.clone()));
        prop_assert_eq!(three_way(&base, &base, &changed), Ok(changed.clone()));
        prop_assert_eq!(three_way(&base, &changed, &changed), Ok(changed));
    }

    #[test]
    fn the_order_of_the_sides_makes_no_difference(base in testing::value(), ours in testing::value(), theirs in testing::value()) {
        prop_assert_eq!(three_way(&base, &ours, &theirs), three_way(&base, &theirs, &ours));
    }

    #[test]
    fn changes_to_different_keys_never_conflict(base in testing::value(), ours in testing::value(), theirs in testing::value()) {
        let base = json!({"ours": base.clone(), "theirs": base});
        let (mut left, mut right, mut both) = (base.clone(), base.clone(), base.clone());
        left["ours"] = ours.clone();
        right["theirs"] = theirs.clone();
        both["ours"] = ours;
        both["theirs"] = theirs;
        prop_assert_eq!(three_way(&base, &left, &right), Ok(both));
    }

    #[test]
    fn a_conflict_names_a_place_where_the_sides_differ(base in testing::value(), ours in testing::value(), theirs in testing::value()) {
        if let Err(conflict) = three_way(&base, &ours, &theirs) {
            let [base, ours, theirs] = [&base, &ours, &theirs].map(|value| value.pointer(&conflict.pointer));
            prop_assert!(!is_same(ours, theirs) && !is_same(base, ours) && !is_same(base, theirs));
        }
    }
}
