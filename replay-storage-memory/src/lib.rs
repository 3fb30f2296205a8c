//! The in-memory store of replay
