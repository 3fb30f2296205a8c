//! The saga's context as JSON text.

use std::io;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::ser::Formatter;

use super::finite::find_not_finite;
use crate::{Error, ErrorKind, Result, json};

/// Serialises `context`; `size_hint` is the size to reserve at first.
///
/// # Errors
/// `Invalid`, with the fact `place` for a number that JSON cannot hold.
pub(crate) fn encode<C: Serialize>(context: &C, size_hint: usize) -> Result<Bytes> {
    let mut text = Vec::with_capacity(size_hint);
    let mut nulls = CountNulls(0);
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, &mut nulls);
    context.serialize(&mut serializer).map_err(|e| Error::invalid("capture context", e.to_string()).caused_by(e))?;
    // A number that is not finite comes out as null, so only a context with a null is looked at again.
    if nulls.0 > 0
        && let Some(place) = find_not_finite(context)
    {
        return Err(Error::invalid("capture context", "JSON has no number that is not finite").with("place", place));
    }
    Ok(text.into())
}

/// Compact JSON, with a count of the nulls.
struct CountNulls(usize);

impl Formatter for &mut CountNulls {
    fn write_null<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0 += 1;
        writer.write_all(b"null")
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
pub(crate) fn to_value<C: Serialize>(context: &C) -> Result<serde_json::Value> {
    serde_json::to_value(context).map_err(|e| Error::new(ErrorKind::Invalid, "capture context").message(e.to_string()).caused_by(e))
}
