//! What leads from one value to another, as the operations of a JSON Patch.

use serde_json::{Map, Value, json};

use super::{patch::JsonPatch, pointer, tree};

/// Up to so many operations inside an array are always spelled out.
const FEW_OPERATIONS: usize = 16;

/// How many elements the insertions and removals in one array may move, in all, when the patch is applied.
const MAX_MOVES: usize = 1 << 20;

/// The patch that leads from `from` to `to`: applied to `from`, it gives exactly `to`.
///
/// Objects are compared by key. In arrays, what both have in common at the beginning and at the end stays, so an element
/// that was inserted or removed is one operation; an array that mostly changed is replaced as a whole. Nothing but `add`,
/// `remove` and `replace` is used.
pub fn diff(from: &Value, to: &Value) -> JsonPatch {
    let mut differ = Differ { place: String::new(), operations: Vec::new(), weight: 0 };
    differ.compare(from, to);
    JsonPatch::from_checked(differ.operations)
}

struct Differ {
    /// The pointer to where the comparison stands.
    place: String,
    operations: Vec<Value>,
    /// About how much text the operations take.
    weight: usize,
}

impl Differ {
    fn compare(&mut self, from: &Value, to: &Value) {
        match (from, to) {
            (Value::Object(from), Value::Object(to)) => self.compare_objects(from, to),
            (Value::Array(old), Value::Array(new)) => self.compare_arrays(old, new, to),
            (from, to) => {
                if !tree::is_same(from, to) {
                    self.push("replace", Some(to));
                }
            }
        }
    }

    fn push(&mut self, op: &str, value: Option<&Value>) {
        let mut operation = Map::from_iter([("op".to_owned(), json!(op)), ("path".to_owned(), json!(self.place))]);
        self.weight += 30 + self.place.len();
        if let Some(value) = value {
            self.weight += tree::weight(value);
            operation.insert("value".to_owned(), tree::duplicate(value));
        }
        self.operations.push(Value::Object(operation));
    }

    fn push_at(&mut self, token: &str, op: &str, value: Option<&Value>) {
        let length = self.enter(token);
        self.push(op, value);
        self.place.truncate(length);
    }

    fn enter(&mut self, token: &str) -> usize {
        let length = self.place.len();
        pointer::push_token(&mut self.place, token);
        length
    }

    fn compare_objects(&mut self, from: &Map<String, Value>, to: &Map<String, Value>) {
        for key in from.keys() {
            if !to.contains_key(key) {
                self.push_at(key, "remove", None);
            }
        }
        for (key, new) in to {
            if let Some(old) = from.get(key) {
                let length = self.enter(key);
                self.compare(old, new);
                self.place.truncate(length);
            } else {
                self.push_at(key, "add", Some(new));
            }
        }
    }

    fn compare_arrays(&mut self, old: &[Value], new: &[Value], whole: &Value) {
        let mut start = Start { operations: self.operations.len(), weight: self.weight, limit: None };
        if !self.compare_items(old, new, whole, &mut start) {
            self.operations.truncate(start.operations);
            self.weight = start.weight;
            self.push("replace", Some(whole));
        }
    }

    /// Whether the operations since `start` take more text than replacing `whole` would.
    fn is_wasteful(&self, start: &mut Start, whole: &Value) -> bool {
        self.operations.len() - start.operations > FEW_OPERATIONS
            && self.weight - start.weight > *start.limit.get_or_insert_with(|| tree::weight(whole))
    }

    /// Says no as soon as it is clear that the array had better be replaced.
    fn compare_items(&mut self, old: &[Value], new: &[Value], whole: &Value, start: &mut Start) -> bool {
        let (head, tail) = if old.len() == new.len() { (0, 0) } else { common_ends(old, new) };
        let paired = old.len().min(new.len()) - tail;
        let moves = old.len().abs_diff(new.len()).saturating_mul(tail);
        if moves > MAX_MOVES {
            return false;
        }
        for index in head..paired {
            let length = self.enter(&index.to_string());
            self.compare(&old[index], &new[index]);
            self.place.truncate(length);
            if self.is_wasteful(start, whole) {
                return false;
            }
        }
        // From the end, so that no removal moves what the next one removes.
        for index in (paired..old.len() - tail).rev() {
            self.push_at(&index.to_string(), "remove", None);
            if self.is_wasteful(start, whole) {
                return false;
            }
        }
        for (index, item) in new.iter().enumerate().take(new.len() - tail).skip(paired) {
            self.push_at(&index.to_string(), "add", Some(item));
            if self.is_wasteful(start, whole) {
                return false;
            }
        }
        true
    }
}

/// Where the comparison of an array began, and how much text its replacement takes, once that is asked for.
struct Start {
    operations: usize,
    weight: usize,
    limit: Option<usize>,
}

/// How many elements at the beginning, and how many of the others at the end, are the same in both.
fn common_ends(old: &[Value], new: &[Value]) -> (usize, usize) {
    let head = old.iter().zip(new).take_while(|(a, b)| tree::is_same(a, b)).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| tree::is_same(a, b)).count();
    (head, tail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::testing, *};

    fn assert_diff(from: &Value, to: &Value, operations: &Value) {
        let patch = diff(from, to);
        assert_eq!(serde_json::to_value(&patch).unwrap(), *operations);
        let mut value = from.clone();
        patch.apply(&mut value).unwrap();
        assert_eq!(value, *to);
    }

    #[test]
    fn an_object_is_compared_by_key() {
        assert_diff(
            &json!({"a": 1, "b": {"c/d": 1, "e": [1]}, "gone": 0}),
            &json!({"a": 1, "b": {"c/d": 2, "e": [1]}, "new": null}),
            &json!([
                {"op": "remove", "path": "/gone"},
                {"op": "replace", "path": "/b/c~1d", "value": 2},
                {"op": "add", "path": "/new", "value": null}
            ]),
        );
        assert_diff(&json!({}), &json!({}), &json!([]));
        assert_diff(&json!([1]), &json!({"a": 1}), &json!([{"op": "replace", "path": "", "value": {"a": 1}}]));
        assert_diff(&json!(1), &json!(1.0), &json!([{"op": "replace", "path": "", "value": 1.0}]));
    }

    #[test]
    fn an_inserted_or_removed_element_is_one_operation() {
        assert_diff(&json!([1, 2, 3]), &json!([0, 1, 2, 3]), &json!([{"op": "add", "path": "/0", "value": 0}]));
        assert_diff(&json!([1, 2, 3]), &json!([1, 3]), &json!([{"op": "remove", "path": "/1"}]));
        assert_diff(&json!([1, 1, 1]), &json!([1]), &json!([{"op": "remove", "path": "/2"}, {"op": "remove", "path": "/1"}]));
        assert_diff(
            &json!([{"id": 1, "n": 1}, {"id": 2}]),
            &json!([{"id": 1, "n": 2}, {"id": 2}]),
            &json!([{"op": "replace", "path": "/0/n", "value": 2}]),
        );
    }

    #[test]
    fn an_array_that_mostly_changed_is_replaced() {
        let from: Value = (0..1000).collect();
        let to: Value = (1000..2000).collect();
        assert_diff(&from, &to, &json!([{"op": "replace", "path": "", "value": to}]));
        let from: Value = (0..2000).collect();
        let to: Value = (0..1000).flat_map(|n| [n, -1, -2]).chain(1000..2000).collect();
        assert_eq!(diff(&from, &to).operations().len(), 1);
        let tail: Value = (0..20_000).map(|_| json!(7)).collect();
        assert_eq!(diff(&json!([]), &tail).operations().len(), 1);
        assert_eq!(diff(&tail, &json!([])).operations().len(), 1);
    }

    #[test]
    fn the_deepest_values_fit_a_small_stack() {
        testing::on_small_stack(|| {
            for mut from in [testing::nested_objects(), testing::nested_arrays()] {
                let to = tree::duplicate(&from);
                let mut inner = &mut from;
                while inner.is_array() || inner.is_object() {
                    inner = if inner.is_array() { &mut inner[0] } else { &mut inner["a"] };
                }
                *inner = json!(2);
                let patch = diff(&from, &to);
                assert_eq!(patch.operations().len(), 1);
                patch.apply(&mut from).unwrap();
                assert!(tree::is_same(&from, &to));
                from = json!([]);
                let patch = diff(&from, &to);
                patch.apply(&mut from).unwrap();
                assert!(tree::is_same(&from, &to));
            }
        });
    }

    proptest! {
        #[test]
        fn the_diff_applied_gives_the_target(from in testing::value(), to in testing::value()) {
            let patch = diff(&from, &to);
            let mut value = from.clone();
            patch.apply(&mut value).unwrap();
            prop_assert!(tree::is_same(&value, &to));
            let mut value = from;
            let operations = serde_json::from_value::<json_patch::Patch>(serde_json::to_value(&patch).unwrap()).unwrap();
            json_patch::patch(&mut value, &operations).unwrap();
            prop_assert_eq!(value, to);
        }

        #[test]
        fn arrays_with_much_in_common_are_taken_there(
            common in proptest::collection::vec(testing::value(), 0..4),
            from in proptest::collection::vec(testing::value(), 0..3),
            to in proptest::collection::vec((0..4).prop_map(Value::from), 0..40),
            at in any::<prop::sample::Index>(),
        ) {
            let (head, tail) = common.split_at(at.index(common.len() + 1));
            let [mut old, new] = [&from, &to].map(|middle| Value::Array([head, middle, tail].concat()));
            diff(&old, &new).apply(&mut old).unwrap();
            prop_assert!(tree::is_same(&old, &new));
        }

        #[test]
        fn nothing_differs_from_itself(value in testing::value()) {
            prop_assert!(diff(&value, &value).is_empty());
        }
    }
}
