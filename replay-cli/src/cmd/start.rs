use std::{path::Path, sync::Arc};

use replay::{
    Error, ErrorKind, Result, SagaId, SagaStatus,
    saga::{AnySaga, RunReport, SnapshotPolicy, StartOptions},
};
use serde_json::Value;

use super::input;
use crate::{
    app::App, args::StartArgs, exit::Exit, interrupt::Interrupt, output::saga::run_answer, progress::Progress, saga_file::SagaFile, source,
    suggest,
};

pub(super) async fn run(app: &App, args: StartArgs) -> Result<Exit> {
    let (saga, file) = find(app, &args.saga)?;
    let context = input::context(args.input.as_deref(), &args.set)?;
    check(&*saga, &context)?;
    let interrupt = Interrupt::listen(app.output.clone());
    let mut options = StartOptions::default().with_stop(interrupt.stop());
    let id = args.id.clone().unwrap_or_else(|| app.ids.saga_id(app.now()));
    options.id = Some(id.clone());
    options.labels = input::labels(&args.label)?;
    options.actor = App::actor(args.initiated_by.as_deref());
    options.policy = policy(&args, saga.policy());
    let store = app.store_or_new().await?;
    if let Some(file) = &file {
        options.external_refs = source::record(&store, file).await?;
    }
    let name = saga.outline().name().clone();
    app.output.note(format!("{} {id}  {}", app.output.stderr.bold(&name), app.output.stderr.dim(steps(saga.outline().steps().len()))));
    let progress = Progress::new(app.output.clone(), app.clock.clone());
    let runner = app.runner(&store, Some(progress.clone()));
    let report = interrupt.guard(saga.start(&runner, context, options)).await;
    progress.finish();
    finish(app, &name, &id, report)
}

/// Prints how a run ended. No report means that it was stopped at once.
///
/// # Errors
/// The run's own.
pub(super) fn finish(app: &App, name: &str, id: &SagaId, report: Option<Result<RunReport<Value>>>) -> Result<Exit> {
    let Some(report) = report else {
        app.output.note(format!("stopped at once; go on with: {} resume {id}", app.name));
        return Ok(Exit::Interrupted);
    };
    let report = report?;
    let next = next(app.name, &report);
    app.output.answer(run_answer(name, &report, next)?)?;
    Ok(Exit::of_run(report.status, report.interrupted))
}

/// The commands that one would try next.
fn next(name: &str, report: &RunReport<Value>) -> Vec<String> {
    let id = quoted(report.saga_id.as_str());
    let step = report.failure.as_ref().and_then(|failure| failure.step.as_deref());
    let again = step.map(|step| format!("{name} run {id} --from-step {} --override key=value", quoted(step)));
    match report.status {
        _ if report.interrupted => vec![format!("{name} resume {id}")],
        SagaStatus::Completed => vec![format!("{name} show {id}")],
        SagaStatus::Parked => [Some(format!("{name} resume {id}")), again].into_iter().flatten().collect(),
        _ => again.into_iter().chain([format!("{name} list-changes {id}")]).collect(),
    }
}

/// `text` as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@:,+=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The saga that `name` means: a file, or one that was registered.
fn find(app: &App, name: &str) -> Result<(Arc<dyn AnySaga>, Option<SagaFile>)> {
    if let Some(saga) = app.registry.latest(name) {
        return Ok((saga.clone(), None));
    }
    let path = Path::new(name);
    let looks_like_a_file =
        path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json") || path.components().count() > 1;
    if path.is_file() || looks_like_a_file {
        let file = source::read(path)?;
        return Ok((file.runnable()?, Some(file)));
    }
    let known: Vec<&str> = app.registry.iter().map(|saga| &**saga.outline().name()).collect();
    let hint = suggest::hint(name, &known).unwrap_or_else(|| "give the path of a saga file, as in order.yaml".to_owned());
    Err(Error::new(ErrorKind::NotFound, "find definition").message(format!("there is neither a file nor a saga `{name}`")).hint(hint))
}

fn check(saga: &dyn AnySaga, context: &Value) -> Result<()> {
    saga.check_context(context.to_string().as_bytes()).map_err(|error| match context {
        Value::Object(_) => error,
        _ => Error::invalid("read input", "the first context is not a JSON object")
            .hint("write --input '{\"key\": \"value\"}'")
            .caused_by(error),
    })
}

/// The policy that the options ask for; none if they ask for nothing.
fn policy(args: &StartArgs, own: &SnapshotPolicy) -> Option<SnapshotPolicy> {
    let asked = args.strategy.is_some() || args.retention.is_some() || args.max_snapshots.is_some();
    let mut policy = own.clone();
    if let Some(strategy) = args.strategy {
        policy = policy.with_strategy(strategy);
    }
    if let Some(retention) = args.retention {
        policy = policy.with_retention(retention);
    }
    if let Some(max) = args.max_snapshots {
        policy = policy.with_max_snapshots(max);
    }
    asked.then_some(policy)
}

pub(super) fn steps(count: usize) -> String {
    if count == 1 { "1 step".to_owned() } else { format!("{count} steps") }
}
