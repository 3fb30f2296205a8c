//! The saga's context as JSON text.

use std::io;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, ser::Formatter};

use super::finite::find_not_finite;
use crate::{Error, ErrorKind, Result, json};

/// Serialises `context`; `size_hint` is the size to reserve at first.
///
/// # Errors
/// `Invalid`, with the fact `place` for a number that JSON cannot hold.
pub(crate) fn encode<C: Serialize>(context: &C, size_hint: usize) -> Result<Bytes> {
    let mut text = Vec::with_capacity(size_hint);
    let mut seen = Seen::default();
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, &mut seen);
    context.serialize(&mut serializer).map_err(|e| Error::invalid("capture context", e.to_string()).caused_by(e))?;
    if seen.deepest > json::MAX_DEPTH {
        return Err(Error::new(ErrorKind::LimitExceeded, "capture context")
            .message("the context is nested too deeply")
            .with("levels", seen.deepest)
            .with("limit", json::MAX_DEPTH));
    }
    if seen.nulls {
        refuse_not_finite(context)?;
    }
    Ok(text.into())
}

/// A number that is not finite comes out as null, so only a context with a null is looked at again.
fn refuse_not_finite<C: Serialize>(context: &C) -> Result<()> {
    match find_not_finite(context) {
        Some(place) => Err(Error::invalid("capture context", "JSON has no number that is not finite").with("place", place)),
        None => Ok(()),
    }
}

/// Compact JSON, and what was seen on the way.
#[derive(Default)]
struct Seen {
    nulls: bool,
    depth: usize,
    deepest: usize,
}

impl Seen {
    fn enter(&mut self) {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }
}

impl Formatter for &mut Seen {
    fn write_null<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.nulls = true;
        writer.write_all(b"null")
    }

    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter();
        writer.write_all(b"[")
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(b"]")
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter();
        writer.write_all(b"{")
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(b"}")
    }
}

/// Parses JSON text as `C`, up to [`json::MAX_DEPTH`] levels deep.
pub(crate) fn decode<C: DeserializeOwned + Send>(text: &[u8]) -> Result<C> {
    match serde_json::from_slice(text) {
        Ok(context) => Ok(context),
        Err(_) if json::check_depth(text, SERDE_DEPTH).is_err() => json::parse_as(text),
        Err(_) => decode_with_place(text),
    }
}

/// How deep `serde_json` parses by itself.
const SERDE_DEPTH: usize = 127;

/// Parses once more to say where it fails.
fn decode_with_place<C: DeserializeOwned>(text: &[u8]) -> Result<C> {
    let mut parser = serde_json::Deserializer::from_slice(text);
    serde_path_to_error::deserialize(&mut parser).map_err(|e| {
        let place = e.path().to_string();
        Error::new(ErrorKind::Invalid, "read context")
            .message(format!("the context does not fit the saga's type: {}", e.inner()))
            .with("place", if place == "." { "/" } else { &place })
            .caused_by(e.into_inner())
    })
}

/// `context` as a JSON value.
///
/// # Errors
/// As [`encode`], but for depth.
pub(crate) fn to_value<C: Serialize>(context: &C) -> Result<Value> {
    let value = serde_json::to_value(context).map_err(|e| Error::invalid("capture context", e.to_string()).caused_by(e))?;
    if has_null(&value) {
        refuse_not_finite(context)?;
    }
    Ok(value)
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}
