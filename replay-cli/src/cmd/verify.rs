use futures::TryStreamExt;
use replay::{ErrorKind, OriginLink, Result, SagaId, Store, storage::SagaQuery, verify_chain};
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
    /// Where the first snapshot leads to.
    origin: OriginLink,
    error: Option<String>,
}

pub(super) async fn run(app: &App, args: VerifyArgs) -> Result<Exit> {
    let store = app.store().await?;
    let mut found = Vec::new();
    if let Some(id) = &args.id {
        // A damaged newest record is what is to be found, not a reason to stop.
        match app.newest(&store, id).await {
            Err(error) if !error.is(ErrorKind::Integrity) => return Err(error),
            _ => found.push(check(&store, id).await?),
        }
    } else {
        let mut sagas = store.snapshots().sagas(SagaQuery::default());
        while let Some(saga) = sagas.try_next().await? {
            found.push(check(&store, &saga.saga_id).await?);
        }
    }
    let broken = found.iter().filter(|saga| !saga.valid).count();
    let mut table = Table::new(&["", "SAGA", "SNAPSHOTS", "FROM", "FOUND"]).or_empty("there is no saga");
    for saga in &found {
        let (valid, error) = (saga.valid, saga.error.clone());
        let sound = match saga.origin {
            OriginLink::NotHere => "every digest and link holds; its origin is not here",
            _ => "every digest and link holds",
        };
        table.row(vec![
            painted(move |paint| if valid { paint.good("✔") } else { paint.bad("✖") }),
            plain(&saga.saga_id),
            plain(saga.snapshots),
            plain(saga.first_sequence),
            painted(move |paint| error.as_ref().map_or_else(|| paint.dim(sound), |error| paint.bad(error))),
        ]);
    }
    let answer = Answer::list("chains", "chain", &found)?.with("valid", broken == 0);
    let broken_ids = found.iter().filter(|saga| !saga.valid).map(|saga| &saga.saga_id);
    app.output.answer(answer.ids(broken_ids).table(table))?;
    Ok(if broken == 0 { Exit::Ok } else { Exit::Integrity })
}

/// # Errors
/// The store's own; what is wrong with the history is in the result.
async fn check(store: &Store, id: &SagaId) -> Result<Checked> {
    let report = match verify_chain(&**store.snapshots(), id).await {
        Ok(report) => report,
        Err(error) if error.is(ErrorKind::Integrity) => {
            let error = Some(error.detail().map_or_else(|| error.to_string(), str::to_owned));
            let (saga_id, origin) = (id.clone(), OriginLink::None);
            return Ok(Checked { saga_id, valid: false, snapshots: 0, first_sequence: 0, last_digest: None, origin, error });
        }
        Err(error) => return Err(error),
    };
    Ok(Checked {
        saga_id: id.clone(),
        valid: report.is_valid(),
        snapshots: report.snapshots,
        first_sequence: report.first_sequence,
        last_digest: report.last_digest.map(|digest| digest.to_string()),
        origin: report.origin,
        error: report.broken.map(|broken| format!("{}: {}", broken.sequence, broken.message)),
    })
}
