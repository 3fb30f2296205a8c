//! Getting server programs that the system does not have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::find;
use crate::private;

/// Redis, or Valkey where that has taken its place.
pub(crate) fn redis() -> Result<PathBuf> {
    let package = Package { apt: "redis-server", dnf: "redis", apk: "redis", brew: "redis", unit: "redis-server" };
    find_or_install("Redis", || find::program(&["redis-server", "valkey-server"]), &package)
}

/// The folder with PostgreSQL's server programs.
pub(crate) fn postgres() -> Result<PathBuf> {
    let package = Package { apt: "postgresql", dnf: "postgresql-server", apk: "postgresql", brew: "postgresql", unit: "postgresql" };
    find_or_install("PostgreSQL", find::postgres, &package)
}

/// A Python that can make virtual environments.
pub(crate) fn python() -> Result<PathBuf> {
    let package = Package { apt: "python3-venv", dnf: "python3", apk: "python3", brew: "python", unit: "" };
    let find = || find::on_path("python3").filter(|python| succeeds(Command::new(python).args(["-c", "import venv, ensurepip"])));
    find_or_install("Python with venv", find, &package)
}

/// The version that a server program gives, such as `PostgreSQL 15.18` or `Redis 7.0.15`.
pub(crate) fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    short_version(&text)
}

/// Of what `--version` prints, the first word and the first word that is a version.
fn short_version(text: &str) -> String {
    let mut words = text.split_ascii_whitespace();
    let name = words.next().unwrap_or("unknown");
    let mut versions = words.map(|word| word.trim_start_matches("v="));
    let version = versions.find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    let name = if name == "postgres" { "PostgreSQL" } else { name };
    version.map_or_else(|| name.to_owned(), |version| format!("{name} {version}"))
}

/// What the programs come in, by package manager, and the system's service that comes along.
struct Package {
    apt: &'static str,
    dnf: &'static str,
    apk: &'static str,
    brew: &'static str,
    unit: &'static str,
}

fn find_or_install<T>(what: &str, find: impl Fn() -> Option<T>, package: &Package) -> Result<T> {
    if let Some(found) = find() {
        return Ok(found);
    }
    let Some(manager) = Manager::of_this_system() else {
        return Err(Error::new(format!("{what} is not installed, and no package manager is known here; install it so that it is on PATH")));
    };
    let by_hand = manager.install(package).join(" ");
    let Some(rights) = Rights::of_this_process(manager) else {
        return Err(Error::new(format!("{what} is not installed; install it with `sudo {by_hand}`")));
    };
    // Others that start at the same time find it installed when it is their turn.
    let _lock = private::lock(&cache()?.join("install.lock"))?;
    if let Some(found) = find() {
        return Ok(found);
    }
    install(manager, rights, package).map_err(|error| Error::new(format!("{what} could not be installed with `{by_hand}`: {error}")))?;
    find().ok_or_else(|| Error::new(format!("`{by_hand}` succeeded, but {what} is still not where it was looked for")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Apt,
    Dnf,
    Apk,
    Brew,
}

impl Manager {
    fn of_this_system() -> Option<Self> {
        let known = [("apt-get", Self::Apt), ("dnf", Self::Dnf), ("apk", Self::Apk), ("brew", Self::Brew)];
        known.into_iter().find_map(|(program, manager)| find::on_path(program).map(|_| manager))
    }

    fn install(self, package: &Package) -> Vec<&'static str> {
        match self {
            Self::Apt => vec!["apt-get", "install", "--yes", "--no-install-recommends", package.apt],
            Self::Dnf => vec!["dnf", "install", "--assumeyes", package.dnf],
            Self::Apk => vec!["apk", "add", package.apk],
            Self::Brew => vec!["brew", "install", package.brew],
        }
    }

    /// How the list of packages is brought up to date, where that is an act of its own.
    fn update(self) -> Option<Vec<&'static str>> {
        match self {
            Self::Apt => Some(vec!["apt-get", "update"]),
            Self::Apk => Some(vec!["apk", "update"]),
            Self::Dnf | Self::Brew => None,
        }
    }
}

/// With what right packages are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// As root, which may do so, or as a user whose package manager needs no more.
    Own,
    /// Through sudo without a password, on a machine of continuous integration.
    Sudo,
}

impl Rights {
    fn of_this_process(manager: Manager) -> Option<Self> {
        let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        let is_root = || Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
        Self::decide(manager, is_root(), is_ci, || succeeds(Command::new("sudo").args(["-n", "true"])))
    }

    fn decide(manager: Manager, is_root: bool, is_ci: bool, has_sudo: impl FnOnce() -> bool) -> Option<Self> {
        match manager {
            // Homebrew refuses root. On somebody's own machine nothing is installed unasked.
            Manager::Brew => (is_ci && !is_root).then_some(Self::Own),
            _ if is_root => Some(Self::Own),
            _ => (is_ci && has_sudo()).then_some(Self::Sudo),
        }
    }
}

fn install(manager: Manager, rights: Rights, package: &Package) -> Result<()> {
    let install = manager.install(package);
    run(rights, &install).or_else(|error| {
        // A fresh machine has no list of packages, or one that is out of date.
        let update = manager.update().ok_or(error)?;
        run(rights, &update)?;
        run(rights, &install)
    })?;
    // The tests have servers of their own; the one of the package would only take a port.
    if Path::new("/run/systemd/system").exists() && !package.unit.is_empty() {
        let _ = run(rights, &["systemctl", "disable", "--now", package.unit]);
    }
    Ok(())
}

fn run(rights: Rights, words: &[&str]) -> Result<()> {
    let prefix: &[&str] = match rights {
        Rights::Own => &["env"],
        Rights::Sudo => &["sudo", "-n", "env"],
    };
    let settings = ["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"];
    let words: Vec<&str> = prefix.iter().chain(&settings).chain(words).copied().collect();
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().map_err(Error::of(words[0]))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last: Vec<&str> = text.lines().rev().take(3).collect();
    Err(Error::new(last.into_iter().rev().collect::<Vec<_>>().join("; ")))
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The user's folder for what can be made again, made if need be; nobody else may look into it.
pub(crate) fn cache() -> Result<PathBuf> {
    let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().map(|home| home.join(".cache"));
    let parent = given.or_else(home).ok_or_else(|| Error::new("there is no home folder, so set XDG_CACHE_HOME"))?;
    fs::create_dir_all(&parent).map_err(Error::of(format_args!("cannot make {}", parent.display())))?;
    let folder = parent.join("replay-services");
    private::folder(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_installed_without_the_right_to() {
        let decide = |manager, is_root, is_ci, has_sudo| Rights::decide(manager, is_root, is_ci, || has_sudo);
        assert_eq!(decide(Manager::Apt, true, false, false), Some(Rights::Own));
        assert_eq!(decide(Manager::Apt, false, true, true), Some(Rights::Sudo));
        assert_eq!(decide(Manager::Apt, false, true, false), None);
        assert_eq!(decide(Manager::Apt, false, false, true), None, "sudo is a person's, unless in CI");
        assert_eq!(decide(Manager::Brew, false, false, false), None);
        assert_eq!(decide(Manager::Brew, false, true, false), Some(Rights::Own));
    }

    #[test]
    fn versions_are_read_from_what_the_programs_print() {
        assert_eq!(short_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), "PostgreSQL 15.18");
        assert_eq!(short_version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0\n"), "Redis 7.0.15");
        assert_eq!(short_version(""), "unknown");
    }
}
