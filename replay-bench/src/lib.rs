//! Benchmarks of replay, each beside the floor it is measured against
