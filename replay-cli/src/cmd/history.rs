use std::{fmt::Write, sync::Arc};

use replay::{
    Result,
    replay::{LineageSaga, LocalReplay, ReplayEntry, SagaReplay},
};

use crate::{
    app::App,
    args::HistoryArgs,
    exit::Exit,
    output::{Answer, Paint, replays::override_text, tree},
    time::show_ago,
};

pub(super) async fn run(app: &App, args: HistoryArgs) -> Result<Exit> {
    let store = app.store().await?;
    let replayer = LocalReplay::new(app.runner(&store, None), Arc::new(app.definitions(&store, None, false)?));
    let lineage = replayer.history(&args.id).await?;
    let now = app.now();
    let ids: Vec<_> = lineage.sagas.iter().map(|saga| saga.saga_id.clone()).collect();
    let answer = Answer::one("lineage", &lineage)?.ids(ids);
    app.output.answer(answer.shown(move |paint| {
        let entry = |saga: &LineageSaga| {
            let id = saga.origin.as_ref().map(|origin| origin.replay_id);
            let mut entries = lineage.sagas.iter().flat_map(|other| &other.replays);
            id.and_then(|id| entries.find(|entry| entry.replay_id == id))
        };
        let nodes: Vec<(usize, String)> =
            lineage.sagas.iter().map(|saga| (saga.depth, node(saga, entry(saga), saga.saga_id == lineage.saga_id, now, *paint))).collect();
        tree::draw(&nodes)
    }))?;
    Ok(Exit::Ok)
}

/// One saga of the tree: what it is, how it was made, and the replays of it that ran nothing.
fn node(saga: &LineageSaga, made_by: Option<&ReplayEntry>, asked: bool, now: chrono::DateTime<chrono::Utc>, paint: Paint) -> String {
    let id = if asked { paint.bold(&saga.saga_id) } else { saga.saga_id.to_string() };
    let status = saga.status.map_or_else(|| paint.dim("deleted"), |status| paint.status(status));
    let changed = saga.updated_at.map(|at| paint.dim(show_ago(at, now))).unwrap_or_default();
    let from = saga.origin.as_ref().map(|origin| format!("  from {}@{}", origin.saga_id, origin.sequence)).unwrap_or_default();
    let mut text = format!("{id}  {status}  {changed}{}", paint.dim(from));
    if let Some(error) = &saga.error {
        let _ = write!(text, "\n  {}", paint.bad(console::truncate_str(&error.to_string(), 100, "…")));
    }
    if let Some(entry) = made_by {
        let _ = write!(text, "\n  {}", paint.dim(made(entry)));
    }
    for entry in saga.replays.iter().filter(|entry| entry.dry_run || entry.refused) {
        let what = if entry.refused { paint.warn("refused") } else { paint.dim("dry run") };
        let why = entry.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
        let ago = show_ago(entry.started_at, now);
        let _ = write!(text, "\n  {what} {}", paint.dim(format!("from {}, {ago}{why}", entry.checkpoint)));
    }
    text
}

/// Who made a replay, why, and with what changed.
fn made(entry: &ReplayEntry) -> String {
    let mut parts = vec![format!("replayed from {}", entry.checkpoint)];
    if let Some(who) = &entry.initiated_by {
        parts.push(format!("by {who}"));
    }
    if entry.context_override["kind"] != "none" {
        parts.push(format!("override {}", override_text(&entry.context_override)));
    }
    if let Some(reason) = &entry.reason {
        parts.push(format!("because {reason}"));
    }
    if entry.interrupted {
        parts.push("interrupted; resume it".to_owned());
    }
    parts.join(" · ")
}
