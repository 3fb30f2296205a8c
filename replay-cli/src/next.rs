//! The command to try after an error.

use futures::TryStreamExt;
use replay::{Error, ErrorKind, storage::SagaQuery};

use crate::{app::App, suggest};

/// How many sagas are looked at to find the one that was probably meant.
const LOOKED_AT: u64 = 500;

/// What to try next after `error`, where that is known.
pub(crate) async fn after_error(app: &App, error: &Error) -> Option<String> {
    let name = app.name;
    let saga = error.fact("saga");
    match (error.kind(), saga) {
        (ErrorKind::NotFound, Some(saga)) => Some(match similar(app, saga).await {
            Some(near) if near != saga => format!("did you mean `{near}`? `{name} sagas` lists what there is"),
            Some(_) => format!("{name} checkpoints {saga}"),
            None => format!("{name} sagas    (this store: {})", app.shown_url()),
        }),
        (ErrorKind::Busy, Some(saga)) => Some(format!("{name} show {saga}, or {name} cancel {saga} --reason …")),
        (ErrorKind::Refused | ErrorKind::Conflict, Some(saga)) => Some(format!("{name} show {saga}")),
        (ErrorKind::Integrity, Some(saga)) => Some(format!("{name} verify-chain {saga}")),
        (ErrorKind::Unavailable | ErrorKind::PermissionDenied | ErrorKind::StoreFull | ErrorKind::NewerVersion, _) => {
            Some(format!("{name} config doctor"))
        }
        _ => None,
    }
}

/// The id that is most like `saga`, itself if it exists.
async fn similar(app: &App, saga: &str) -> Option<String> {
    let store = app.store().await.ok()?;
    let heads = store.snapshots().sagas(SagaQuery::default().with_limit(LOOKED_AT));
    let ids: Vec<String> = heads.map_ok(|head| head.saga_id.to_string()).try_collect().await.ok()?;
    let known: Vec<&str> = ids.iter().map(String::as_str).collect();
    if known.contains(&saga) {
        return Some(saga.to_owned());
    }
    suggest::nearest(saga, &known).map(str::to_owned)
}
