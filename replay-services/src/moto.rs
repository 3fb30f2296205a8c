//! moto, a Python S3 server, in a virtual environment of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::install;
use crate::private;

/// Runs moto with one request at a time, so that looking at a condition and writing are one act.
pub(crate) const LAUNCHER: &str = include_str!("moto.py");
/// What pip installs: every package by version and digest.
const REQUIREMENTS: &str = include_str!("moto-requirements.txt");

/// An installed moto.
#[derive(Debug)]
pub(crate) struct Moto {
    pub(crate) python: PathBuf,
    pub(crate) version: String,
}

/// Finds moto in the user's cache folder, or installs it there with pip (about 15 s, once).
pub(crate) fn install() -> Result<Moto> {
    let version = REQUIREMENTS.lines().find_map(|line| line.trim_end_matches([' ', '\\']).strip_prefix("moto")).unwrap_or_default();
    let version = version.rsplit("==").next().unwrap_or_default();
    let cache = install::cache()?;
    let home = cache.join(format!("moto-{version}"));
    let done = home.join("requirements.txt");
    let moto = Moto { python: home.join("bin/python"), version: format!("moto {version}") };
    // The list is written last: where it is and says the same, so is everything that it lists.
    let is_there = || fs::read_to_string(&done).is_ok_and(|text| text == REQUIREMENTS) && runs(&moto.python);
    if is_there() {
        return Ok(moto);
    }
    let _lock = private::lock(&cache.join("moto.lock"))?;
    if is_there() {
        return Ok(moto);
    }
    let python = install::python()?;
    if home.exists() {
        fs::remove_dir_all(&home).map_err(Error::of(format_args!("cannot remove {}", home.display())))?;
    }
    run(Command::new(python).args(["-m", "venv"]).arg(&home))?;
    let list = home.join("requirements.new");
    fs::write(&list, REQUIREMENTS).map_err(Error::of("cannot write the list of moto's packages"))?;
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes", "--only-binary=:all:", "-r"];
    run(Command::new(&moto.python).args(pip).arg(&list))?;
    fs::rename(&list, &done).map_err(Error::of("cannot write the list of moto's packages"))?;
    Ok(moto)
}

/// Whether the Python that the environment was made with is still there.
fn runs(python: &Path) -> bool {
    Command::new(python).arg("--version").stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(Error::of("cannot start Python"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let end: Vec<&str> = text.lines().rev().take(5).collect();
    Err(Error::new(format!("moto could not be installed: {}", end.into_iter().rev().collect::<Vec<_>>().join("; "))))
}
