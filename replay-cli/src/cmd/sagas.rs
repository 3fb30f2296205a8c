use futures::TryStreamExt;
use replay::{
    Error, Result,
    storage::{SagaCursor, SagaQuery, SagaSummary, TimeRange},
};

use super::input;
use crate::{
    app::App,
    args::SagasArgs,
    exit::Exit,
    output::{
        Answer, Table,
        table::{painted, plain},
    },
    time::show_ago,
};

pub(super) async fn run(app: &App, args: SagasArgs) -> Result<Exit> {
    let store = app.store().await?;
    let mut query = SagaQuery::default().with_limit(args.limit.saturating_add(1));
    query.statuses = args.status;
    query.name = args.name;
    query.id_prefix = args.id_prefix;
    query.step = args.step;
    query.labels = input::labels(&args.label)?;
    query.origin = args.origin;
    if let Some(since) = &args.since {
        query.updated = TimeRange { from: Some(app.instant(since)?), until: None };
    }
    if let Some(cursor) = &args.cursor {
        query.after = Some(read_cursor(cursor)?);
    }
    let mut sagas: Vec<SagaSummary> = store.snapshots().sagas(query).try_collect().await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let more = sagas.len() > limit;
    sagas.truncate(limit);
    let cursor = sagas.last().filter(|_| more).map(|last| write_cursor(&last.cursor()));
    let table = table(app, &sagas, cursor.as_deref());
    let answer = Answer::list("sagas", "saga", &sagas)?.with("next_cursor", cursor).ids(sagas.iter().map(|saga| &saga.saga_id));
    app.output.answer(answer.table(table))?;
    Ok(Exit::Ok)
}

fn table(app: &App, sagas: &[SagaSummary], cursor: Option<&str>) -> Table {
    let now = app.now();
    let mut table = Table::new(&["ID", "SAGA", "STATUS", "STEP", "SNAPSHOTS", "CHANGED", "REPLAY OF"])
        .or_empty(format!("no saga matches  (store: {})", app.shown_url()));
    for saga in sagas {
        let status = saga.status;
        table.row(vec![
            plain(&saga.saga_id),
            plain(&saga.saga_name),
            painted(move |paint| paint.status(status)),
            plain(saga.step_name.as_deref().unwrap_or("")),
            plain(saga.sequence),
            plain(show_ago(saga.updated_at, now)),
            plain(saga.origin.as_ref().map(|origin| format!("{}@{}", origin.saga_id, origin.sequence)).unwrap_or_default()),
        ]);
    }
    match cursor {
        Some(cursor) => table.footer(format!("there are more; go on with --cursor {cursor}")),
        None => table,
    }
}

/// A cursor as one word: microseconds since the epoch, and the id.
fn write_cursor(cursor: &SagaCursor) -> String {
    format!("{}:{}", cursor.started_at.timestamp_micros(), cursor.saga_id)
}

fn read_cursor(text: &str) -> Result<SagaCursor> {
    let wrong = || Error::invalid("read cursor", format!("`{text}` is not a cursor")).hint("use the one that the previous listing gave");
    let (micros, id) = text.split_once(':').ok_or_else(wrong)?;
    let started_at = micros.parse().ok().and_then(chrono::DateTime::from_timestamp_micros).ok_or_else(wrong)?;
    Ok(SagaCursor { started_at, saga_id: id.parse()? })
}
