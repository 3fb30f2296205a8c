//! How snapshots become bytes and back, within limits that are known before anything is allocated.

pub(crate) mod context;
mod encoder;
pub(crate) mod envelope;
mod finite;
pub(crate) mod frame;
pub(crate) mod header;
mod limits;
mod splice;
mod wire;
mod zstd;

pub use encoder::{Base, Compression, Encoded, Encoder};
pub use frame::Frame;

#[cfg(test)]
mod encoding_tests;
#[cfg(test)]
mod tests;
