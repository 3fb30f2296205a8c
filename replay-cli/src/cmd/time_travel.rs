use replay::{
    Error, ErrorKind, Result,
    json::Pointer,
    storage::{At, SnapshotQuery},
    time_travel::{Lookup, TimeTravel},
};
use serde_json::{Value, json};

use super::show::{json_text, snapshot_answer};
use crate::{app::App, args::TimeTravelArgs, exit::Exit, output::Answer, time::show};

pub(super) async fn run(app: &App, args: TimeTravelArgs) -> Result<Exit> {
    let store = app.store().await?;
    let at = app.instant(&args.at)?;
    // A saga that does not exist is another thing than one that had not begun.
    app.newest(&store, &args.id).await?;
    if let Some(pointer) = &args.key {
        let pointer = Pointer::parse(pointer)?;
        let found = store.snapshots().context_at(&args.id, at, &pointer).await?;
        return key(app, &args, at, &pointer, found);
    }
    let Some(snapshot) = store.snapshots().state_at(&args.id, at).await? else {
        return Err(not_begun(app, &args, at).await?);
    };
    app.output.answer(snapshot_answer(app, &snapshot, args.show_context)?.with("at", show(at)))?;
    Ok(Exit::Ok)
}

fn key(app: &App, args: &TimeTravelArgs, at: chrono::DateTime<chrono::Utc>, pointer: &Pointer, found: Lookup) -> Result<Exit> {
    let missing = |message: String| Err(Error::new(ErrorKind::NotFound, "look up").message(message).with("saga", &args.id));
    let (sequence, value) = match found {
        Lookup::NoSnapshot => return missing(format!("it had not begun at {}", show(at))),
        Lookup::Missing { sequence } => {
            let body = json!({"saga_id": args.id, "at": show(at), "sequence": sequence, "pointer": pointer.to_string(), "found": false, "value": null});
            app.output.answer(Answer::one("value", &body)?.shown(|paint| paint.dim("nothing there")))?;
            return Ok(Exit::Ok);
        }
        Lookup::Found { sequence, value } => (sequence, value),
    };
    let body =
        json!({"saga_id": args.id, "at": show(at), "sequence": sequence, "pointer": pointer.to_string(), "found": true, "value": value});
    let answer = Answer::one("value", &body)?.shown(move |paint| match value {
        Value::String(text) => text,
        value => json_text(&value, *paint),
    });
    app.output.answer(answer)?;
    Ok(Exit::Ok)
}

async fn not_begun(app: &App, args: &TimeTravelArgs, at: chrono::DateTime<chrono::Utc>) -> Result<Error> {
    let store = app.store().await?;
    let mut oldest = store.snapshots().list(SnapshotQuery::new(args.id.clone()).with_limit(1).with_payloads(false));
    let first = futures::TryStreamExt::try_next(&mut oldest).await?;
    let error =
        Error::new(ErrorKind::NotFound, "travel in time").message(format!("it had no state at {}", show(at))).with("saga", &args.id);
    Ok(match first {
        Some(first) => error.hint(format!("its oldest snapshot is {} of {}", first.id(), show(first.created_at))),
        None => error,
    })
}

/// The position that `text` means: a sequence, or an instant.
///
/// # Errors
/// `Invalid` if it is neither.
pub(super) fn position(app: &App, text: &str) -> Result<At> {
    match text.parse::<u64>() {
        Ok(sequence) if sequence > 0 => Ok(At::Sequence(sequence)),
        _ => app.instant(text).map(At::Time),
    }
}
