use replay::{
    Error, ErrorKind, Result,
    storage::{PruneRequest, PruneScope},
};
use serde_json::json;

use super::confirm::confirm;
use crate::{app::App, args::DeleteArgs, exit::Exit, interrupt::Signals, output::Answer};

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
        let question = format!("Remove {} ({}, {} snapshots) for good?", args.id, newest.status, newest.sequence);
        confirm(app, &mut Signals::listen(), &question, "delete saga").await?;
    }
    let report = store.snapshots().prune(PruneRequest::new(PruneScope::Saga(args.id.clone()))).await?;
    let body = json!({"saga_id": args.id, "records": report.records, "bytes": report.bytes});
    let answer = Answer::one("deleted", &body)?.ids([&args.id]);
    app.output.answer(
        answer.shown(move |paint| format!("{} removed {} with {} snapshots", paint.good("✔"), paint.bold(&args.id), report.records)),
    )?;
    Ok(Exit::Ok)
}
