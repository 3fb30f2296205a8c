//! The saga's context as JSON text.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, ErrorKind, Result, json};

/// Serialises `context`; `size_hint` is the size to reserve at first.
pub(crate) fn encode<C: Serialize>(context: &C, size_hint: usize) -> Result<Bytes> {
    let mut text = Vec::with_capacity(size_hint);
    serde_json::to_writer(&mut text, context)
        .map_err(|e| Error::new(ErrorKind::Invalid, "capture context").message(e.to_string()).caused_by(e))?;
    Ok(text.into())
}

/// Parses JSON text as `C`, up to [`json::MAX_DEPTH`] levels deep.
pub(crate) fn decode<C: DeserializeOwned + Send>(text: &[u8]) -> Result<C> {
    match serde_json::from_slice(text) {
        Ok(context) => Ok(context),
        Err(_) if json::check_depth(text, SERDE_DEPTH).is_err() => json::parse_as(text),
        Err(_) => decode_with_place(text),
    }
}

/// How deep serde_json parses by itself.
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
