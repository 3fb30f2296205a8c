//! Answers of the server as what was asked for.

use redis::Value;
use replay_core::{Error, Result};

use crate::error::unexpected;

/// A string, or none.
pub(crate) fn string(operation: &'static str, value: Value) -> Result<Option<Vec<u8>>> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) => Ok(Some(text.into_bytes())),
        _ => Err(unexpected(operation)),
    }
}

/// A whole number.
pub(crate) fn int(operation: &'static str, value: &Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(unexpected(operation)),
    }
}

/// A list; none if there is nothing.
pub(crate) fn list(operation: &'static str, value: Value) -> Result<Option<Vec<Value>>> {
    match value {
        Value::Nil => Ok(None),
        Value::Array(values) => Ok(Some(values)),
        _ => Err(unexpected(operation)),
    }
}

/// A list of exactly `N`.
pub(crate) fn array<const N: usize>(operation: &'static str, value: Value) -> Result<[Value; N]> {
    list(operation, value)?.and_then(|values| values.try_into().ok()).ok_or_else(|| unexpected(operation))
}

/// A list of strings.
pub(crate) fn strings(operation: &'static str, value: Value) -> Result<Vec<Vec<u8>>> {
    let values = list(operation, value)?.unwrap_or_default();
    values.into_iter().map(|value| string(operation, value)?.ok_or_else(|| unexpected(operation))).collect()
}

/// A sequence written in digits.
pub(crate) fn sequence(operation: &'static str, value: Value) -> Result<u64> {
    let text = string(operation, value)?;
    text.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()).ok_or_else(|| unexpected(operation))
}

/// Text that was stored as such.
pub(crate) fn text(operation: &'static str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|gone| -> Error { unexpected(operation).caused_by(gone) })
}
