use std::sync::Arc;

use replay::{Result, SagaId, Store, replay::LocalReplay, saga::ResumeOptions, storage::SagaQuery};

use super::start::finish;
use crate::{app::App, args::ResumeArgs, exit::Exit, interrupt::Interrupt, progress::Progress, source, source::Definitions};

pub(super) async fn run(app: &App, args: ResumeArgs) -> Result<Exit> {
    let store = app.store().await?;
    let definitions = Arc::new(app.definitions(&store, args.file.as_ref(), true)?);
    let interrupt = Interrupt::listen(app.output.clone());
    if let Some(id) = &args.which.id {
        return one(app, &store, &definitions, id, &args, &interrupt).await;
    }
    let found = app.runner(&store, None).interrupted(SagaQuery::default()).await?;
    if found.is_empty() {
        app.output.note("no saga is interrupted");
        return Ok(Exit::Ok);
    }
    let mut worst = Exit::Ok;
    for saga in &found {
        let exit = match one(app, &store, &definitions, &saga.saga_id, &args, &interrupt).await {
            Ok(exit) => exit,
            Err(error) => app.fail(&error).await,
        };
        worst = worst.max(exit);
        if interrupt.stop().get().is_some() {
            break;
        }
    }
    app.output.note(format!("{} interrupted sagas were taken up", found.len()));
    Ok(worst)
}

async fn one(
    app: &App,
    store: &Store,
    definitions: &Arc<Definitions>,
    id: &SagaId,
    args: &ResumeArgs,
    interrupt: &Interrupt,
) -> Result<Exit> {
    let newest = app.newest(store, id).await?;
    let saga = definitions.require(newest.meta()).await?;
    let mut options =
        ResumeOptions::default().with_force(args.force).with_definition_change(args.allow_definition_change).with_stop(interrupt.stop());
    options.actor = args.initiated_by.as_deref().map(Into::into);
    if let Some(file) = definitions.file() {
        // Whoever takes it up next needs the newer definition.
        options.external_refs = Some(source::record(store, file).await?);
    }
    let done = newest.completed_steps().len();
    let all = newest.outline.steps().len();
    app.output.note(format!(
        "{} {id}  {}",
        app.output.stderr.bold(newest.saga_name()),
        app.output.stderr.dim(format!("{done} of {all} steps completed"))
    ));
    let progress = Progress::new(app.output.clone(), app.clock.clone());
    let runner = app.runner(store, Some(progress.clone()));
    let report = interrupt.guard(saga.resume(&runner, id, options)).await;
    progress.finish();
    if matches!(report, Some(Ok(_)))
        && let Err(error) = LocalReplay::new(runner, definitions.clone()).reconcile(id).await
    {
        let paint = app.output.stderr;
        app.output.note(format!("{} how its replay ended is not in the replay log: {error}", paint.warn("note:")));
    }
    finish(app, newest.saga_name(), id, report)
}
