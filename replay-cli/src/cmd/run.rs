use std::sync::Arc;

use replay::{
    Error, Result, SagaId, Store,
    json::Override,
    replay::{Checkpoint, Compensated, ForceFailure, KeyPolicy, LocalReplay, ReplayRequest, ReplayResult, SagaReplay},
    saga::Observer,
};

use super::{batch, input, start::quoted};
use crate::{
    app::App,
    args::{CompensatedArg, KeysArg, RunArgs},
    exit::Exit,
    interrupt::Interrupt,
    output::replays::{plan_answer, plan_lines, result_answer},
    progress::Progress,
    source,
};

pub(super) async fn run(app: &App, args: RunArgs) -> Result<Exit> {
    let context_override = context_override(&args)?;
    let Some(id) = &args.id else { return batch::run(app, &args, context_override).await };
    one(app, &app.store().await?, &args, id, context_override).await
}

async fn one(app: &App, store: &Store, args: &RunArgs, id: &SagaId, change: Override) -> Result<Exit> {
    let interrupt = Interrupt::listen(app.output.clone());
    let checkpoint = checkpoint(app, store, args, id).await?;
    let mut request = request(app, store, args, id.clone(), checkpoint, change).await?;
    request.stop = interrupt.stop();
    request.new_id = args.new_id.clone();
    request.replay_key = args.replay_key.as_deref().map(Arc::from);
    if args.dry_run {
        let plan = replayer(app, store, args, None)?.plan(&request).await?;
        app.output.answer(plan_answer(&plan)?)?;
        return Ok(plan.refusals.first().map_or(Exit::Ok, |refusal| Exit::of_error(refusal.kind)));
    }
    let progress = Progress::new(app.output.clone(), app.clock.clone());
    let replayer = replayer(app, store, args, Some(progress.clone()))?;
    // A replay key may lead to a saga that exists, so the id is not chosen here then.
    if request.replay_key.is_none() {
        request.new_id.get_or_insert_with(|| app.ids.saga_id(app.now()));
    }
    let new_saga = request.new_id.clone();
    if args.verbose {
        app.output.note(plan_lines(&replayer.plan(&request).await?, app.output.stderr));
    }
    let paint = app.output.stderr;
    let (word, named) = match (&new_saga, &args.replay_key) {
        (Some(new_saga), _) => ("as", new_saga.to_string()),
        (None, key) => ("under the key", key.clone().unwrap_or_default()),
    };
    app.output.note(format!("{} {id} from {}  {} {named}", paint.bold("replay"), request.checkpoint, paint.dim(word)));
    let result = interrupt.guard(replayer.replay(request)).await;
    progress.finish();
    let Some(result) = result else {
        let go_on = match new_saga {
            Some(new_saga) => format!("{} resume {}", app.name, quoted(new_saga.as_str())),
            None => "the same command and its --replay-key".to_owned(),
        };
        app.output.note(format!("stopped at once; go on with: {go_on}"));
        return Ok(Exit::Interrupted);
    };
    let result = result?;
    for warning in &result.warnings {
        app.output.note(format!("{} {warning}", paint.warn("note:")));
    }
    let exit = exit_of(&result);
    app.output.answer(result_answer(&result, next(app.name, &result), args.verbose)?)?;
    Ok(exit)
}

/// What a replay's end means for the command's.
pub(super) fn exit_of(result: &ReplayResult) -> Exit {
    use replay::replay::ReplayStatus;
    match (&result.report, result.status) {
        (Some(report), _) => Exit::of_run(report.status, report.interrupted),
        (None, ReplayStatus::Success) => Exit::Ok,
        // The replay key is in use: another run is at it.
        (None, ReplayStatus::Pending | ReplayStatus::Running) => Exit::Conflict,
        (None, _) => Exit::Failed,
    }
}

fn next(name: &str, result: &ReplayResult) -> Vec<String> {
    let Some(new) = &result.new_saga else { return Vec::new() };
    let (new, original) = (quoted(new.as_str()), quoted(result.original.as_str()));
    match &result.report {
        Some(report) if report.interrupted => vec![format!("{name} resume {new}")],
        Some(report) if report.is_completed() => vec![format!("{name} diff {original} {new}"), format!("{name} history {original}")],
        _ => vec![format!("{name} show {new}"), format!("{name} checkpoints {original}")],
    }
}

/// A replayer whose definitions come from `--file`, the registered sagas or the store.
pub(super) fn replayer(app: &App, store: &Store, args: &RunArgs, observer: Option<Arc<Progress>>) -> Result<LocalReplay> {
    let definitions = app.definitions(store, args.file.as_ref(), !args.dry_run)?;
    let runner = app.runner(store, observer.map(|observer| observer as Arc<dyn Observer>));
    Ok(LocalReplay::new(runner, Arc::new(definitions)))
}

/// From where: what was asked for, else the step that failed.
async fn checkpoint(app: &App, store: &Store, args: &RunArgs, id: &SagaId) -> Result<Checkpoint> {
    if let Some(step) = &args.from_step {
        return Ok(Checkpoint::step(step.as_str()));
    }
    if let Some(sequence) = args.sequence {
        return Ok(Checkpoint::Sequence(sequence));
    }
    if let Some(at) = &args.at {
        return app.instant(at).map(Checkpoint::Time);
    }
    let newest = app.newest(store, id).await?;
    match newest.failure.as_ref().and_then(|failure| failure.step.as_ref()) {
        Some(step) => {
            app.output.note(format!("from the step that failed: {step}"));
            Ok(Checkpoint::Step(step.clone()))
        }
        None => Err(Error::invalid("replay saga", "it has no failed step, so say from where to replay it")
            .hint(format!(
                "--from-step STEP, --sequence N or --at TIME; `{} checkpoints {}` lists what there is",
                app.name,
                quoted(id.as_str())
            ))
            .with("saga", id)),
    }
}

/// The request that the options make, but for what one replay has to itself.
pub(super) async fn request(
    app: &App,
    store: &Store,
    args: &RunArgs,
    id: SagaId,
    checkpoint: Checkpoint,
    change: Override,
) -> Result<ReplayRequest> {
    let mut request = ReplayRequest::new(id, checkpoint)
        .with_override(change)
        .with_definition_change(args.allow_definition_change)
        .with_keys(match args.keys {
            KeysArg::Inherit => KeyPolicy::Inherit,
            KeysArg::Fresh => KeyPolicy::Fresh,
        })
        .with_compensated(match args.compensated {
            CompensatedArg::Rerun => Compensated::Rerun,
            CompensatedArg::Skip => Compensated::Skip,
        })
        .with_force_failure(match args.force_failure.as_deref() {
            None => ForceFailure::Never,
            Some("") => ForceFailure::Checkpoint,
            Some(step) => ForceFailure::Step(step.into()),
        });
    request.initiated_by = App::actor(args.initiated_by.as_deref());
    request.reason = args.reason.as_deref().map(Arc::from);
    let definitions = app.definitions(store, args.file.as_ref(), !args.dry_run)?;
    if let Some(file) = definitions.file() {
        // Whoever resumes the new saga needs the newer definition.
        if !args.dry_run {
            request.external_refs = source::record(store, file).await?;
        }
        request.definition = Some(if args.dry_run { file.outline_only()? } else { file.runnable()? });
    }
    Ok(request)
}

fn context_override(args: &RunArgs) -> Result<Override> {
    match &args.override_file {
        Some(path) => Override::from_document(input::value_in(path)?),
        None => Override::from_assignments(&args.overrides),
    }
}
