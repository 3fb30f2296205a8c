//! The command line: what can be typed, and the help that says so.

#![allow(clippy::doc_markdown, reason = "these comments are the help, where backticks would be shown")]

mod global;
mod look;
mod replay;
mod saga;
mod store;

use clap::{Parser, Subcommand};

pub(crate) use self::{
    global::{Backend, Colour, Format, Global},
    look::{CheckpointsArgs, DiffArgs, HistoryArgs, ListChangesArgs, SagasArgs, ShowArgs, TimeTravelArgs},
    replay::{CompensatedArg, KeysArg, RunArgs},
    saga::{CancelArgs, ResumeArgs, SnapshotArgs, StartArgs},
    store::{ConfigCommand, CopyArgs, DeleteArgs, DemoArgs, ExportArgs, GcArgs, ImportArgs, VerifyArgs},
};

const AFTER_HELP: &str = "\
Exit codes:
  0 ok · 1 the saga or replay failed · 2 usage · 3 refused · 4 not found · 5 drift
  6 chain or digest invalid · 7 conflict · 8 storage unavailable · 130 interrupted

New here? `replay demo` is a tour of a few seconds.";

/// Runs sagas that survive crashes, replays them from any checkpoint, and tells what their state was at any instant.
#[derive(Debug, Parser)]
#[command(name = "replay", version, after_help = AFTER_HELP, propagate_version = true, max_term_width = 110)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a saga.
    Start(StartArgs),
    /// Go on with an interrupted or parked saga.
    ///
    /// The step that was in flight runs again with the same idempotency key. If replay was killed with kill -9, the program of that
    /// step may still run: what must happen only once has to make use of the key.
    Resume(ResumeArgs),
    /// Stop a saga at its next step boundary and compensate what is completed.
    Cancel(CancelArgs),
    /// Replay a saga from a checkpoint as a new saga, or many sagas at once.
    Run(Box<RunArgs>),
    /// Show the state of a saga at an instant.
    TimeTravel(TimeTravelArgs),
    /// List the state changes of a saga, the oldest first.
    ListChanges(ListChangesArgs),
    /// Compare two states of a saga, or two sagas.
    Diff(DiffArgs),
    /// List where replays of a saga may start.
    Checkpoints(CheckpointsArgs),
    /// Show where a saga comes from and its replays, as a tree.
    History(HistoryArgs),
    /// Show a saga, or one of its snapshots.
    Show(ShowArgs),
    /// List sagas, the latest first.
    Sagas(SagasArgs),
    /// Capture the newest state of a saga once more, under a name.
    Snapshot(SnapshotArgs),
    /// Remove snapshots that are expired or beyond a number.
    Gc(GcArgs),
    /// Remove a saga with its whole history.
    Delete(DeleteArgs),
    /// Copy sagas from one store to another, with their histories and the logs of their replays.
    ///
    /// It may be interrupted and run again: what is there already stays, and a history that differs is never overwritten. A saga must
    /// not go on in both stores.
    ///
    /// Keep a URL with a password off the command line, where others may see it: name a profile, or a file as in @archive.url.
    Copy(CopyArgs),
    /// Check the digests of a saga's history, or of every saga's.
    VerifyChain(VerifyArgs),
    /// Write one saga's history as JSON Lines, digests kept.
    Export(ExportArgs),
    /// Read histories that `export` wrote.
    Import(ImportArgs),
    /// A tour: an order whose payment fails, its replay with a corrected token, and its state at an earlier time.
    Demo(DemoArgs),
    /// Show or check the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the JSON Schema of saga files.
    Schema,
    /// Print a completion script.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual as a man page, or write the pages of all commands into a folder.
    Man {
        /// Write a page per command into this folder.
        #[arg(long, value_name = "FOLDER")]
        out: Option<std::path::PathBuf>,
    },
}
