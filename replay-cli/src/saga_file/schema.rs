//! The JSON Schema of saga files.

/// The schema's text, as it is shipped.
pub(crate) const TEXT: &str = include_str!("../../schema/saga.schema.json");
