//! `cargo xtask bench`: the benchmarks, each beside the floor it is measured against.

use std::process::Command;

use crate::shell::{self, Outcome};
use crate::tidy;
use crate::workspace::Workspace;

/// Rows start the servers that they need. Our own S3 server is built along, as optimised as what is measured, and found beside it.
/// With the README's table, which replay-bench writes, goes that of the guide to stores.
pub(crate) fn run(args: &[String]) -> Outcome {
    let target = Workspace::load()?.target;
    let programs = ["--package", "replay-bench", "--bin", "replay-bench", "--package", "replay-e2e", "--bin", "s3-server"];
    shell::run(shell::cargo(["build", "--release", "--locked"]).args(programs))?;
    shell::run(Command::new(target.join("release/replay-bench")).args(args).current_dir(shell::root()))?;
    if args.iter().any(|arg| arg == "--update-readme") { tidy::update() } else { Ok(()) }
}
