//! Merging: a merge patch into a value, and two descendants of one value into one.

use std::fmt;

use serde_json::{Map, Value};

use super::{pointer, tree};
use crate::{Error, ErrorKind};

/// Applies the merge patch `patch` to `target`: objects merge by key, `null` deletes, anything else replaces.
///
/// # Sources
/// RFC 7396, §2.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = tree::duplicate(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        merge_members(target, patch);
    }
}

fn merge_members(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge_patch(target.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// Two descendants of a value changed one place in different ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeConflict {
    /// The place, as a JSON pointer. Of several it is the first by key.
    pub pointer: String,
}

impl fmt::Display for MergeConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "both sides changed `{}` in different ways", self.pointer)
    }
}

impl std::error::Error for MergeConflict {}

impl From<MergeConflict> for Error {
    fn from(conflict: MergeConflict) -> Self {
        Self::new(ErrorKind::ContextConflict, "merge")
            .message(conflict.to_string())
            .hint("let the branches write to different keys, or let one need the other")
            .with("pointer", conflict.pointer)
    }
}

/// Merges the changes that lead from `base` to `ours` and from `base` to `theirs`.
///
/// Objects merge by key, recursively, deletions included. Arrays and scalars are atomic: one side's change is taken,
/// equal changes are one. The order of `ours` and `theirs` makes no difference. An object that both sides put where `base`
/// has nothing is merged as well; one that both put in the place of something else is not.
///
/// # Errors
/// [`MergeConflict`] with the first place that both changed differently, or that one changed and the other deleted.
pub fn three_way(base: &Value, ours: &Value, theirs: &Value) -> Result<Value, MergeConflict> {
    match merge(Some(base), Some(ours), Some(theirs)) {
        Ok(merged) => Ok(merged.unwrap_or(Value::Null)),
        Err(tokens) => {
            let mut place = String::new();
            for token in tokens.iter().rev() {
                pointer::push_token(&mut place, token);
            }
            Err(MergeConflict { pointer: place })
        }
    }
}

/// `None` is an absent member; a conflict is the tokens of its place, innermost first.
type Merged = Result<Option<Value>, Vec<String>>;

fn merge(base: Option<&Value>, ours: Option<&Value>, theirs: Option<&Value>) -> Merged {
    match (base, ours, theirs) {
        // Three objects are merged by key whether or not two are equal, so that nothing is compared more than once.
        (Some(Value::Object(base)), Some(Value::Object(ours)), Some(Value::Object(theirs))) => merge_objects(Some(base), ours, theirs),
        (None, Some(Value::Object(ours)), Some(Value::Object(theirs))) => merge_objects(None, ours, theirs),
        _ if is_same(ours, theirs) || is_same(base, theirs) => Ok(ours.map(tree::duplicate)),
        _ if is_same(base, ours) => Ok(theirs.map(tree::duplicate)),
        _ => Err(Vec::new()),
    }
}

fn is_same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => tree::is_same(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

fn merge_objects(base: Option<&Map<String, Value>>, ours: &Map<String, Value>, theirs: &Map<String, Value>) -> Merged {
    let mut merged = Map::new();
    for key in keys_of_both(ours, theirs) {
        match merge(base.and_then(|base| base.get(key)), ours.get(key), theirs.get(key)) {
            Ok(Some(value)) => drop(merged.insert(key.clone(), value)),
            Ok(None) => {}
            Err(mut tokens) => {
                tokens.push(key.clone());
                return Err(tokens);
            }
        }
    }
    Ok(Some(Value::Object(merged)))
}

/// The keys that either has, sorted. A key that neither has any more was deleted by both.
fn keys_of_both<'a>(ours: &'a Map<String, Value>, theirs: &'a Map<String, Value>) -> Vec<&'a String> {
    let mut keys: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests;
