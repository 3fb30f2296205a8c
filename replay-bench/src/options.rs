//! What the command line may say.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures replay, each figure beside its floor in the same run.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", disable_help_subcommand = true)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Options {
    /// Only proves that every row works, with tiny counts; the figures mean nothing.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Measures only the rows whose name has this in it.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) only: Option<String>,
    /// How often each row is measured; the median counts.
    #[arg(long, default_value_t = 7, value_name = "N")]
    pub(crate) rounds: usize,
    /// Writes the result to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Compares with the result in this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<PathBuf>,
    /// Writes the table into the README, between its two markers.
    #[arg(long)]
    pub(crate) update_readme: bool,
    /// Which README.
    #[arg(long, default_value = "README.md", value_name = "FILE")]
    pub(crate) readme: PathBuf,
    /// Exits with 1 if a figure that must be reached is not.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Where the databases are made: a folder on a disk, since the sync of a memory file system costs nothing. By default beside this
    /// program.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A process of its own that a row needs: one to be killed, or to have its memory or system calls looked at.
    #[command(hide = true, subcommand)]
    Child(Role),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Runs sagas that stop in the middle, says so, and waits to be killed.
    Stuck { url: String, sagas: usize },
    /// Runs sagas, so many at once, and tells its peak memory.
    Load { url: String, at_once: usize, sagas_each: usize },
    /// Inserts the same bytes without replay, and tells its peak memory.
    BareLoad { path: PathBuf, at_once: usize, sagas_each: usize },
    /// Reads heads of sagas, and tells its peak memory.
    ListSagas { url: String, limit: u64 },
    /// Reads one saga's records, and tells its peak memory.
    ListSnapshots { url: String, saga: String, limit: u64 },
}
