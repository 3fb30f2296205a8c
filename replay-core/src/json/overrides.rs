//! Overrides: how a replay's context differs from the recorded one.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{JsonPatch, Pointer, Redactor, limits, merge_patch, pointer::kind_of, tree};
use crate::{Error, ErrorKind, Result};

/// A change to a context, in one of the forms that people and programs write.
///
/// Serialised as `{"kind": "merge", "value": …}`, with `none` (which has no `value`), `merge`, `patch` or `assign`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Override {
    /// The context stays as it is.
    #[default]
    None,
    /// A merge patch of RFC 7396: objects merge, `null` deletes.
    Merge(Value),
    /// A JSON Patch of RFC 6902.
    Patch(JsonPatch),
    /// Values for places, one after another, as in `items.0.price=5`.
    Assign(Vec<Assignment>),
}

/// A value for a place.
///
/// An object is merged into an object that is there, as RFC 7396 has it; `null` deletes the place, or does nothing
/// where there is none; anything else is put there, and objects that are missing on the way are created.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The place.
    pub path: Pointer,
    /// The value.
    pub value: Value,
}

impl Assignment {
    /// Takes `key=value`, where the key is a dotted key or a JSON pointer, and a value that is no JSON is text.
    fn parse(text: &str) -> Result<Self> {
        let hint = "write key=value, as in payment_token=tok_ok, items.0.price=5 or /a~1b=null";
        // The text may be a secret that was meant to be a value, so only a key is ever shown.
        let Some((key, value)) = text.split_once('=') else {
            return Err(Error::invalid("parse", "the override has no `=`").hint(hint));
        };
        if key.is_empty() {
            return Err(Error::invalid("parse", "the override has no key before the `=`").hint(hint));
        }
        let path = Pointer::parse(key)?;
        let value = match limits::parse_value(value.as_bytes()) {
            Ok(value) => value,
            Err(error) if error.is(ErrorKind::Invalid) => Value::from(value),
            Err(error) => return Err(error.with("key", key)),
        };
        Ok(Self { path, value })
    }

    fn redacted(&self, redactor: &Redactor) -> Value {
        json!({"path": self.path.to_string(), "value": redactor.redact_at(&self.path, &self.value)})
    }

    fn apply(&self, target: &mut Value) -> Result<()> {
        match &self.value {
            Value::Null => drop(self.path.remove(target)),
            Value::Object(_) => {
                let mut merged = match self.path.get(target) {
                    Some(there @ Value::Object(_)) => tree::duplicate(there),
                    _ => Value::Null,
                };
                merge_patch(&mut merged, &self.value);
                self.path.set(target, merged)?;
            }
            value => self.path.set(target, tree::duplicate(value))?,
        }
        Ok(())
    }
}

impl Override {
    /// Takes assignments `key=value`, in order.
    ///
    /// The key is a dotted key (`payment.token`, `items.0.price`) or a JSON pointer (`/items/-`), the value JSON or, if it is
    /// none, text: `n=5` is a number, `n="5"` and `id=tok_5` are text. What a value does is said at [`Assignment`]. No
    /// assignment gives [`None`](Self::None).
    ///
    /// # Errors
    /// `Invalid` for text without `=`, an empty key, or a key that is no pointer; the fact `assignment` is its index from 0.
    pub fn from_assignments<S: AsRef<str>>(assignments: &[S]) -> Result<Self> {
        let parse = |(index, text): (usize, &S)| Assignment::parse(text.as_ref()).map_err(|error| error.with("assignment", index));
        let parsed: Vec<Assignment> = assignments.iter().enumerate().map(parse).collect::<Result<_>>()?;
        Ok(if parsed.is_empty() { Self::None } else { Self::Assign(parsed) })
    }

    /// Takes a document: an array is a JSON Patch (RFC 6902), an object a merge patch (RFC 7396).
    ///
    /// # Errors
    /// `Invalid` for anything else, and for an array that is no JSON Patch.
    pub fn from_document(document: Value) -> Result<Self> {
        match document {
            Value::Array(_) => JsonPatch::from_value(document).map(Self::Patch),
            Value::Object(_) => Ok(Self::Merge(document)),
            other => Err(Error::invalid("parse", format!("an override is an object or an array, not {}", kind_of(&other)))
                .hint("write an object to merge (RFC 7396) or an array of operations (RFC 6902)")),
        }
    }

    /// Changes `target`. On failure it is unchanged.
    ///
    /// # Errors
    /// As [`JsonPatch::apply`] and [`Pointer::set`]; a merge patch never fails.
    pub fn apply(&self, target: &mut Value) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Merge(patch) => {
                merge_patch(target, patch);
                Ok(())
            }
            Self::Patch(patch) => patch.apply(target),
            Self::Assign(assignments) => {
                let mut changed = tree::duplicate(target);
                for (index, assignment) in assignments.iter().enumerate() {
                    assignment.apply(&mut changed).map_err(|error| error.with("assignment", index))?;
                }
                *target = changed;
                Ok(())
            }
        }
    }

    /// Whether it changes no context at all.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::Merge(patch) => patch.as_object().is_some_and(serde_json::Map::is_empty),
            Self::Patch(patch) => patch.is_empty(),
            Self::Assign(assignments) => assignments.is_empty(),
        }
    }

    /// The override as it is serialised, without its secrets, for logs and previews.
    pub fn redacted(&self, redactor: &Redactor) -> Value {
        match self {
            Self::None => json!({"kind": "none"}),
            Self::Merge(patch) => tagged("merge", redactor.redact(patch)),
            Self::Patch(patch) => tagged("patch", patch.redacted(redactor)),
            Self::Assign(assignments) => tagged("assign", assignments.iter().map(|a| a.redacted(redactor)).collect()),
        }
    }
}

fn tagged(kind: &str, value: Value) -> Value {
    let mut tagged = json!({ "kind": kind });
    tagged["value"] = value;
    tagged
}

impl fmt::Debug for Override {
    /// Without secrets, as overrides are where corrected tokens are handed in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Override({})", self.redacted(&Redactor::default()))
    }
}

impl fmt::Debug for Assignment {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Assignment({})", self.redacted(&Redactor::default()))
    }
}

#[cfg(test)]
mod tests;
