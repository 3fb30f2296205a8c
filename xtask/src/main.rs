//! Development tasks: test, ci, bench, tidy
fn main() {}
