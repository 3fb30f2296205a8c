use std::sync::Arc;

use replay::{
    Result,
    replay::{LocalReplay, SagaReplay},
};

use super::start::quoted;
use crate::{
    app::App,
    args::CheckpointsArgs,
    exit::Exit,
    output::{
        Answer, Table,
        table::{painted, plain},
    },
    time::show,
};

pub(super) async fn run(app: &App, args: CheckpointsArgs) -> Result<Exit> {
    let store = app.store().await?;
    let replayer = LocalReplay::new(app.runner(&store, None), Arc::new(app.definitions(&store, None, false)?));
    let found = replayer.checkpoints(&args.id).await?;
    let mut table = Table::new(&["#", "CAPTURED", "PHASE", "STATUS", "COMPLETED", "NEXT", ""]).or_empty("there is no checkpoint");
    for checkpoint in &found {
        let (status, expired) = (checkpoint.status, checkpoint.expired);
        table.row(vec![
            plain(checkpoint.sequence),
            plain(show(checkpoint.created_at)),
            plain(checkpoint.phase),
            painted(move |paint| paint.status(status)),
            plain(checkpoint.completed),
            plain(checkpoint.next_steps.iter().map(|step| &**step).collect::<Vec<_>>().join(", ")),
            painted(move |paint| if expired { paint.warn("expired") } else { String::new() }),
        ]);
    }
    let usable = found.iter().rev().find(|checkpoint| !checkpoint.expired).and_then(|checkpoint| checkpoint.next_steps.first());
    if let Some(step) = usable {
        table = table.footer(format!("replay with: {} run {} --from-step {}", app.name, quoted(args.id.as_str()), quoted(step)));
    }
    let ids: Vec<String> = found.iter().map(|checkpoint| format!("{}@{}", args.id, checkpoint.sequence)).collect();
    app.output.answer(Answer::list("checkpoints", "checkpoint", &found)?.with("saga_id", args.id.as_str()).ids(ids).table(table))?;
    Ok(Exit::Ok)
}
