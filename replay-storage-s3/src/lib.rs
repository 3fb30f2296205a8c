#![doc = include_str!("../README.md")]

mod append;
mod blobs;
mod builder;
mod bundle;
mod cache;
mod catalog;
mod cells;
mod client;
mod error;
mod head;
mod heads;
mod history;
mod item;
mod key;
mod lifecycle;
mod logs;
mod packed;
mod prune;
mod row;
mod sagas;
mod store;
mod walk;
mod wire;

pub use builder::{Encryption, S3Builder};
pub use store::S3;
