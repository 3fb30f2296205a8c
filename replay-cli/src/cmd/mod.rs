//! One file per command.

mod batch;
mod cancel;
mod checkpoints;
mod config;
mod confirm;
mod copy;
mod delete;
mod demo;
mod diff;
mod export;
mod filter;
mod gc;
mod history;
mod import;
mod input;
mod list_changes;
mod resume;
mod run;
mod sagas;
mod selection;
mod shell;
mod show;
mod snapshot;
mod start;
mod time_travel;
mod verify;

use clap::FromArgMatches;
use replay::{Error, Result, Store};

pub(crate) use self::start::quoted;
use crate::{
    app::App,
    args::{Args, Command, Format},
    exit::Exit,
};

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
        Command::Run(args) => run::run(app, *args).await,
        Command::Checkpoints(args) => checkpoints::run(app, args).await,
        Command::History(args) => history::run(app, args).await,
        Command::TimeTravel(args) => time_travel::run(app, args).await,
        Command::ListChanges(args) => list_changes::run(app, args).await,
        Command::Diff(args) => diff::run(app, args).await,
        Command::Gc(args) => gc::run(app, args).await,
        Command::Delete(args) => delete::run(app, args).await,
        Command::Copy(args) => copy::run(app, args).await,
        Command::VerifyChain(args) => verify::run(app, args).await,
        Command::Export(args) => export::run(app, args).await,
        Command::Import(args) => import::run(app, args).await,
        Command::Demo(args) => demo::run(app, args).await,
        Command::Config(command) => config::run(app, command).await,
        Command::Schema => shell::schema(),
        Command::Completions { shell } => shell::completions(app, shell),
        Command::Man { out } => shell::man(app, out.as_deref()),
    }
}

/// Runs the command that `words` are, on the store at `url`, with this command's own output.
///
/// # Errors
/// `Invalid` if they are no command.
pub(crate) async fn run_words(app: &App, url: &str, words: impl IntoIterator<Item = String>) -> Result<Exit> {
    let (mut app, command) = typed(app, url, words)?;
    app.output.format = Format::Table;
    Ok(run(&app, command).await)
}

/// The store at `url`, in the namespace that [`run_words`] acts in.
///
/// # Errors
/// As [`App::store`].
pub(crate) async fn store_at(app: &App, url: &str) -> Result<Store> {
    typed(app, url, ["sagas".to_owned()])?.0.store_or_new().await
}

fn typed(app: &App, url: &str, words: impl IntoIterator<Item = String>) -> Result<(App, Command)> {
    let words = [app.name.to_owned(), "--storage-url".to_owned(), url.to_owned()].into_iter().chain(words);
    let matches = app.command.clone().try_get_matches_from(words);
    let args = matches.and_then(|matches| Args::from_arg_matches(&matches));
    let args = args.map_err(|error| Error::invalid("read command", "that is no command").caused_by(error))?;
    Ok((app.with_store(&args.global)?, args.command))
}
