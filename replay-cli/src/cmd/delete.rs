use std::io::IsTerminal;

use replay::{
    Error, ErrorKind, Result,
    storage::{PruneRequest, PruneScope},
};
use serde_json::json;

use crate::{app::App, args::DeleteArgs, exit::Exit, output::Answer};

pub(super) async fn run(app: &App, args: DeleteArgs) -> Result<Exit> {
    let store = app.store().await?;
    let newest = app.newest(&store, &args.id).await?;
    let owner = newest.runner.filter(|_| !newest.status.is_terminal());
    if let Some(owner) = owner
        && app.runner(&store, None).is_alive(owner).await?
    {
        return Err(Error::new(ErrorKind::Busy, "delete saga")
            .message("its runner is alive")
            .hint("cancel it first, or wait until it has ended")
            .with("saga", &args.id));
    }
    if !args.yes {
        confirm(app, &format!("Remove {} ({}, {} snapshots) for good?", args.id, newest.status, newest.sequence), "delete saga")?;
    }
    let report = store.snapshots().prune(PruneRequest::new(PruneScope::Saga(args.id.clone()))).await?;
    let body = json!({"saga_id": args.id, "records": report.records, "bytes": report.bytes});
    let answer = Answer::one("deleted", &body)?.ids([&args.id]);
    app.output.answer(
        answer.shown(move |paint| format!("{} removed {} with {} snapshots", paint.good("✔"), paint.bold(&args.id), report.records)),
    )?;
    Ok(Exit::Ok)
}

/// Asks on a terminal.
///
/// # Errors
/// `Refused` if the answer is no; `Invalid` if there is nobody to ask.
pub(super) fn confirm(app: &App, question: &str, operation: &'static str) -> Result<()> {
    if !std::io::stdin().is_terminal() || !app.output.stderr_is_terminal {
        return Err(Error::invalid(operation, "there is nobody to ask").hint("add --yes if you are sure"));
    }
    let term = console::Term::stderr();
    let unreadable =
        |error: std::io::Error| Error::new(ErrorKind::Internal, operation).message("the terminal cannot be read").caused_by(error);
    term.write_str(&format!("{question} [y/N] ")).map_err(unreadable)?;
    let answer = term.read_line().map_err(unreadable)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Refused, operation).message("not confirmed; nothing was done"))
}
