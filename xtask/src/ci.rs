//! `cargo xtask ci`: everything that a change has to pass.
//!
//! Warnings fail through the arguments of clippy and rustdoc. Compiler flags in the environment would differ from those
//! of the test build, and everything would be built twice.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::shell::{self, Failure, Outcome};
use crate::workspace::Workspace;
use crate::{bench, test, tidy};

/// What makes clippy fail on any warning.
const NO_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

pub(crate) fn run() -> Outcome {
    let mut steps = Steps::default();
    let outcome = all(&mut steps);
    steps.print_summary();
    outcome
}

fn all(steps: &mut Steps) -> Outcome {
    let workspace = Workspace::load()?;
    steps.command("format", &mut shell::cargo(["fmt", "--all", "--check"]))?;
    steps.run("tidy", tidy::run)?;
    steps.command("clippy", shell::cargo(["clippy", "--workspace", "--all-targets", "--locked"]).args(NO_WARNINGS))?;
    let mut docs = shell::cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    steps.command("docs", docs.env("RUSTDOCFLAGS", "-D warnings"))?;
    steps.run("alone", || alone(&workspace))?;
    if shell::has_cargo_command("deny") {
        steps.command("deny", &mut shell::cargo(["deny", "--locked", "check"]))?;
    } else {
        steps.not_run("deny", "cargo-deny is not installed");
    }
    steps.run("test", || test::run(&test::Options::default()))?;
    steps.run("bench", || bench::run(&["--smoke".to_owned()]))
}

/// Builds each feature of the facade and each binary by itself: in a build of the whole workspace, what one crate forgot
/// to ask for is often there because another asked.
fn alone(workspace: &Workspace) -> Outcome {
    for mut command in alone_commands(workspace)? {
        eprintln!("{}", shell::line(&command));
        shell::run(&mut command)?;
    }
    Ok(())
}

fn alone_commands(workspace: &Workspace) -> Outcome<Vec<Command>> {
    let clippy = |package: &str, args: &[&str]| {
        let mut command = shell::cargo(["clippy", "--quiet", "--locked", "--package", package]);
        command.args(args).args(NO_WARNINGS);
        command
    };
    let facade = workspace.package("replay")?;
    let mut commands = vec![clippy("replay", &["--no-default-features"])];
    commands.extend(facade.features.iter().map(|feature| clippy("replay", &["--no-default-features", "--features", feature])));
    commands.extend(workspace.packages.iter().filter(|package| package.has_binary).map(|package| clippy(&package.name, &[])));
    Ok(commands)
}

/// The steps so far, with how each ended.
#[derive(Default)]
struct Steps(Vec<(&'static str, String)>);

impl Steps {
    fn command(&mut self, name: &'static str, command: &mut Command) -> Outcome {
        self.run(name, || {
            eprintln!("{}", shell::line(command));
            shell::run(command)
        })
    }

    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Outcome) -> Outcome {
        eprintln!("\n== {name}");
        let started = Instant::now();
        let outcome = step();
        let took = seconds(started.elapsed());
        let ended = if outcome.is_ok() { took } else { format!("failed after {took}") };
        eprintln!("== {name}: {ended}");
        self.0.push((name, ended));
        outcome.map_err(|failure| Failure { message: format!("{name}: {}", failure.message), ..failure })
    }

    fn not_run(&mut self, name: &'static str, why: &str) {
        let ended = format!("not run: {why}");
        eprintln!("\n== {name}: {ended}");
        self.0.push((name, ended));
    }

    fn print_summary(&self) {
        eprintln!();
        for (name, ended) in &self.0 {
            eprintln!("{name:<8} {ended}");
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Package;

    #[test]
    fn every_feature_and_every_binary_is_built_by_itself() {
        let package = |name: &str, has_binary, features: &[&str]| Package {
            name: name.to_owned(),
            has_binary,
            features: features.iter().map(|&feature| feature.to_owned()).collect(),
            ..Package::default()
        };
        let packages =
            vec![package("replay", false, &["memory", "sqlite"]), package("replay-cli", true, &[]), package("replay-core", false, &[])];
        let lines: Vec<String> = alone_commands(&Workspace { packages, ..Workspace::default() }).unwrap().iter().map(shell::line).collect();
        assert_eq!(
            lines,
            [
                "cargo clippy --quiet --locked --package replay --no-default-features -- -D warnings",
                "cargo clippy --quiet --locked --package replay --no-default-features --features memory -- -D warnings",
                "cargo clippy --quiet --locked --package replay --no-default-features --features sqlite -- -D warnings",
                "cargo clippy --quiet --locked --package replay-cli -- -D warnings",
            ]
        );
    }

    #[test]
    fn a_failed_step_is_named_and_keeps_its_exit_code() {
        let mut steps = Steps::default();
        let failure = steps.run("tidy", || Err(Failure { message: "2 findings".to_owned(), code: 3 })).unwrap_err();
        assert_eq!((failure.message.as_str(), failure.code), ("tidy: 2 findings", 3));
        assert!(steps.0[0].1.starts_with("failed after"), "{:?}", steps.0);
    }
}
