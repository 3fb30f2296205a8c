//! What the conformance kit cannot see.
