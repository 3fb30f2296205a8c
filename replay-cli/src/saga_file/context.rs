use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The context of a saga file's saga: a JSON object, whatever is in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Context(Map<String, Value>);

impl Context {
    /// The context as a value.
    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// The context that `value` is, unless it is no object.
    pub(crate) fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self(members)),
            _ => None,
        }
    }
}
