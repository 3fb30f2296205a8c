use futures::TryStreamExt;
use replay::{
    Error, ErrorKind, Result, SagaId, Store,
    storage::{At, SagaQuery, SnapshotQuery},
};
use serde::Serialize;

use crate::{
    app::App,
    args::VerifyArgs,
    exit::Exit,
    output::{
        Answer, Table,
        table::{painted, plain},
    },
};

/// What checking one saga's history found.
#[derive(Debug, Serialize)]
struct Checked {
    saga_id: SagaId,
    valid: bool,
    snapshots: u64,
    /// The sequence that the check began at: 1, or what pruning left as the oldest.
    first_sequence: u64,
    last_digest: Option<String>,
    error: Option<String>,
}

pub(super) async fn run(app: &App, args: VerifyArgs) -> Result<Exit> {
    let store = app.store().await?;
    let mut found = Vec::new();
    if let Some(id) = &args.id {
        // A damaged newest record is what is to be found, not a reason to stop.
        match app.newest(&store, id).await {
            Err(error) if !error.is(ErrorKind::Integrity) => return Err(error),
            _ => found.push(check(&store, id).await),
        }
    } else {
        let mut sagas = store.snapshots().sagas(SagaQuery::default());
        while let Some(saga) = sagas.try_next().await? {
            found.push(check(&store, &saga.saga_id).await);
        }
    }
    let broken = found.iter().filter(|saga| !saga.valid).count();
    let mut table = Table::new(&["", "SAGA", "SNAPSHOTS", "FROM", "FOUND"]).or_empty("there is no saga");
    for saga in &found {
        let (valid, error) = (saga.valid, saga.error.clone());
        table.row(vec![
            painted(move |paint| if valid { paint.good("✔") } else { paint.bad("✖") }),
            plain(&saga.saga_id),
            plain(saga.snapshots),
            plain(saga.first_sequence),
            painted(move |paint| error.as_ref().map_or_else(|| paint.dim("every digest and link holds"), |error| paint.bad(error))),
        ]);
    }
    let answer = Answer::list("chains", "chain", &found)?.with("valid", broken == 0);
    let broken_ids = found.iter().filter(|saga| !saga.valid).map(|saga| &saga.saga_id);
    app.output.answer(answer.ids(broken_ids).table(table))?;
    Ok(if broken == 0 { Exit::Ok } else { Exit::Integrity })
}

async fn check(store: &Store, id: &SagaId) -> Checked {
    let mut checked = Checked { saga_id: id.clone(), valid: true, snapshots: 0, first_sequence: 0, last_digest: None, error: None };
    if let Err(error) = walk(store, id, &mut checked).await {
        checked.valid = false;
        checked.error = Some(describe(&error));
    }
    checked
}

fn describe(error: &Error) -> String {
    let detail = error.detail().map_or_else(|| error.to_string(), str::to_owned);
    error.fact("snapshot").or(error.fact("sequence")).map_or(detail.clone(), |at| format!("{at}: {detail}"))
}

async fn walk(store: &Store, id: &SagaId, checked: &mut Checked) -> Result<()> {
    let broken = |sequence: u64, message: String| {
        Err(Error::new(ErrorKind::Integrity, "verify chain").message(message).with("saga", id).with("sequence", sequence))
    };
    let mut records = store.snapshots().list(SnapshotQuery::new(id.clone()));
    let mut last = None;
    while let Some(record) = records.try_next().await? {
        match last {
            None => {
                checked.first_sequence = record.sequence;
                if record.sequence == 1 {
                    check_origin(store, &record).await?;
                }
            }
            Some((sequence, digest)) => {
                if record.sequence != sequence + 1 {
                    return broken(record.sequence, format!("it follows {sequence}, so snapshots are missing in between"));
                }
                if record.prev_digest != digest {
                    return broken(record.sequence, "it was not made after the snapshot before it: the link does not hold".to_owned());
                }
            }
        }
        checked.snapshots += 1;
        checked.last_digest = Some(record.digest().to_string());
        last = Some((record.sequence, record.digest()));
        record.decode()?;
    }
    Ok(())
}

/// The first link of a fork leads to the snapshot that it was forked from, if that is still there.
async fn check_origin(store: &Store, record: &replay::SnapshotRecord) -> Result<()> {
    let expected = match &record.origin {
        None => Some(replay::Digest::ZERO),
        Some(origin) => store.snapshots().load(&origin.saga_id, At::Sequence(origin.sequence)).await?.map(|origin| origin.digest()),
    };
    if expected.is_none_or(|expected| expected == record.prev_digest) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Integrity, "verify chain")
        .message("its first link does not lead to where it comes from")
        .with("sequence", record.sequence))
}
