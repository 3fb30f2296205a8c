//! Development tasks of replay: `cargo xtask test`, `services`, `ci`, `bench`, `soak` and `tidy`.
//!
//! All automation of the repository lives here rather than in scripts, so that it runs wherever the code does.
//! Dependencies are few and small: `cargo xtask` has to be there in seconds on a fresh machine.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "talking to a terminal is what these tasks are for")]

mod bench;
mod ci;
mod interrupt;
mod services;
mod shell;
mod soak;
mod stores;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use shell::{Failure, Outcome};

const USAGE: &str = "\
Development tasks of replay

usage: cargo xtask COMMAND

  test [--only BACKEND,…] [-- ARGS…]   servers, doctests, then the whole test suite; ARGS go to cargo nextest
  services up|down|status|run          the servers that the tests of the network backends need, also without tests
  ci                                   everything that a change has to pass, in the order of what fails fastest
  bench [ARGS…]                        the benchmarks, each beside its floor; ARGS go to replay-bench
  soak [ARGS…]                         the fault and crash runs at soak counts; ARGS go to replay-e2e's soak
  tidy [--update]                      the rules of the repository that no compiler checks; --update first writes the generated tables
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    let outcome = match command.as_deref() {
        Some("test") => test::Options::parse(&rest).and_then(|options| test::run(&options)),
        Some("ci") => no_arguments("ci", &rest).and_then(|()| ci::run()),
        Some("services") => services::main(&rest),
        Some("bench") => bench::run(&rest),
        Some("soak") => soak::run(&rest),
        Some("tidy") if rest == ["--update"] => tidy::update().and_then(|()| tidy::run()),
        Some("tidy") => no_arguments("tidy", &rest).and_then(|()| tidy::run()),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            Ok(())
        }
        Some(unknown) => Err(Failure::usage(format!("there is no task named {unknown}\n\n{USAGE}"))),
        None => Err(Failure::usage(USAGE.to_owned())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn no_arguments(task: &str, rest: &[String]) -> Outcome {
    match rest.first() {
        None => Ok(()),
        Some(argument) => Err(Failure::usage(format!("cargo xtask {task} takes no arguments, but was given {argument}"))),
    }
}
