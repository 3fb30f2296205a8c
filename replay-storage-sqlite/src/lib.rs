//! The embedded SQLite store of replay
