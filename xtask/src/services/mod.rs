//! `cargo xtask services`: the servers that the tests of the network backends share.

mod state;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

use replay_services::fleet::{self, Running, Source};
use replay_services::{Service, identity, s3};

use crate::interrupt::Interrupt;
use crate::shell::{self, Failure, Outcome};
use state::{Held, Home};

pub(crate) const USAGE: &str = "\
usage: cargo xtask services COMMAND [--only NAME,…]

  up                 starts servers that run until `down`, and prints what to set: eval \"$(cargo xtask services up)\"
  status             what runs, since `up`
  down               ends it
  run -- COMMAND…    starts servers, runs COMMAND with their URLs in its environment, and ends them

NAME is a backend (redis, postgres, s3) or one of its servers (redis-standalone, redis-tls, redis-cluster, s3-s3s, s3-moto).
";

pub(crate) fn main(args: &[String]) -> Outcome {
    let (command, rest) = args.split_first().ok_or_else(|| Failure::usage(USAGE))?;
    let (services, command_line) = parse(rest)?;
    match (command.as_str(), command_line) {
        ("up", None) => up(&services),
        ("status", None) => status(),
        ("down", None) => down(&services),
        ("run", Some([program, args @ ..])) => {
            build(&services)?;
            let fleet = Fleet::start(&services)?;
            fleet.run(Command::new(program).args(args))
        }
        ("supervise", None) => supervise(&services),
        _ => Err(Failure::usage(USAGE)),
    }
}

/// The servers that `--only` names, or all, and what stands behind `--`.
fn parse(args: &[String]) -> Outcome<(Vec<Service>, Option<&[String]>)> {
    let end = args.iter().position(|arg| arg == "--");
    let (options, command) = end.map_or((args, None), |end| (&args[..end], Some(&args[end + 1..])));
    let names = match options {
        [] => return Ok((Service::ALL.to_vec(), command)),
        // What is on standard output is only what to set, so there is nothing left to ask for.
        [option] if option == "--print-env" => return Ok((Service::ALL.to_vec(), command)),
        [option, names] if option == "--only" => names.as_str(),
        [option] if option.starts_with("--only=") => &option["--only=".len()..],
        _ => return Err(Failure::usage(USAGE)),
    };
    let mut services = Vec::new();
    for name in names.split(',').map(str::trim) {
        let found = Service::ALL.into_iter().filter(|service| service.backend() == name || service.name() == name);
        let before = services.len();
        services.extend(found);
        if services.len() == before {
            return Err(Failure::usage(format!("there is no server named {name}\n\n{USAGE}")));
        }
    }
    services.sort_unstable();
    services.dedup();
    Ok((services, command))
}

/// Servers of our own, and those of the environment, for one run of tests.
pub(crate) struct Fleet {
    running: Vec<Running>,
    interrupt: Interrupt,
}

impl Fleet {
    /// Has every service ready, and says where each came from.
    pub(crate) fn start(services: &[Service]) -> Outcome<Self> {
        let interrupt = Interrupt::listen()?;
        let source = Source::from_env().map_err(|error| Failure::usage(error.to_string()))?;
        let (mut running, mut missing) = (Vec::new(), Vec::new());
        for (service, outcome) in fleet::start(services, source, true) {
            match outcome {
                Ok(started) => {
                    eprintln!("{:<16} {}", service.name(), started.origin);
                    running.push(started);
                }
                Err(error) => missing.push(format!("{:<16} {error}", service.name())),
            }
        }
        if missing.is_empty() {
            return Ok(Self { running, interrupt });
        }
        missing.push("`--only sqlite,memory` tests only what needs no server".to_owned());
        Err(Failure::new(missing.join("\n")))
    }

    /// Runs `command` with the URLs in its environment.
    pub(crate) fn run(&self, command: &Command) -> Outcome {
        self.interrupt.run(command, self.running.iter().map(|running| (running.service.variable(), running.url.as_str())))
    }
}

/// Builds our own S3 server if it is wanted.
fn build(services: &[Service]) -> Outcome {
    if !services.contains(&Service::S3) || std::env::var_os(s3::PROGRAM_VARIABLE).is_some() {
        return Ok(());
    }
    // With any test among what is built, cargo chooses the features that it chooses for all tests, and neither builds anything twice.
    let mut command = shell::cargo(["build", "--workspace", "--locked", "--bin", "s3-server", "--test", "services"]);
    // What cargo says is for people; standard output is for what is to be set.
    shell::run(command.stdout(Stdio::null()))
}

fn up(services: &[Service]) -> Outcome {
    let home = Home::open()?;
    let _lock = home.lock()?;
    let missing: Vec<Service> = services.iter().copied().filter(|&service| home.running(service).is_none()).collect();
    build(&missing)?;
    let started: Vec<Outcome> = thread::scope(|scope| {
        let home = &home;
        let threads: Vec<_> = missing.iter().map(|&service| scope.spawn(move || start_supervisor(home, service))).collect();
        let panicked = || Err(Failure::new("the thread that started a server panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panicked())).collect()
    });
    for held in services.iter().filter_map(|&service| home.running(service)) {
        eprintln!("{:<16} {}", held.service.name(), held.origin);
        print(&format!("export {}='{}'\n", held.service.variable(), held.url.replace('\'', r"'\''")))?;
    }
    let failed: Vec<String> = started.into_iter().filter_map(|outcome| outcome.err().map(|failure| failure.message)).collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::new(failed.join("\n"))) }
}

/// Starts a process that holds one server until it is told to end, and waits until the server is ready.
fn start_supervisor(home: &Home, service: Service) -> Outcome {
    let doing = |error: &dyn std::fmt::Display| Failure::new(format!("{}: cannot start its supervisor: {error}", service.name()));
    let log = home.log(service);
    let output = std::fs::File::create(&log).map_err(|error| doing(&error))?;
    let ourselves = std::env::current_exe().map_err(|error| doing(&error))?;
    let mut command = Command::new(ourselves);
    command.args(["services", "supervise", "--only", service.name()]).current_dir(shell::root());
    // A group of its own: Ctrl-C at this terminal is not meant for it.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).process_group(0);
    let mut child = command.spawn().map_err(|error| doing(&error))?;
    let pid = child.id();
    loop {
        if home.running(service).is_some_and(|held| held.pid == pid) {
            return Ok(());
        }
        // It says so itself if a server takes too long.
        if !matches!(child.try_wait(), Ok(None)) {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(Failure::new(format!("{:<16} {}", service.name(), said.trim_end())));
        }
        state::pause();
    }
}

/// Holds one server until a signal ends this process. Nothing is left to do then: the guard of the server's folder sees it.
fn supervise(services: &[Service]) -> Outcome {
    let [service] = services else { return Err(Failure::usage("a supervisor holds one server")) };
    let home = Home::open()?;
    let source = Source::from_env().map_err(|error| Failure::usage(error.to_string()))?;
    let started = fleet::start(&[*service], source, false);
    let running = started.into_iter().map(|(_, outcome)| outcome).collect::<Result<Vec<Running>, _>>();
    let running = running.map_err(|error| Failure::new(error.to_string()))?;
    running.iter().try_for_each(|running| home.write(&Held::of(running)?))?;
    loop {
        thread::park();
    }
}

fn status() -> Outcome {
    let home = Home::open()?;
    for service in Service::ALL {
        let Some(held) = home.running(service) else {
            print(&format!("{:<16} not running\n", service.name()))?;
            continue;
        };
        let dead: Vec<String> = held.pids.iter().filter(|pid| identity::start_of(**pid).is_none()).map(ToString::to_string).collect();
        let state = if dead.is_empty() { "running".to_owned() } else { format!("process {} has ended", dead.join(", ")) };
        print(&format!("{:<16} {state}, {}, {}, in {}\n", service.name(), held.origin, without_password(&held.url), held.dir.display()))?;
    }
    Ok(())
}

fn down(services: &[Service]) -> Outcome {
    let home = Home::open()?;
    let _lock = home.lock()?;
    let running: Vec<Held> = services.iter().filter_map(|&service| home.running(service)).collect();
    for held in &running {
        identity::signal("TERM", &[held.pid]).map_err(|error| Failure::new(error.to_string()))?;
    }
    running.iter().try_for_each(Held::wait_until_gone)?;
    for &service in services {
        home.forget(service);
    }
    for held in running {
        eprintln!("{:<16} ended", held.service.name());
    }
    Ok(())
}

/// A URL as people may see it.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.split_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}://{user}:***@{host}"),
        None => url.to_owned(),
    }
}

fn print(text: &str) -> Outcome {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(format!("cannot write: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(args: &[&str]) -> Outcome<Vec<&'static str>> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        parse(&args).map(|(services, _)| services.into_iter().map(Service::name).collect())
    }

    #[test]
    fn only_takes_backends_and_single_servers() {
        assert_eq!(names(&["--only", "postgres,s3"]).unwrap(), ["postgres", "s3-s3s", "s3-moto"]);
        assert_eq!(names(&["--only=redis-tls,redis-tls"]).unwrap(), ["redis-tls"]);
        assert_eq!(names(&[]).unwrap().len(), Service::ALL.len());
        assert!(names(&["--only", "mysql"]).unwrap_err().message.contains("no server named mysql"));
        assert_eq!(names(&["--fast"]).unwrap_err().code, 2);
    }

    #[test]
    fn what_stands_behind_two_dashes_is_a_command() {
        let args = ["--only", "redis", "--", "cargo", "test", "--only"].map(ToOwned::to_owned);
        let (_, command) = parse(&args).unwrap();
        assert_eq!(command.unwrap(), ["cargo", "test", "--only"]);
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_password("postgres://postgres:secret@127.0.0.1:1/postgres"), "postgres://postgres:***@127.0.0.1:1/postgres");
        assert_eq!(without_password("redis://127.0.0.1:1/0"), "redis://127.0.0.1:1/0");
    }
}
