//! `cargo xtask test`: servers, doctests, then the whole test suite.

use replay_services::Service;

use crate::services::Fleet;
use crate::shell::{self, Failure, Outcome};
use crate::workspace::{BACKEND_PREFIX, Workspace};

/// Read by the tests of every crate that runs against several backends: the names of those under test, with commas between.
const ONLY_VARIABLE: &str = "REPLAY_TEST_ONLY";

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The backends under test; none given means all.
    only: Option<Vec<String>>,
    /// Passed on to the test runner.
    runner_args: Vec<String>,
}

impl Options {
    pub(crate) fn parse(args: &[String]) -> Outcome<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let value = match arg.as_str() {
                "--" => {
                    options.runner_args = args.cloned().collect();
                    break;
                }
                "--only" => args.next().map(String::as_str),
                other => other.strip_prefix("--only="),
            };
            let Some(value) = value else {
                let say = if arg == "--only" {
                    "--only needs the names of backends, such as --only memory,sqlite".to_owned()
                } else {
                    format!("cargo xtask test has no option {arg}; what is for the test runner goes behind --")
                };
                return Err(Failure::usage(say));
            };
            options.only = Some(value.split(',').map(|name| name.trim().to_owned()).collect());
        }
        Ok(options)
    }
}

pub(crate) fn run(options: &Options) -> Outcome {
    let workspace = Workspace::load()?;
    let backends = workspace.backends();
    let left_out = match &options.only {
        None => Vec::new(),
        Some(only) => left_out(only, &backends)?,
    };
    for backend in &left_out {
        eprintln!("not run: {backend} (--only names other backends)");
    }
    let has_nextest = shell::has_cargo_command("nextest");
    if !has_nextest {
        eprintln!(
            "cargo-nextest is not installed, so `cargo test` runs the suite (`cargo install --locked cargo-nextest` has it run faster)"
        );
    }
    // Crates of backends that are not under test are not built either.
    let excluded: Vec<String> = excluded(&left_out).into_iter().flat_map(|name| ["--exclude".to_owned(), name]).collect();
    let cargo = |subcommand: &[&str], args: &[String]| {
        let mut command = shell::cargo(subcommand.iter().copied());
        command.args(["--workspace", "--locked"]).args(&excluded).args(args);
        if let Some(only) = &options.only {
            command.env(ONLY_VARIABLE, only.join(","));
        }
        command
    };
    let (suite, build): (&[&str], &[&str]) = if has_nextest {
        (&["nextest", "run", "--profile", nextest_profile()], &["nextest", "run", "--no-run"])
    } else {
        (&["test", "--all-targets"], &["test", "--all-targets", "--no-run"])
    };
    // Built before servers are started: one of them is among what is built, and the others would only wait.
    shell::run(&mut cargo(build, &[]))?;
    let services: Vec<Service> = Service::ALL.into_iter().filter(|service| is_under_test(*service, &backends, &left_out)).collect();
    let fleet = Fleet::start(&services)?;
    // Doctests come first so that the output ends with the summary of the suite.
    fleet.run(&cargo(&["test", "--doc", "--quiet"], &[]))?;
    fleet.run(&cargo(suite, &options.runner_args))
}

fn is_under_test(service: Service, backends: &[&str], left_out: &[String]) -> bool {
    backends.contains(&service.backend()) && !left_out.iter().any(|name| name == service.backend())
}

/// The crates that are not tested when these backends are left out.
fn excluded(left_out: &[String]) -> Vec<String> {
    let mut crates: Vec<String> = left_out.iter().map(|name| format!("{BACKEND_PREFIX}{name}")).collect();
    // Its tests start servers of every kind.
    if Service::ALL.iter().any(|service| left_out.iter().any(|name| name == service.backend())) {
        eprintln!("not run: the tests of replay-services (they need servers of every kind)");
        crates.push("replay-services".to_owned());
    }
    crates
}

/// Under continuous integration every failure of a run is wanted, not just the first.
fn nextest_profile() -> &'static str {
    if std::env::var("CI").is_ok_and(|value| value == "true") { "ci" } else { "default" }
}

/// The backends of the workspace that `only` does not name; a name that no backend has is refused.
fn left_out(only: &[String], backends: &[&str]) -> Outcome<Vec<String>> {
    if let Some(unknown) = only.iter().find(|name| !backends.contains(&name.as_str())) {
        return Err(Failure::usage(format!("there is no backend named {unknown}; there are: {}", backends.join(", "))));
    }
    Ok(backends.iter().map(|&name| name.to_owned()).filter(|name| !only.contains(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Outcome<Options> {
        Options::parse(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn backends_are_named_with_commas_and_the_rest_goes_to_the_runner() {
        let options = parse(&["--only", "memory,sqlite", "--", "-E", "test(resume)"]).unwrap();
        assert_eq!(options.only.as_deref(), Some(&["memory".to_owned(), "sqlite".to_owned()][..]));
        assert_eq!(options.runner_args, ["-E", "test(resume)"]);
        assert_eq!(parse(&["--only=sqlite"]).unwrap().only.as_deref(), Some(&["sqlite".to_owned()][..]));
        assert_eq!(parse(&[]).unwrap(), Options::default());
    }

    #[test]
    fn an_unknown_option_is_refused_by_name() {
        for args in [&["--fast"][..], &["--only"], &["resume"]] {
            let failure = parse(args).unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(failure.message.contains(args[0]), "{}", failure.message);
        }
    }

    #[test]
    fn a_backend_that_does_not_exist_is_refused_with_those_that_do() {
        let failure = left_out(&["sqllite".to_owned()], &["memory", "sqlite"]).unwrap_err();
        assert_eq!(failure.message, "there is no backend named sqllite; there are: memory, sqlite");
    }

    #[test]
    fn what_is_not_named_is_left_out() {
        assert_eq!(left_out(&["memory".to_owned()], &["memory", "redis", "sqlite"]).unwrap(), ["redis", "sqlite"]);
    }

    #[test]
    fn servers_are_started_only_for_backends_under_test() {
        let backends = ["memory", "postgres", "redis"];
        let services = |left_out: &[&str]| {
            let left_out: Vec<String> = left_out.iter().map(ToString::to_string).collect();
            Service::ALL.into_iter().filter(|service| is_under_test(*service, &backends, &left_out)).map(Service::name).collect::<Vec<_>>()
        };
        assert_eq!(services(&["redis"]), ["postgres"]);
        assert_eq!(services(&["memory"]), ["redis-standalone", "redis-tls", "redis-cluster", "postgres"]);
        assert!(services(&["redis", "postgres"]).is_empty());
    }

    #[test]
    fn the_crate_that_starts_servers_is_tested_only_with_all_of_them() {
        let names = |left_out: &[&str]| excluded(&left_out.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(names(&["sqlite"]), ["replay-storage-sqlite"]);
        assert_eq!(names(&["s3"]), ["replay-storage-s3", "replay-services"]);
    }
}
