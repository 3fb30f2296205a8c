//! Benchmarks of replay. Every figure stands beside its floor: the least that the same work could cost, measured in the same run,
//! round by round in turn, so that a busy machine slows both down. What counts is the ratio.
#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

mod child;
mod floor;
mod harness;
mod history;
mod job;
mod machine;
mod options;
mod report;
mod rows;
mod table;

use std::process::ExitCode;

use clap::Parser as _;

/// Whatever keeps a row from being measured.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T = ()> = Result<T, Failure>;

fn main() -> ExitCode {
    match run(options::Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            println!("bench failed: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                println!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(options: options::Options) -> Outcome<ExitCode> {
    if let Some(options::Command::Child(role)) = options.command {
        child::run(role)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut bench = harness::Bench::new(&options)?;
    println!("{}", table::heading());
    rows::all(&mut bench)?;
    let report = report::Report::new(bench.into_rows(), options.smoke);
    print!("{}", table::footing(&report));
    if let Some(base) = &options.compare {
        print!("\n{}", table::comparison(&report::Report::read(base)?, &report));
    }
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    if options.update_readme {
        table::update_readme(&options.readme, &report)?;
    }
    Ok(if options.strict && report.misses_a_must() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
