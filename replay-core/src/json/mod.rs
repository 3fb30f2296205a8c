//! JSON helpers: canonical form, patches, merges, pointers, redaction.
