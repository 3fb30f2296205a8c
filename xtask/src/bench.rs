//! `cargo xtask bench`: the benchmarks, each beside the floor it is measured against.

use crate::shell::{self, Outcome};

pub(crate) fn run(args: &[String]) -> Outcome {
    let mut command = shell::cargo(["run", "--profile", "release", "--locked", "--package", "replay-bench", "--"]);
    shell::run(command.args(args))
}
