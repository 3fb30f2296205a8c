//! The plan, without a runtime.
