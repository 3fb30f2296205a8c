use std::time::Duration;

use futures::TryStreamExt;
use replay::{
    Phase, Result, SagaId, Snapshot, SnapshotId, SnapshotRecord, Store,
    storage::{At, SnapshotQuery},
};
use serde_json::{Value, json};

use crate::{
    app::App,
    args::ShowArgs,
    exit::Exit,
    output::{
        Answer, Paint, fields,
        timeline::{self, Lane, State},
    },
    time::{show, show_ago},
};

/// How many of the newest snapshots the timeline is drawn from.
const MAX_SNAPSHOTS: u64 = 200;

pub(super) async fn run(app: &App, args: ShowArgs) -> Result<Exit> {
    let store = app.store().await?;
    // Ids may hold an @, so what looks like a snapshot may be a saga.
    let whole: SagaId = args.id.parse()?;
    let snapshot = match args.id.parse::<SnapshotId>() {
        Ok(id) if store.snapshots().load(&whole, At::Latest).await?.is_none() => Some(id),
        _ => None,
    };
    match snapshot {
        Some(id) => {
            let snapshot = app.snapshot(&store, &id.saga_id, At::Sequence(id.sequence)).await?;
            app.output.answer(snapshot_answer(app, &snapshot, true)?)?;
        }
        None => show_saga(app, &store, &whole, args.show_context).await?,
    }
    Ok(Exit::Ok)
}

/// One snapshot, with its context if `with_context` says so; programs get it always.
pub(super) fn snapshot_answer(app: &App, snapshot: &Snapshot, with_context: bool) -> Result<Answer> {
    let (shown, now) = (snapshot.clone(), app.now());
    let context = with_context.then(|| snapshot.context()).transpose()?;
    let answer = Answer::one("snapshot", snapshot)?.ids([snapshot.id()]);
    Ok(answer.shown(move |paint| {
        let text = snapshot_fields(&shown, now, *paint);
        match &context {
            Some(context) => format!("{text}\n\n{}", json_text(context, *paint)),
            None => text,
        }
    }))
}

fn snapshot_fields(snapshot: &Snapshot, now: chrono::DateTime<chrono::Utc>, paint: Paint) -> String {
    let list = |names: Vec<String>| names.join(", ");
    let origin = snapshot.origin.as_ref().map(|origin| format!("{}@{}", origin.saga_id, origin.sequence));
    let labels: Vec<String> = snapshot.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let failure = snapshot.failure.as_ref().map(ToString::to_string).unwrap_or_default();
    let retention = snapshot.retention_until.map(|until| {
        let expired = if snapshot.is_expired(now) { paint.warn("  expired") } else { String::new() };
        format!("{}{expired}", show(until))
    });
    fields(
        &paint,
        &[
            ("snapshot", paint.bold(snapshot.id())),
            ("saga", format!("{} version {}", snapshot.saga_name(), snapshot.saga_version())),
            ("status", paint.status(snapshot.status)),
            ("phase", snapshot.phase.to_string()),
            ("step", snapshot.step_name().unwrap_or_default().to_owned()),
            ("because", paint.bad(failure)),
            ("captured", format!("{}  {}", show(snapshot.created_at), paint.dim(show_ago(snapshot.created_at, now)))),
            ("completed", list(snapshot.completed_steps().to_vec())),
            ("compensated", list(snapshot.compensated_steps().to_vec())),
            ("next", list(snapshot.next_steps().to_vec())),
            ("replay of", origin.unwrap_or_default()),
            ("labels", labels.join(" ")),
            ("actor", snapshot.actor.as_deref().unwrap_or_default().to_owned()),
            ("kept until", retention.unwrap_or_default()),
            ("digest", paint.dim(snapshot.digest())),
        ],
    )
}

/// A JSON value, indented, its keys in colour.
pub(super) fn json_text(value: &Value, paint: Paint) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let line = |line: &str| match line.split_once("\": ") {
        Some((key, value)) if line.trim_start().starts_with('"') => format!("{}: {value}", paint.accent(format!("{key}\""))),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

async fn show_saga(app: &App, store: &Store, id: &SagaId, with_context: bool) -> Result<()> {
    let newest = app.newest(store, id).await?;
    let first = newest.sequence.saturating_sub(MAX_SNAPSHOTS - 1).max(1);
    let query = SnapshotQuery::new(id.clone()).with_sequences(first, newest.sequence).with_payloads(false);
    let records: Vec<SnapshotRecord> = store.snapshots().list(query).try_collect().await?;
    let lanes = lanes(&records);
    let mut body = serde_json::to_value(newest.clone().decode()?).unwrap_or_default();
    body["timeline"] = lanes.iter().map(lane_json).collect();
    let snapshot = newest.decode()?;
    let context = with_context.then(|| snapshot.context()).transpose()?;
    let now = app.now();
    let answer = Answer::one("saga", &body)?.ids([id]);
    app.output.answer(answer.shown(move |paint| {
        let timeline = if lanes.is_empty() { String::new() } else { format!("\n\n{}", timeline::render(&lanes, *paint)) };
        let context = context.map(|context| format!("\n\n{}", json_text(&context, *paint))).unwrap_or_default();
        format!("{}{timeline}{context}", snapshot_fields(&snapshot, now, *paint))
    }))
}

fn lane_json(lane: &Lane) -> Value {
    let state = match lane.state {
        State::Running => "running",
        State::Completed => "completed",
        State::Failed => "failed",
        State::Compensated => "compensated",
        State::Skipped => "skipped",
        State::NotRun => "not_run",
    };
    let millis = crate::output::saga::millis;
    json!({"step": lane.name, "state": state, "offset_ms": millis(lane.begin), "duration_ms": lane.length.map(millis), "remark": lane.remark})
}

/// What the history says of each step. A step is taken to have begun when the snapshot before its end was captured, which is exact
/// for the default strategy but for the pauses between runs.
fn lanes(records: &[SnapshotRecord]) -> Vec<Lane> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Vec::new() };
    let since = |at: chrono::DateTime<chrono::Utc>| (at - first.created_at).to_std().unwrap_or_default();
    let mut lanes: Vec<Lane> = Vec::new();
    let mut push = |name: &str, state, begin: Duration, end: Duration, remark: String| {
        lanes.push(Lane { name: name.to_owned(), state, begin, length: Some(end.saturating_sub(begin)), remark });
    };
    let skipped: Vec<&str> = first.completed_steps().iter().collect();
    for pair in records.windows(2) {
        let [before, now] = pair else { continue };
        let (begin, end) = (since(before.created_at), since(now.created_at));
        for step in now.completed_steps().iter().filter(|step| !before.completed_steps().contains(step)) {
            push(step, State::Completed, begin, end, String::new());
        }
        for step in now.compensated_steps().iter().filter(|step| !before.compensated_steps().contains(step)) {
            push(step, State::Compensated, begin, end, "compensated".to_owned());
        }
        let failure = now.failure.as_deref().filter(|failure| before.failure.as_deref() != Some(*failure));
        if let Some(failure) = failure {
            let failure = failure.compensation.as_deref().unwrap_or(failure);
            if let Some(step) = &failure.step {
                push(step, State::Failed, begin, end, failure.message.clone());
            }
        }
    }
    let from_before = skipped.iter().map(|step| Lane {
        name: (*step).to_owned(),
        state: State::Skipped,
        begin: Duration::ZERO,
        length: None,
        remark: "completed before".to_owned(),
    });
    let mut all: Vec<Lane> = from_before.collect();
    all.append(&mut lanes);
    let shown: Vec<String> = all.iter().map(|lane| lane.name.clone()).collect();
    let running = !last.status.is_terminal() && last.phase != Phase::Failure;
    for step in last.outline.steps().iter().filter(|step| !shown.iter().any(|name| *name == *step.name)) {
        let is_next = running && last.next_steps().contains(&step.name);
        let (state, remark) = if is_next { (State::Running, "next") } else { (State::NotRun, "") };
        all.push(Lane { name: step.name.to_string(), state, begin: Duration::ZERO, length: None, remark: remark.to_owned() });
    }
    all
}
