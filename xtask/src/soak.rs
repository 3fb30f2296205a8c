//! `cargo xtask soak`: the fault and crash runs of replay-e2e at soak counts.

use crate::shell::{self, Outcome};

pub(crate) fn run(args: &[String]) -> Outcome {
    let mut command = shell::cargo(["run", "--release", "--locked", "--package", "replay-e2e", "--bin", "soak", "--"]);
    shell::run(command.args(args))
}
