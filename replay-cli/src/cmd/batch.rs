//! Replaying every saga that matches.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, future, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use replay::{
    Error, ReplayId, Result, SagaId, SagaStatus, Store,
    json::Override,
    replay::{Checkpoint, ReplayRequest, SagaReplay},
    storage::{SagaQuery, SagaSummary},
};
use serde_json::{Value, json};

use super::{
    delete::confirm,
    filter,
    run::{exit_of, replayer, request},
    start::quoted,
};
use crate::{
    app::App,
    args::RunArgs,
    exit::Exit,
    interrupt::Interrupt,
    output::{
        Answer, Table,
        table::{painted, plain},
    },
};

/// How many sagas a preview shows.
const PREVIEWED: usize = 10;

pub(super) async fn run(app: &App, store: &Store, args: &RunArgs, change: Override, interrupt: &Interrupt) -> Result<Exit> {
    let query = filter::parse(app, args.filter.as_deref().unwrap_or_default())?;
    if args.from_step.is_none() && query.step.is_none() {
        return Err(Error::invalid("replay sagas", "it is not said from which step the sagas are to be replayed")
            .hint("give --from-step STEP, or match only sagas at one step with --where …,step=STEP"));
    }
    let replayer: Arc<dyn SagaReplay> = Arc::new(replayer(app, store, args, None)?);
    let matching = select(store, &*replayer, args, query).await?;
    for line in matching.left_out() {
        app.output.note(line);
    }
    let found = matching.sagas;
    if found.is_empty() {
        app.output.note("no saga matches; nothing was replayed");
        return lines_answer(app, args.dry_run, &[]);
    }
    preview(app, args, &found);
    if !args.dry_run && !args.yes {
        confirm(app, &format!("Replay {} sagas?", found.len()), "replay sagas")?;
    }
    let mut template = request(app, store, args, found[0].saga_id.clone(), Checkpoint::Sequence(1), change).await?;
    if args.dry_run {
        return plan_all(app, &*replayer, args, &template, &found).await;
    }
    let key = args.replay_key.clone().unwrap_or_else(|| format!("batch-{}", app.ids.saga_id(app.now())));
    if args.replay_key.is_none() {
        app.output.note(format!("if this is interrupted, go on with --replay-key {key}"));
    }
    template.stop = interrupt.stop();
    template.replay_key = Some(Arc::from(key.as_str()));
    let requests = found.iter().map(|saga| request_for(&template, saga, args.from_step.as_deref())).collect();
    let go_on = format!("go on with --replay-key {}", quoted(&key));
    let Some(lines) = replay_all(app, &*replayer, requests, args.concurrency, interrupt).await else {
        app.output.note(format!("stopped at once; {go_on}"));
        return Ok(Exit::Interrupted);
    };
    let ended = lines.iter().filter(|line| !line.interrupted).count();
    let exit = lines_answer(app, false, &lines)?;
    if ended == found.len() {
        return Ok(exit);
    }
    app.output.note(format!("stopped after {ended} of {}; {go_on}", found.len()));
    Ok(Exit::Interrupted)
}

/// The sagas of a batch, and those that its filter matches but that are not meant.
#[derive(Default)]
struct Matching {
    sagas: Vec<SagaSummary>,
    /// How many have a status that is replayed only if it is asked for by name.
    other_status: BTreeMap<&'static str, usize>,
    /// How many were made by this very batch.
    own: usize,
}

impl Matching {
    fn left_out(&self) -> Vec<String> {
        let count: usize = self.other_status.values().sum();
        let mut lines = Vec::new();
        if count > 0 {
            let each: Vec<String> = self.other_status.iter().map(|(status, count)| format!("{count} {status}")).collect();
            lines
                .push(format!("{count} sagas left out, since they have not failed: {}; name their status to replay them", each.join(", ")));
        }
        if self.own > 0 {
            lines.push(format!("{} sagas left out, since replays with this key made them", self.own));
        }
        lines
    }
}

/// What matches, up to the limit. What has not failed is left out unless the filter names statuses.
async fn select(store: &Store, replayer: &dyn SagaReplay, args: &RunArgs, query: SagaQuery) -> Result<Matching> {
    let named = !query.statuses.is_empty();
    let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let key = args.replay_key.as_deref().filter(|_| store.logs().is_ok());
    let mut made: BTreeMap<SagaId, BTreeSet<ReplayId>> = BTreeMap::new();
    let mut matching = Matching::default();
    let mut sagas = store.snapshots().sagas(query);
    while matching.sagas.len() < limit
        && let Some(saga) = sagas.try_next().await?
    {
        if let (Some(origin), Some(key)) = (&saga.origin, key) {
            if !made.contains_key(&origin.saga_id) {
                let replays = replayer.replays(&origin.saga_id).await?;
                let own = replays.iter().filter(|entry| entry.replay_key.as_deref() == Some(key)).map(|entry| entry.replay_id);
                made.insert(origin.saga_id.clone(), own.collect());
            }
            if made.get(&origin.saga_id).is_some_and(|own| own.contains(&origin.replay_id)) {
                matching.own += 1;
                continue;
            }
        }
        if named || matches!(saga.status, SagaStatus::Failed | SagaStatus::RolledBack | SagaStatus::Parked) {
            matching.sagas.push(saga);
        } else {
            *matching.other_status.entry(saga.status.as_str()).or_default() += 1;
        }
    }
    Ok(matching)
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

/// Runs what was previewed. At Ctrl-C no further replay begins, and those that run stop at their next step boundary; at the second one
/// they are dropped, and there is no result.
async fn replay_all(
    app: &App,
    replayer: &dyn SagaReplay,
    requests: Vec<ReplayRequest>,
    concurrency: usize,
    interrupt: &Interrupt,
) -> Option<Vec<BatchLine>> {
    let bar = bar(app, requests.len());
    let stop = interrupt.stop();
    let mut items = stream::iter(requests)
        .take_while(|_| future::ready(stop.get().is_none()))
        .map(|request| async move {
            let original = request.saga_id.to_string();
            BatchLine::of(original, &replayer.replay(request).await)
        })
        .buffer_unordered(concurrency.max(1));
    let (mut done, mut failed) = (Vec::new(), 0_usize);
    let work = async {
        while let Some(line) = items.next().await {
            failed += usize::from(!line.ok);
            bar.inc(1);
            bar.set_message(if failed == 0 { String::new() } else { format!("{failed} failed") });
            done.push(line);
        }
        done
    };
    let ended = interrupt.guard(work).await;
    bar.finish_and_clear();
    ended
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

fn preview(app: &App, args: &RunArgs, found: &[SagaSummary]) {
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
    app.output.note(lines.join("\n"));
}

async fn plan_all(app: &App, replayer: &dyn SagaReplay, args: &RunArgs, template: &ReplayRequest, found: &[SagaSummary]) -> Result<Exit> {
    let mut items = Vec::new();
    for saga in found {
        let request = request_for(template, saga, args.from_step.as_deref()).with_dry_run(true);
        let result = replayer.replay(request).await;
        items.push(BatchLine::of(saga.saga_id.to_string(), &result));
    }
    lines_answer(app, true, &items)
}

/// One saga's line in a summary.
struct BatchLine {
    original: String,
    new_saga: Option<String>,
    status: String,
    ok: bool,
    existing: bool,
    /// Whether it stopped before its end, to be resumed.
    interrupted: bool,
    error: Option<String>,
}

impl BatchLine {
    fn of(original: String, result: &Result<replay::replay::ReplayResult>) -> Self {
        match result {
            Ok(result) => {
                let failure = result.report.as_ref().and_then(|report| report.failure.as_ref()).map(ToString::to_string);
                let refusal = result.plan.as_ref().and_then(|plan| plan.refusals.first().cloned());
                Self {
                    original,
                    new_saga: result.new_saga.as_ref().map(ToString::to_string),
                    status: result.status.to_string(),
                    ok: exit_of(result) == Exit::Ok,
                    existing: result.existing,
                    interrupted: result.report.as_ref().is_some_and(|report| report.interrupted),
                    error: failure.or(refusal),
                }
            }
            Err(error) => Self {
                original,
                new_saga: None,
                status: "refused".to_owned(),
                ok: false,
                existing: false,
                interrupted: false,
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

fn lines_answer(app: &App, dry_run: bool, lines: &[BatchLine]) -> Result<Exit> {
    let failed = lines.iter().filter(|line| !line.ok).count();
    let mut table = Table::new(&["", "SAGA", "REPLAY", "STATUS", "BECAUSE"]).or_empty("nothing was replayed").footer(format!(
        "{} sagas: {} {}, {failed} failed",
        lines.len(),
        lines.len() - failed,
        if dry_run { "could be replayed" } else { "replayed" },
    ));
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
        .ids(lines.iter().filter_map(|line| line.new_saga.clone()));
    app.output.answer(summary.table(table))?;
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failed })
}
