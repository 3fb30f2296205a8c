//! Walks over values whose stack use per level is small.
//!
//! `Value::clone` and `==` take up to 2 KiB a level in builds without optimisation, which is too much for
//! [`MAX_DEPTH`](super::MAX_DEPTH) levels on a thread of 2 MiB that has other work on its stack.

use serde_json::{Map, Number, Value};

/// Up to this depth the derived `Clone`, which is faster, is safe on any stack.
const SHALLOW: usize = 64;

/// Whether `value` has more than `limit` levels; a scalar has none.
pub(crate) fn is_deeper_than(value: &Value, limit: usize) -> bool {
    match value {
        Value::Array(items) => limit == 0 || any_item_deeper(items, limit - 1),
        Value::Object(members) => limit == 0 || any_member_deeper(members, limit - 1),
        _ => false,
    }
}

fn any_item_deeper(items: &[Value], limit: usize) -> bool {
    for item in items {
        if is_deeper_than(item, limit) {
            return true;
        }
    }
    false
}

fn any_member_deeper(members: &Map<String, Value>, limit: usize) -> bool {
    for item in members.values() {
        if is_deeper_than(item, limit) {
            return true;
        }
    }
    false
}

/// A copy of `value`.
pub(crate) fn duplicate(value: &Value) -> Value {
    if is_deeper_than(value, SHALLOW) { duplicate_deep(value) } else { value.clone() }
}

fn duplicate_deep(value: &Value) -> Value {
    match value {
        Value::Array(items) => duplicate_items(items),
        Value::Object(members) => duplicate_members(members),
        scalar => scalar.clone(),
    }
}

fn duplicate_items(items: &[Value]) -> Value {
    let mut copy = Vec::with_capacity(items.len());
    for item in items {
        copy.push(duplicate_deep(item));
    }
    Value::Array(copy)
}

fn duplicate_members(members: &Map<String, Value>) -> Value {
    let mut copy = Map::new();
    for (key, item) in members {
        copy.insert(key.clone(), duplicate_deep(item));
    }
    Value::Object(copy)
}

/// Whether both are written as the same JSON, but for the order of keys: `1` is not `1.0`, and `-0.0` is not `0.0`.
pub(crate) fn is_same(a: &Value, b: &Value) -> bool {
    equal(a, b, same_number)
}

/// Whether both are equal as RFC 6902 §4.6 has it: numbers by their value, so `1` is `1.0`.
pub(crate) fn is_equal(a: &Value, b: &Value) -> bool {
    equal(a, b, equal_number)
}

fn equal(a: &Value, b: &Value, numbers: fn(&Number, &Number) -> bool) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => numbers(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && equal_items(a, b, numbers),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && equal_members(a, b, numbers),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => false,
        (a, b) => a == b,
    }
}

fn equal_items(a: &[Value], b: &[Value], numbers: fn(&Number, &Number) -> bool) -> bool {
    for index in 0..a.len() {
        if !equal(&a[index], &b[index], numbers) {
            return false;
        }
    }
    true
}

fn equal_members(a: &Map<String, Value>, b: &Map<String, Value>, numbers: fn(&Number, &Number) -> bool) -> bool {
    for (key, item) in a {
        let Some(other) = b.get(key) else { return false };
        if !equal(item, other, numbers) {
            return false;
        }
    }
    true
}

fn same_number(a: &Number, b: &Number) -> bool {
    a == b && (!a.is_f64() || a.as_f64().map(f64::is_sign_negative) == b.as_f64().map(f64::is_sign_negative))
}

fn equal_number(a: &Number, b: &Number) -> bool {
    a == b || whole(a).is_some_and(|n| Some(n) == whole(b))
}

/// The number as an integer, if it is one that an integer type of 128 bits holds exactly.
#[expect(clippy::cast_possible_truncation, reason = "the float has no fraction and is far below 2^127")]
fn whole(number: &Number) -> Option<i128> {
    if let Some(n) = number.as_i128() {
        return Some(n);
    }
    number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e30).map(|n| n as i128)
}

/// About how many bytes of JSON text `value` takes.
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 3,
        Value::Array(items) => weight_of_items(items),
        Value::Object(members) => weight_of_members(members),
    }
}

fn weight_of_items(items: &[Value]) -> usize {
    let mut sum = 2;
    for item in items {
        sum += weight(item);
    }
    sum
}

fn weight_of_members(members: &Map<String, Value>) -> usize {
    let mut sum = 2;
    for (key, item) in members {
        sum += key.len() + 4 + weight(item);
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::testing, *};

    #[test]
    fn numbers_are_the_same_as_written_and_equal_by_value() {
        assert!(!is_same(&json!([1]), &json!([1.0])));
        assert!(!is_same(&json!(0.0), &json!(-0.0)));
        assert!(is_equal(&json!({"a": 1}), &json!({"a": 1.0})));
        assert!(!is_equal(&json!(u64::MAX), &json!(18_446_744_073_709_551_616.0)));
        assert!(!is_equal(&json!(1), &json!(1.5)));
    }

    #[test]
    fn depth_counts_arrays_and_objects() {
        let value = json!({"a": [{}]});
        assert!(is_deeper_than(&value, 2));
        assert!(!is_deeper_than(&value, 3));
        assert!(!is_deeper_than(&json!(1), 0));
    }

    #[test]
    fn deep_values_fit_a_small_stack() {
        testing::on_small_stack(|| {
            for value in [testing::nested_objects(), testing::nested_arrays()] {
                let copy = duplicate(&value);
                assert!(is_same(&copy, &value) && is_equal(&copy, &value));
                assert!(weight(&copy) > super::super::MAX_DEPTH);
            }
        });
    }

    proptest! {
        #[test]
        fn copies_and_comparisons_agree_with_the_derived_ones(a in testing::value(), b in testing::value()) {
            prop_assert_eq!(&duplicate_deep(&a), &a);
            prop_assert!(is_same(&a, &a) && is_equal(&a, &a));
            if is_same(&a, &b) {
                prop_assert_eq!(&a, &b);
            }
            prop_assert!(a != b || is_equal(&a, &b));
        }
    }
}
