use replay::{
    Error, Result, Store,
    storage::At,
    time_travel::{Agreement, Direction, RunDiff, StateDiff, StatePoint, StepComparison, TimeTravel},
};
use serde_json::Value;

use super::time_travel::position;
use crate::{
    app::App,
    args::DiffArgs,
    exit::Exit,
    output::{Answer, Paint, diff},
    time::show,
};

pub(super) async fn run(app: &App, args: DiffArgs) -> Result<Exit> {
    let store = app.store().await?;
    match (&args.other, &args.from, &args.to) {
        (Some(_), _, _) => runs(app, &store, &args).await,
        (None, Some(from), Some(to)) => {
            let (from, to) = (position(app, from)?, position(app, to)?);
            states(app, &store, &args, from, to).await
        }
        _ => Err(Error::invalid("compare", "there is nothing to compare with")
            .hint(format!("{} diff ID --from 3 --to 5, or {} diff ID1 ID2", app.name, app.name))),
    }
}

async fn states(app: &App, store: &Store, args: &DiffArgs, from: At, to: At) -> Result<Exit> {
    let before = app.snapshot(store, &args.id, from.clone()).await?.context()?;
    let after = app.snapshot(store, &args.id, to.clone()).await?.context()?;
    let found = store.snapshots().diff(&args.id, from, to).await?;
    let side_by_side = args.side_by_side;
    let answer = Answer::one("diff", &found)?
        .ids([format!("{}@{}", found.from.saga_id, found.from.sequence), format!("{}@{}", found.to.saga_id, found.to.sequence)]);
    app.output.answer(answer.shown(move |paint| {
        let context = if side_by_side { diff::side_by_side(&before, &after, *paint) } else { diff::lines(&found.context, &before, *paint) };
        format!("{}\n{context}", heading(&found, *paint))
    }))?;
    Ok(Exit::Ok)
}

fn point(mark: &str, point: &StatePoint, paint: Paint) -> String {
    let step = point.step_name.as_deref().unwrap_or("");
    let at = paint.dim(show(point.created_at));
    format!(
        "{mark} {}  {}  {} {step}  {at}",
        paint.bold(format!("{}@{}", point.saga_id, point.sequence)),
        paint.status(point.status),
        point.phase
    )
}

fn heading(found: &StateDiff, paint: Paint) -> String {
    let mut lines = vec![point("---", &found.from, paint), point("+++", &found.to, paint)];
    let names = |names: &[std::sync::Arc<str>]| names.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
    for (what, steps) in
        [("completed", &found.completed), ("no longer completed", &found.no_longer_completed), ("compensated", &found.compensated)]
    {
        if !steps.is_empty() {
            lines.push(format!("    {} {}", paint.dim(what), names(steps)));
        }
    }
    lines.join("\n")
}

async fn runs(app: &App, store: &Store, args: &DiffArgs) -> Result<Exit> {
    let Some(other) = &args.other else { return Ok(Exit::Usage) };
    let found = store.snapshots().diff_runs(&args.id, other).await?;
    let before = app.snapshot(store, &args.id, At::Latest).await?.context()?;
    let after = app.snapshot(store, other, At::Latest).await?.context()?;
    let start = start_context(app, store, &found).await?;
    let side_by_side = args.side_by_side;
    let answer = Answer::one("run_diff", &found)?.ids([&args.id, other]);
    app.output.answer(answer.shown(move |paint| {
        let end = if side_by_side { diff::side_by_side(&before, &after, *paint) } else { diff::lines(&found.end, &before, *paint) };
        format!("{}\n\n{}\n{end}", run_lines(&found, &start, *paint), paint.bold("context at the end"))
    }))?;
    Ok(Exit::Ok)
}

/// The context that the comparison of the starts leads away from: where the replay was forked, or the first run's oldest one.
async fn start_context(app: &App, store: &Store, found: &RunDiff) -> Result<Value> {
    let (a, b) = (&found.a.saga_id, &found.b.saga_id);
    let fork = app.newest(store, b).await?;
    let sequence = fork.origin.as_ref().filter(|origin| origin.saga_id == *a).map_or(1, |origin| origin.sequence);
    match store.snapshots().load(a, At::Sequence(sequence)).await? {
        Some(record) => record.decode()?.context(),
        None => Ok(Value::Null),
    }
}

fn run_lines(found: &RunDiff, start: &Value, paint: Paint) -> String {
    let mut lines = vec![point("---", &found.a, paint), point("+++", &found.b, paint), String::new()];
    lines.push(paint.bold("context at the start"));
    lines.push(diff::lines(&found.start, start, paint));
    lines.push(String::new());
    lines.push(paint.bold("steps"));
    let width = found.steps.iter().map(|step| console::measure_text_width(&step.step_name)).max().unwrap_or(0);
    for (index, step) in found.steps.iter().enumerate() {
        let first = found.first.as_ref().is_some_and(|first| first.index == index);
        lines.push(step_line(step, width, first, paint));
    }
    lines.join("\n")
}

fn step_line(step: &StepComparison, width: usize, first: bool, paint: Paint) -> String {
    let name = console::pad_str(&step.step_name, width, console::Alignment::Left, None).into_owned();
    let side = |outcome: &Option<replay::time_travel::StepOutcome>| match outcome {
        None => "not reached".to_owned(),
        Some(outcome) => match &outcome.error {
            Some(error) => format!("failed: {error}"),
            None => disposition(outcome.disposition, step.direction),
        },
    };
    let (a, b) = (side(&step.a), side(&step.b));
    let here = if first { paint.warn("  ← they differ from here") } else { String::new() };
    match step.agreement {
        Agreement::Same => format!("    {name}  {}", paint.dim(a)),
        Agreement::Differs if a == b => format!("  {} {name}  {a}, with another context{here}", paint.warn("≠")),
        _ => format!("  {} {name}  {} {} {}{here}", paint.warn("≠"), paint.bad(a), paint.dim("→"), paint.good(b)),
    }
}

fn disposition(disposition: replay::saga::Disposition, direction: Direction) -> String {
    let word = serde_json::to_value(disposition).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
    if direction == Direction::Compensation && word != "compensated" { format!("compensation {word}") } else { word }
}
