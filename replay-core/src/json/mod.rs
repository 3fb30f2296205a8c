//! JSON helpers: canonical form, patches, merges, pointers, overrides, redaction and limits.
//!
//! They work on [`serde_json::Value`], which is only built where a context is looked into: on the write path a
//! context stays the text it was serialised to. Values of up to [`MAX_DEPTH`] levels are handled on a stack of
//! 2 MiB, in builds without optimisation too; text is checked for its depth before it is parsed.

pub mod canonical;
mod diff;
pub mod limits;
pub mod merge;
pub mod overrides;
pub mod patch;
pub mod pointer;
pub mod redact;
mod tree;

#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod testing;

pub use canonical::{canonical_digest, to_canonical};
pub use limits::{MAX_DEPTH, check_depth, parse_as, parse_value};
pub use merge::{MergeConflict, merge_patch, three_way};
pub use overrides::{Assignment, Override};
pub use patch::{JsonPatch, diff};
pub use pointer::Pointer;
pub use redact::{REDACTED, Redactor};
