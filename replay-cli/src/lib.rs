//! The replay command
