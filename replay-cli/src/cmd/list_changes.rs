use replay::{
    Result,
    storage::TimeRange,
    time_travel::{StateChange, StateChangesQuery, TimeTravel},
};

use crate::{
    app::App,
    args::ListChangesArgs,
    exit::Exit,
    output::{
        Answer, Table,
        table::{painted, plain},
    },
    time::show,
};

pub(super) async fn run(app: &App, args: ListChangesArgs) -> Result<Exit> {
    let store = app.store().await?;
    app.newest(&store, &args.id).await?;
    let instant = |text: &Option<String>| text.as_ref().map(|text| app.instant(text)).transpose();
    let range = TimeRange { from: instant(&args.after)?, until: instant(&args.before)? };
    let mut query = StateChangesQuery::new(args.id.clone()).with_range(range).with_limit(args.limit).with_patches(true);
    if let Some(cursor) = args.cursor {
        query = query.with_cursor(cursor);
    }
    let page = store.snapshots().state_changes(query).await?;
    let table = table(&page.changes, page.next_cursor.as_deref());
    let ids: Vec<String> = page.changes.iter().map(|change| format!("{}@{}", args.id, change.sequence)).collect();
    let answer = Answer::list("changes", "change", &page.changes)?.with("saga_id", args.id.as_str()).with("next_cursor", page.next_cursor);
    app.output.answer(answer.ids(ids).table(table))?;
    Ok(Exit::Ok)
}

fn table(changes: &[StateChange], cursor: Option<&str>) -> Table {
    let mut table = Table::new(&["#", "AT", "STATUS", "PHASE", "WHAT CHANGED"]).or_empty("no change in this range");
    for change in changes {
        let status = change.status;
        let what = what(change);
        let failed = change.error.is_some();
        table.row(vec![
            plain(change.sequence),
            plain(show(change.created_at)),
            painted(move |paint| paint.status(status)),
            plain(change.phase),
            painted(move |paint| if failed { paint.bad(&what) } else { what.clone() }),
        ]);
    }
    match cursor {
        Some(cursor) => table.footer(format!("there are more; go on with --cursor {cursor}")),
        None => table,
    }
}

/// The change in a few words.
fn what(change: &StateChange) -> String {
    let mut parts = Vec::new();
    let names = |names: &[std::sync::Arc<str>]| names.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
    if !change.completed.is_empty() {
        parts.push(format!("{} completed", names(&change.completed)));
    }
    if !change.compensated.is_empty() {
        parts.push(format!("{} compensated", names(&change.compensated)));
    }
    if let Some(error) = &change.error {
        parts.push(error.to_string());
    }
    let places: Vec<&str> =
        change.patch.iter().flat_map(replay::json::JsonPatch::operations).filter_map(|op| op["path"].as_str()).collect();
    if !places.is_empty() {
        let more = if places.len() > 3 { format!(" and {} more", places.len() - 3) } else { String::new() };
        parts.push(format!("{}{more}", places[..places.len().min(3)].join(" ")));
    }
    if parts.is_empty() && !change.next_steps.is_empty() {
        parts.push(format!("next: {}", names(&change.next_steps)));
    }
    parts.join(" · ")
}
