use replay::{
    Error, ErrorKind, Result,
    storage::{PruneReport, PruneRequest, PruneScope},
};
use serde_json::json;

use super::confirm::confirm;
use crate::{
    app::App,
    args::GcArgs,
    exit::Exit,
    interrupt::Signals,
    output::{Answer, fields},
};

/// How many records go in one call, so that writers never wait long.
const CHUNK: u64 = 1000;

pub(super) async fn run(app: &App, args: GcArgs) -> Result<Exit> {
    if args.keep == Some(0) {
        return Err(Error::invalid("prune", "at least one snapshot of each saga is kept").hint("write --keep 1 or more"));
    }
    let store = app.store().await?;
    let mut signals = Signals::listen();
    if let Some(keep) = args.keep
        && !args.dry_run
        && !args.yes
    {
        let question = format!("Remove all but the newest {keep} snapshots of every saga for good?");
        confirm(app, &mut signals, &question, "prune").await?;
    }
    let mut scopes = Vec::new();
    if args.expired || args.keep.is_none() {
        scopes.push(("expired", PruneScope::Expired { now: app.now() }));
    }
    if let Some(keep) = args.keep {
        scopes.push(("beyond_keep", PruneScope::KeepNewest { saga_id: None, keep }));
    }
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut total = PruneReport::default();
    for (_, scope) in scopes {
        loop {
            // Counting in chunks would count the first chunk again and again.
            let limit = if args.dry_run { left } else { left.min(CHUNK) };
            let request = PruneRequest::new(scope.clone()).with_limit(limit).with_dry_run(args.dry_run);
            let report = tokio::select! {
                report = store.snapshots().prune(request) => report?,
                () = signals.recv() => return Err(interrupted(&total)),
            };
            total.records += report.records;
            total.bytes += report.bytes;
            total.sagas += report.sagas;
            left = left.saturating_sub(report.records);
            if !report.more || report.records == 0 || args.dry_run || left == 0 {
                total.more |= report.more;
                break;
            }
        }
        if left == 0 {
            break;
        }
    }
    let body = json!({"dry_run": args.dry_run, "records": total.records, "bytes": total.bytes, "sagas": total.sagas, "more": total.more});
    let answer = Answer::one("gc", &body)?.shown(move |paint| {
        fields(
            paint,
            &[
                (if args.dry_run { "would remove" } else { "removed" }, format!("{} snapshots", total.records)),
                (if args.dry_run { "would free" } else { "freed" }, show_bytes(total.bytes)),
                ("sagas gone", if total.sagas == 0 { String::new() } else { total.sagas.to_string() }),
                ("left", if total.more { "more may go; run it again".to_owned() } else { String::new() }),
            ],
        )
    });
    app.output.answer(answer)?;
    Ok(Exit::Ok)
}

fn interrupted(total: &PruneReport) -> Error {
    Error::new(ErrorKind::Cancelled, "prune")
        .message("interrupted; what was removed stays removed")
        .hint("run it again for the rest")
        .with("records", total.records)
}

fn show_bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
