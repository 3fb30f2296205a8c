//! Replaying every saga that matches.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, future, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use replay::{
    Error, ErrorKind, Result, Store,
    json::Override,
    replay::{Checkpoint, LocalReplay, ReplayRequest, ReplayResult, SagaReplay},
    saga::Registry,
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
    let replays = LocalReplay::new(app.runner(store, None), Registry::new());
    let Selection { found, left_out } = Selection::find(&**store.snapshots(), &replays, args, query, only_failed).await?;
    if args.from_step.is_none()
        && let Some(saga) = found.iter().find(|saga| saga.error.is_none())
    {
        return Err(Error::invalid("replay sagas", "it did not fail, so there is no step to replay it from")
            .hint("say from where with --from-step, or leave such sagas out with --where status=rolled_back|failed|parked")
            .with("saga", &saga.saga_id));
    }
    if found.is_empty() {
        app.output.note("no saga matches; nothing was replayed");
        return Summary { dry_run: args.dry_run, key: args.replay_key.as_deref(), lines: &[], left: 0, left_out: &left_out }.answer(app);
    }
    preview(app, args, &found, &left_out);
    if args.dry_run {
        let lines = plan_all(app, store, args, change, &found).await?;
        return Summary { dry_run: true, key: args.replay_key.as_deref(), lines: &lines, left: 0, left_out: &left_out }.answer(app);
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
    let lines = replay_all(app, store, args, &found, &key, first, &interrupt).await?;
    let left = found.len() - lines.iter().filter(|line| !line.is_left()).count();
    let exit = Summary { dry_run: false, key: Some(&key), lines: &lines, left, left_out: &left_out }.answer(app)?;
    if left > 0 {
        let message = format!("interrupted with {left} of {} sagas left; go on with --replay-key {key}", found.len());
        app.output.error(&Error::new(ErrorKind::Cancelled, "replay sagas").message(message), None);
    }
    Ok(exit)
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

/// Replays as many as there are until it is interrupted, and gives a line for each that came to rest.
async fn replay_all(
    app: &App,
    store: &Store,
    args: &RunArgs,
    found: &[SagaSummary],
    key: &str,
    mut template: ReplayRequest,
    interrupt: &Interrupt,
) -> Result<Vec<BatchLine>> {
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
            let line = BatchLine::of(saga.to_string(), &result);
            failed += usize::from(line.has_failed());
            bar.inc(1);
            bar.set_message(if failed == 0 { String::new() } else { format!("{failed} failed") });
            done.push(line);
        }
    };
    // What is dropped at the second Ctrl-C has no line, so it counts as left.
    let _ = interrupt.guard(work).await;
    bar.finish_and_clear();
    Ok(done)
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
    exit: Exit,
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
                    exit: exit_of(result),
                    existing: result.existing,
                    error: failure.or(refusal),
                }
            }
            Err(error) => Self {
                original,
                new_saga: None,
                status: "refused".to_owned(),
                exit: Exit::of_error(error.kind()),
                existing: false,
                error: Some(error.detail().map_or_else(|| error.to_string(), str::to_owned)),
            },
        }
    }

    /// Whether it was interrupted, so that it is still to be done.
    fn is_left(&self) -> bool {
        self.exit == Exit::Interrupted
    }

    fn has_failed(&self) -> bool {
        self.exit != Exit::Ok && !self.is_left()
    }

    fn json(&self, key: Option<&str>) -> Value {
        json!({
            "original": self.original,
            "new_saga": self.new_saga,
            "status": self.status,
            "existing": self.existing,
            "interrupted": self.is_left(),
            "replay_key": key,
            "error": self.error,
        })
    }
}

/// What a batch has done, and what it has not.
struct Summary<'a> {
    dry_run: bool,
    /// The replay key, under which it may be run again.
    key: Option<&'a str>,
    lines: &'a [BatchLine],
    /// How many of the sagas that were to be replayed are left, because it was interrupted.
    left: usize,
    left_out: &'a Counts,
}

impl Summary<'_> {
    fn answer(&self, app: &App) -> Result<Exit> {
        let Self { dry_run, key, lines, left, left_out } = *self;
        let done = lines.iter().filter(|line| line.exit == Exit::Ok).count();
        let failed = lines.iter().filter(|line| line.has_failed()).count();
        let values: Vec<Value> = lines.iter().map(|line| line.json(key)).collect();
        let summary = Answer::list("replays", "replay", &values)?
            .with("dry_run", dry_run)
            .with("replay_key", key)
            .with("replayed", done)
            .with("failed", failed)
            .with("left", left)
            .with("left_out", left_out.json())
            .ids(lines.iter().filter_map(|line| line.new_saga.clone()));
        app.output.answer(summary.table(self.table(done, failed)))?;
        Ok(match (left, failed) {
            (0, 0) => Exit::Ok,
            (0, _) => Exit::Failed,
            _ => Exit::Interrupted,
        })
    }

    fn table(&self, done: usize, failed: usize) -> Table {
        let what = if self.dry_run { "could be replayed" } else { "replayed" };
        let left = if self.left == 0 { String::new() } else { format!(", {} left", self.left) };
        let left_out = if self.left_out.is_empty() { String::new() } else { format!("; left out: {}", self.left_out) };
        let key = self.key.filter(|_| !self.dry_run).map(|key| format!("; replay key {key}")).unwrap_or_default();
        let mut table = Table::new(&["", "SAGA", "REPLAY", "STATUS", "BECAUSE"])
            .or_empty(format!("nothing was replayed{left}{left_out}{key}"))
            .footer(format!("{} sagas: {done} {what}, {failed} failed{left}{left_out}{key}", self.lines.len()));
        for line in self.lines {
            let (ok, error) = (line.exit == Exit::Ok, line.error.clone().unwrap_or_default());
            table.row(vec![
                painted(move |paint| if ok { paint.good("✔") } else { paint.bad("✖") }),
                plain(&line.original),
                plain(line.new_saga.as_deref().unwrap_or("")),
                plain(if line.existing { format!("{} (existing)", line.status) } else { line.status.clone() }),
                painted(move |paint| paint.dim(&error)),
            ]);
        }
        table
    }
}
