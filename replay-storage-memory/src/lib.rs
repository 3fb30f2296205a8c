#![doc = include_str!("../README.md")]

mod blobs;
mod builder;
mod cells;
mod history;
mod logs;
mod pages;
mod snapshots;
mod store;

pub use builder::MemoryBuilder;
pub use store::Memory;
