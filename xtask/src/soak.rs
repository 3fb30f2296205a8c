//! `cargo xtask soak`: the fault and crash runs of replay-e2e at soak counts.

use crate::shell::{self, Outcome};

pub(crate) fn run(args: &[String]) -> Outcome {
    let common = ["--release", "--locked", "--package", "replay-e2e"];
    // Beside the runs themselves there is the S3 server that they start.
    shell::run(shell::cargo(["build"]).args(common).arg("--bins"))?;
    shell::run(shell::cargo(["run"]).args(common).args(["--bin", "soak", "--"]).args(args))
}
