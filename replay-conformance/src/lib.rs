//! The test kit that every replay store must pass
