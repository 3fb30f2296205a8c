//! How snapshots become bytes and back, within limits that are known before anything is allocated.

pub(crate) mod context;
pub(crate) mod envelope;
mod finite;
pub(crate) mod header;
mod wire;

#[cfg(test)]
mod tests;
