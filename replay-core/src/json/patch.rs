//! JSON Patch: a list of operations that is applied as a whole or not at all.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use super::diff::diff;
use super::{
    MAX_DEPTH, Redactor,
    pointer::{self, Pointer, kind_of},
    tree,
};
use crate::{Error, ErrorKind, Result};

/// How much text all `copy` operations of one patch may make, in bytes, about: 64 MiB. A list of copies doubles a value
/// with every operation.
pub const MAX_COPIED_BYTES: usize = 64 << 20;

/// A JSON Patch: operations `add`, `remove`, `replace`, `move`, `copy` and `test`, in order. Serialised as their array.
///
/// # Sources
/// RFC 6902.
#[derive(Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct JsonPatch {
    operations: Vec<Value>,
}

impl JsonPatch {
    /// Takes the operations of `value`, an array of objects. Members that RFC 6902 does not define are dropped.
    ///
    /// # Errors
    /// `Invalid` if it is no array, or an operation is unknown, lacks a member or has a pointer that is none; the facts
    /// `operation` (an index from 0) and `path` name it.
    pub fn from_value(value: Value) -> Result<Self> {
        let Value::Array(operations) = value else {
            return Err(Error::invalid("parse", format!("a JSON Patch is an array, not {}", kind_of(&value)))
                .hint(r#"write [{"op": "replace", "path": "/a", "value": 1}]"#));
        };
        let check = |(index, operation)| checked(operation).map_err(|error: Error| error.with("operation", index));
        Ok(Self { operations: operations.into_iter().enumerate().map(check).collect::<Result<_>>()? })
    }

    /// Takes operations that are known to be well-formed.
    pub(super) fn from_checked(operations: Vec<Value>) -> Self {
        Self { operations }
    }

    /// The operations, each an object with `op`, `path` and, by `op`, `value` or `from`.
    pub fn operations(&self) -> &[Value] {
        &self.operations
    }

    /// Whether there is no operation.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The operations without the secrets in their values, for logs and previews.
    pub fn redacted(&self, redactor: &Redactor) -> Value {
        self.operations.iter().map(|operation| redacted(operation, redactor)).collect()
    }

    /// Applies the operations in order. On failure `target` is unchanged.
    ///
    /// # Errors
    /// `Invalid` if a place does not exist, a `test` does not hold, or a value would be moved into itself; `LimitExceeded`
    /// if the value would nest deeper than [`MAX_DEPTH`] or copies would take more than [`MAX_COPIED_BYTES`]. The facts
    /// `operation` (an index from 0), `op` and `path` name what failed.
    pub fn apply(&self, target: &mut Value) -> Result<()> {
        if let [operation] = &self.operations[..]
            && text(operation, "op") != "move"
        {
            return apply_one(target, operation, &mut 0).map_err(|error| named(error, 0, operation));
        }
        let mut changed = tree::duplicate(target);
        let mut copied = 0;
        for (index, operation) in self.operations.iter().enumerate() {
            apply_one(&mut changed, operation, &mut copied).map_err(|error| named(error, index, operation))?;
        }
        *target = changed;
        Ok(())
    }
}

impl fmt::Debug for JsonPatch {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonPatch({})", self.redacted(&Redactor::default()))
    }
}

impl<'de> Deserialize<'de> for JsonPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn redacted(operation: &Value, redactor: &Redactor) -> Value {
    let mut shown = Map::new();
    for member in ["op", "path", "from"] {
        if let Some(text) = operation.get(member) {
            shown.insert(member.to_owned(), text.clone());
        }
    }
    if let Some(value) = operation.get("value") {
        let place = Pointer::parse_strict(text(operation, "path")).unwrap_or_default();
        shown.insert("value".to_owned(), redactor.redact_at(&place, value));
    }
    Value::Object(shown)
}

fn named(error: Error, index: usize, operation: &Value) -> Error {
    error.with("operation", index).with("op", text(operation, "op")).with("path", text(operation, "path"))
}

fn text<'a>(operation: &'a Value, member: &str) -> &'a str {
    operation.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// The operation with its defined members only, all of which are there.
fn checked(operation: Value) -> Result<Value> {
    let Value::Object(mut members) = operation else {
        return Err(Error::invalid("parse", format!("an operation is an object, not {}", kind_of(&operation))));
    };
    let Some(Value::String(op)) = members.remove("op") else {
        return Err(Error::invalid("parse", "the operation has no `op`"));
    };
    let (has_value, has_from) = match op.as_str() {
        "add" | "replace" | "test" => (true, false),
        "move" | "copy" => (false, true),
        "remove" => (false, false),
        _ => {
            return Err(Error::invalid("parse", "the operation is unknown")
                .hint("use add, remove, replace, move, copy or test")
                .with("op", op));
        }
    };
    let mut kept = Map::new();
    for member in ["path", "from"].into_iter().take(1 + usize::from(has_from)) {
        let Some(Value::String(pointer)) = members.remove(member) else {
            return Err(Error::invalid("parse", format!("the operation has no `{member}`")).with("op", op));
        };
        Pointer::parse_strict(&pointer)?;
        kept.insert(member.to_owned(), Value::String(pointer));
    }
    if has_value {
        let Some(value) = members.remove("value") else {
            let path = text_of(&kept, "path");
            return Err(Error::invalid("parse", "the operation has no `value`").with("op", op).with("path", path));
        };
        kept.insert("value".to_owned(), value);
    }
    kept.insert("op".to_owned(), Value::String(op));
    Ok(Value::Object(kept))
}

fn text_of(members: &Map<String, Value>, member: &str) -> String {
    members.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Applies one operation, which changes nothing if it fails, unless it is a `move`.
fn apply_one(target: &mut Value, operation: &Value, copied: &mut usize) -> Result<()> {
    let path = Pointer::parse_strict(text(operation, "path"))?;
    let value = operation.get("value").unwrap_or(&Value::Null);
    match text(operation, "op") {
        "add" => add(target, &path, tree::duplicate(value)),
        "remove" if path.is_root() => Err(wrong("the whole value cannot be removed")),
        "remove" => path.remove(target).map(drop).ok_or_else(|| missing("path")),
        "replace" => replace(target, &path, value),
        "move" => move_value(target, &Pointer::parse_strict(text(operation, "from"))?, &path),
        "copy" => copy(target, &Pointer::parse_strict(text(operation, "from"))?, &path, copied),
        "test" => match path.get(target) {
            None => Err(missing("path")),
            Some(found) if tree::is_equal(found, value) => Ok(()),
            Some(_) => Err(wrong("the value is not the one that the test expects")),
        },
        _ => Err(wrong("the operation is unknown")),
    }
}

fn wrong(message: &str) -> Error {
    Error::invalid("apply", message)
}

fn missing(member: &str) -> Error {
    wrong(&format!("there is nothing at `{member}`"))
}

fn check_depth(path: &Pointer, value: &Value) -> Result<()> {
    if tree::is_deeper_than(value, MAX_DEPTH - path.tokens().len()) {
        return Err(Error::new(ErrorKind::LimitExceeded, "apply").message(format!("the value would nest deeper than {MAX_DEPTH} levels")));
    }
    Ok(())
}

fn add(target: &mut Value, path: &Pointer, value: Value) -> Result<()> {
    check_depth(path, &value)?;
    let Some((last, parent)) = path.tokens().split_last() else {
        *target = value;
        return Ok(());
    };
    match pointer::get_mut(target, parent) {
        Some(Value::Object(members)) => {
            members.insert(last.clone(), value);
        }
        Some(Value::Array(items)) => {
            let at = if last == "-" { Some(items.len()) } else { pointer::index(last) };
            let Some(at) = at.filter(|at| *at <= items.len()) else {
                return Err(wrong(&format!("`{last}` is no index of an array of {}", items.len())));
            };
            items.insert(at, value);
        }
        Some(_) => return Err(wrong("the place above `path` is neither an object nor an array")),
        None => return Err(wrong("the place above `path` does not exist")),
    }
    Ok(())
}

fn replace(target: &mut Value, path: &Pointer, value: &Value) -> Result<()> {
    check_depth(path, value)?;
    *path.get_mut(target).ok_or_else(|| missing("path"))? = tree::duplicate(value);
    Ok(())
}

fn move_value(target: &mut Value, from: &Pointer, path: &Pointer) -> Result<()> {
    if from == path {
        return from.get(target).map(|_| ()).ok_or_else(|| missing("from"));
    }
    if from.contains(path) {
        return Err(wrong("a value cannot be moved into itself"));
    }
    let value = from.remove(target).ok_or_else(|| missing("from"))?;
    add(target, path, value)
}

fn copy(target: &mut Value, from: &Pointer, path: &Pointer, copied: &mut usize) -> Result<()> {
    let value = from.get(target).ok_or_else(|| missing("from"))?;
    *copied = copied.saturating_add(tree::weight(value));
    if *copied > MAX_COPIED_BYTES {
        return Err(Error::new(ErrorKind::LimitExceeded, "apply").message("the copies take more than 64 MiB"));
    }
    let value = tree::duplicate(value);
    add(target, path, value)
}

#[cfg(test)]
mod tests;
