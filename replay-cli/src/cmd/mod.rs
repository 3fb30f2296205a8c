//! One file per command.

mod cancel;
mod config;
mod delete;
mod diff;
mod export;
mod gc;
mod import;
mod input;
mod list_changes;
mod resume;
mod sagas;
mod shell;
mod show;
mod snapshot;
mod start;
mod time_travel;
mod verify;

use replay::Result;

use crate::{app::App, args::Command, exit::Exit};

/// Runs a command; an error is printed here.
pub(crate) async fn run(app: &App, command: Command) -> Exit {
    match dispatch(app, command).await {
        Ok(exit) => exit,
        Err(error) => app.fail(&error).await,
    }
}

async fn dispatch(app: &App, command: Command) -> Result<Exit> {
    match command {
        Command::Start(args) => start::run(app, args).await,
        Command::Resume(args) => resume::run(app, args).await,
        Command::Cancel(args) => cancel::run(app, args).await,
        Command::Show(args) => show::run(app, args).await,
        Command::Sagas(args) => sagas::run(app, args).await,
        Command::Snapshot(args) => snapshot::run(app, args).await,
        Command::TimeTravel(args) => time_travel::run(app, args).await,
        Command::ListChanges(args) => list_changes::run(app, args).await,
        Command::Diff(args) => diff::run(app, args).await,
        Command::Gc(args) => gc::run(app, args).await,
        Command::Delete(args) => delete::run(app, args).await,
        Command::VerifyChain(args) => verify::run(app, args).await,
        Command::Export(args) => export::run(app, args).await,
        Command::Import(args) => import::run(app, args).await,
        Command::Config(command) => config::run(app, command).await,
        Command::Schema => shell::schema(),
        Command::Completions { shell } => shell::completions(app, shell),
        Command::Man { out } => shell::man(app, out.as_deref()),
    }
}
