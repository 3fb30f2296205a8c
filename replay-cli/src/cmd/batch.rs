//! Replaying every saga that matches.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, future, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use replay::{
    Error, Result, SagaId, Store,
    json::Override,
    replay::{Checkpoint, ReplayRequest, ReplayResult, SagaReplay},
    storage::SagaSummary,
};
use serde_json::{Value, json};

use super::{
    confirm::confirm,
    filter,
    run::{exit_of, replayer, request},
    selection::{Counts, Selection},
};
use crate::{
    app::App,
    args::RunArgs,
    exit::Exit,
    interrupt::{Interrupt, Signals},
    output::{
        Answer, Table,
        table::{painted, plain},
    },
};

/// How many sagas a preview shows.
const PREVIEWED: usize = 10;

pub(super) async fn run(app: &App, args: &RunArgs, change: Override) -> Result<Exit> {
    let query = filter::parse(app, args.filter.as_deref().unwrap_or_default())?;
    let store = &app.store().await?;
    let only_failed = query.statuses.is_empty();
    if only_failed {
        app.output.note("only sagas that failed are replayed; name another status in --where if that is meant");
    }
    let Selection { found, left_out } = Selection::find(app, store, args, query, only_failed).await?;
    if args.from_step.is_none()
        && let Some(saga) = found.iter().find(|saga| saga.error.is_none())
    {
        return Err(Error::invalid("replay sagas", "it did not fail, so there is no step to replay it from")
            .hint("say from where with --from-step, or leave such sagas out with --where status=rolled_back|failed|parked")
            .with("saga", &saga.saga_id));
    }
    if found.is_empty() {
        app.output.note("no saga matches; nothing was replayed");
        return lines_answer(app, args.dry_run, &[], &left_out);
    }
    preview(app, args, &found, &left_out);
    if args.dry_run {
        let lines = plan_all(app, store, args, change, &found).await?;
        return lines_answer(app, true, &lines, &left_out);
    }
    let mut signals = Signals::listen();
    if !args.yes {
        confirm(app, &mut signals, &format!("Replay {} sagas?", found.len()), "replay sagas").await?;
    }
    let interrupt = Interrupt::on(signals, app.output.clone());
    let key = args.replay_key.clone().unwrap_or_else(|| format!("batch-{}", app.ids.saga_id(app.now())));
    if args.replay_key.is_none() {
        app.output.note(format!("if this is interrupted, go on with --replay-key {key}"));
    }
    let first = request(app, store, args, found[0].saga_id.clone(), Checkpoint::Sequence(1), change).await?;
    let items = replay_all(app, store, args, &found, &key, first, &interrupt).await?;
    match items {
        Some(items) => answer(app, &items, &left_out),
        None => Ok(Exit::Interrupted),
    }
}

/// One saga's request, made of that of another.
fn request_for(template: &ReplayRequest, saga: &SagaSummary, from_step: Option<&str>) -> ReplayRequest {
    let mut request = template.clone();
    request.saga_id = saga.saga_id.clone();
    let failed = saga.error.as_ref().and_then(|failure| failure.step.clone());
    let step = from_step.map(Arc::from).or(failed).or_else(|| saga.step_name.clone());
    request.checkpoint = step.map_or(Checkpoint::Sequence(saga.sequence), Checkpoint::Step);
    request
}

async fn replay_all(
    app: &App,
    store: &Store,
    args: &RunArgs,
    found: &[SagaSummary],
    key: &str,
    mut template: ReplayRequest,
    interrupt: &Interrupt,
) -> Result<Option<Vec<(SagaId, Result<ReplayResult>)>>> {
    let replayer = replayer(app, store, args, None)?;
    let (count, stop) = (found.len(), interrupt.stop());
    template.stop = stop.clone();
    template.replay_key = Some(key.into());
    // What was shown is what runs. Once it is to stop, nothing new begins, and what runs comes to rest.
    let mut items = stream::iter(found)
        .take_while(|_| future::ready(stop.get().is_none()))
        .map(|saga| {
            let request = request_for(&template, saga, args.from_step.as_deref());
            let replayer = &replayer;
            async move { (saga.saga_id.clone(), replayer.replay(request).await) }
        })
        .buffer_unordered(args.concurrency.max(1));
    let bar = bar(app, count);
    let (mut done, mut failed) = (Vec::new(), 0_usize);
    let work = async {
        while let Some((saga, result)) = items.next().await {
            failed += usize::from(!result.as_ref().is_ok_and(|result| exit_of(result) == Exit::Ok));
            bar.inc(1);
            bar.set_message(if failed == 0 { String::new() } else { format!("{failed} failed") });
            done.push((saga, result));
        }
    };
    let ended = interrupt.guard(work).await;
    bar.finish_and_clear();
    let stopped = ended.is_none() || stop.get().is_some();
    if stopped {
        app.output.note(format!("stopped after {} of {count}; go on with --replay-key {key}", done.len()));
        return Ok(None);
    }
    Ok(Some(done))
}

fn bar(app: &App, count: usize) -> ProgressBar {
    if app.output.quiet || !app.output.stderr_is_terminal {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("  {bar:30.cyan/dim} {pos}/{len} replays  {elapsed:.dim} {eta:.dim}  {msg:.red}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn preview(app: &App, args: &RunArgs, found: &[SagaSummary], left_out: &Counts) {
    let paint = app.output.stderr;
    let what = if args.dry_run { "would be replayed" } else { "to be replayed" };
    let mut lines = vec![format!("{} {what}", paint.bold(format!("{} sagas", found.len())))];
    for saga in found.iter().take(PREVIEWED) {
        let why = saga.error.as_ref().map(ToString::to_string).unwrap_or_default();
        let line = format!("  {}  {}  {}", saga.saga_id, paint.status(saga.status), paint.dim(why));
        lines.push(console::truncate_str(&line, paint.width(), "…").into_owned());
    }
    if found.len() > PREVIEWED {
        lines.push(paint.dim(format!("  … and {} more", found.len() - PREVIEWED)));
    }
    if !left_out.is_empty() {
        lines.push(paint.dim(format!("  left out: {left_out}")));
    }
    app.output.note(lines.join("\n"));
}

async fn plan_all(app: &App, store: &Store, args: &RunArgs, change: Override, found: &[SagaSummary]) -> Result<Vec<BatchLine>> {
    let replayer = replayer(app, store, args, None)?;
    let template = request(app, store, args, found[0].saga_id.clone(), Checkpoint::Sequence(1), change).await?;
    let mut lines = Vec::new();
    for saga in found {
        let request = request_for(&template, saga, args.from_step.as_deref()).with_dry_run(true);
        let result = replayer.replay(request).await;
        lines.push(BatchLine::of(saga.saga_id.to_string(), &result));
    }
    Ok(lines)
}

/// One saga's line in a summary.
struct BatchLine {
    original: String,
    new_saga: Option<String>,
    status: String,
    ok: bool,
    existing: bool,
    error: Option<String>,
}

impl BatchLine {
    fn of(original: String, result: &Result<ReplayResult>) -> Self {
        match result {
            Ok(result) => {
                let failure = result.report.as_ref().and_then(|report| report.failure.as_ref()).map(ToString::to_string);
                let refusal = result.plan.as_ref().and_then(|plan| plan.refusals.first().map(ToString::to_string));
                Self {
                    original,
                    new_saga: result.new_saga.as_ref().map(ToString::to_string),
                    status: result.status.to_string(),
                    ok: exit_of(result) == Exit::Ok,
                    existing: result.existing,
                    error: failure.or(refusal),
                }
            }
            Err(error) => Self {
                original,
                new_saga: None,
                status: "refused".to_owned(),
                ok: false,
                existing: false,
                error: Some(error.detail().map_or_else(|| error.to_string(), str::to_owned)),
            },
        }
    }

    fn json(&self) -> Value {
        json!({
            "original": self.original,
            "new_saga": self.new_saga,
            "status": self.status,
            "existing": self.existing,
            "error": self.error,
        })
    }
}

fn answer(app: &App, items: &[(SagaId, Result<ReplayResult>)], left_out: &Counts) -> Result<Exit> {
    let lines: Vec<BatchLine> = items.iter().map(|(saga, result)| BatchLine::of(saga.to_string(), result)).collect();
    lines_answer(app, false, &lines, left_out)
}

fn lines_answer(app: &App, dry_run: bool, lines: &[BatchLine], left_out: &Counts) -> Result<Exit> {
    let failed = lines.iter().filter(|line| !line.ok).count();
    let others = if left_out.is_empty() { String::new() } else { format!("; left out: {left_out}") };
    let what = if dry_run { "could be replayed" } else { "replayed" };
    let mut table = Table::new(&["", "SAGA", "REPLAY", "STATUS", "BECAUSE"])
        .or_empty(format!("nothing was replayed{others}"))
        .footer(format!("{} sagas: {} {what}, {failed} failed{others}", lines.len(), lines.len() - failed));
    for line in lines {
        let (ok, error) = (line.ok, line.error.clone().unwrap_or_default());
        table.row(vec![
            painted(move |paint| if ok { paint.good("✔") } else { paint.bad("✖") }),
            plain(&line.original),
            plain(line.new_saga.as_deref().unwrap_or("")),
            plain(if line.existing { format!("{} (existing)", line.status) } else { line.status.clone() }),
            painted(move |paint| paint.dim(&error)),
        ]);
    }
    let values: Vec<Value> = lines.iter().map(BatchLine::json).collect();
    let summary = Answer::list("replays", "replay", &values)?
        .with("dry_run", dry_run)
        .with("replayed", lines.len() - failed)
        .with("failed", failed)
        .with("left_out", left_out.json())
        .ids(lines.iter().filter_map(|line| line.new_saga.clone()));
    app.output.answer(summary.table(table))?;
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failed })
}
