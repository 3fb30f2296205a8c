use std::time::Duration;

use futures::TryStreamExt;
use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use replay::{
    Error, ErrorKind, Result, Store,
    copy::{CopyEvent, CopyOptions, CopyRefusal, CopyReport, SagaOutcome, copy},
    memory::Memory,
    storage::SagaQuery,
};
use serde_json::json;

use super::filter;
use crate::{
    app::App,
    args::CopyArgs,
    exit::Exit,
    interrupt::Signals,
    output::{Answer, Paint, fields},
};

const FROM: &str = "FROM";
const TO: &str = "TO";
/// How many refusals people are shown.
const SHOWN: usize = 10;

pub(super) async fn run(app: &App, args: CopyArgs) -> Result<Exit> {
    let query = args.filter.as_deref().map(|text| filter::parse(app, text)).transpose()?.unwrap_or_default();
    let url = |text: &str, role: &'static str| app.settings.url_of(text).map_err(|error| error.with("store", role));
    let (from, to) = (url(&args.from, FROM)?, url(&args.to, TO)?);
    if from == to {
        return Err(Error::invalid("copy sagas", "FROM and TO are the same store").hint("name another store or another namespace"));
    }
    let from = app.backends.open_existing(&from).await.map_err(|error| error.with("store", FROM))?;
    let to = open_target(app, &to, args.dry_run).await.map_err(|error| error.with("store", TO))?;
    let bar = bar(app, &from, &query).await?;
    let progress = |event: CopyEvent<'_>| match event {
        CopyEvent::Records { records, .. } => bar.set_message(format!("+{records}")),
        CopyEvent::Saga(saga) => {
            bar.inc(1);
            if let SagaOutcome::Refused(refusal) = &saga.outcome {
                bar.suspend(|| app.output.note(line(app.output.stderr, refusal)));
            }
        }
        _ => {}
    };
    let options = CopyOptions::default()
        .with_query(query)
        .with_verify(args.verify)
        .with_dry_run(args.dry_run)
        .with_concurrency(args.concurrency.into());
    let mut signals = Signals::listen();
    let copied = tokio::select! {
        copied = copy(&from, &to, &options, &progress) => Some(copied),
        () = signals.recv() => None,
    };
    bar.finish_and_clear();
    let Some(report) = copied.transpose()? else {
        app.output.note("stopped; run the same command again to go on");
        return Ok(Exit::Interrupted);
    };
    if report.copied + report.unchanged + report.refused == 0 {
        app.output.note(if args.filter.is_some() { "no saga matches" } else { "FROM has no saga in this namespace" });
    }
    answer(app, &args, &report)
}

/// Opens the store to copy to. A dry run makes none: where it is not there, an empty one takes its place.
async fn open_target(app: &App, url: &str, dry_run: bool) -> Result<Store> {
    if !dry_run {
        return app.backends.open(url).await;
    }
    match app.backends.open_existing(url).await {
        Err(error) if error.is_no_store() => {
            app.output.note("TO is not there yet; the copy would make it");
            Ok(Memory::new().into_store())
        }
        opened => opened,
    }
}

/// A bar on a terminal. How many sagas there are is only counted for it.
async fn bar(app: &App, from: &Store, query: &SagaQuery) -> Result<ProgressBar> {
    if app.output.quiet || !app.output.stderr_is_terminal {
        return Ok(ProgressBar::hidden());
    }
    let count = from.snapshots().sagas(query.clone()).try_fold(0_u64, |count, _| async move { Ok(count + 1) }).await?;
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("  {bar:30.cyan/dim} {pos}/{len} sagas  {elapsed:.dim} {eta:.dim}  {msg:.dim}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
    bar.enable_steady_tick(Duration::from_millis(200));
    Ok(bar)
}

fn line(paint: Paint, refusal: &CopyRefusal) -> String {
    format!("{} {}  {}", paint.bad("✖"), refusal.saga_id, paint.dim(&refusal.message))
}

fn answer(app: &App, args: &CopyArgs, report: &CopyReport) -> Result<Exit> {
    let mut body = serde_json::to_value(report).map_err(|error| Error::new(ErrorKind::Internal, "print").caused_by(error))?;
    body["dry_run"] = json!(args.dry_run);
    let (report, dry_run) = (report.clone(), args.dry_run);
    let exit = exit_of(&report);
    let answer = Answer::one("copy", &body)?.ids(report.refusals.iter().map(|refusal| &refusal.saga_id));
    app.output.answer(answer.shown(move |paint| shown(paint, &report, dry_run)))?;
    Ok(exit)
}

fn exit_of(report: &CopyReport) -> Exit {
    let kinds = || report.refusals.iter().map(|refusal| refusal.kind);
    match kinds().find(|kind| *kind == ErrorKind::Integrity).or_else(|| kinds().next()) {
        Some(kind) => Exit::of_error(kind),
        None => Exit::Ok,
    }
}

fn shown(paint: &Paint, report: &CopyReport, dry_run: bool) -> String {
    let some = |count: u64, what: &str| if count == 0 { String::new() } else { format!("{count} {what}") };
    let mut text = fields(
        paint,
        &[
            (if dry_run { "would copy" } else { "copied" }, format!("{} sagas", report.copied)),
            ("snapshots", format!("{} ({})", report.records, BinaryBytes(report.bytes))),
            ("beside them", {
                let parts = [some(report.blobs, "definitions and other blobs"), some(report.log_entries, "entries of replay logs")];
                parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
            }),
            ("there already", some(report.unchanged, "sagas")),
            ("verified", some(report.verified, "snapshots")),
            ("refused", if report.refused == 0 { String::new() } else { paint.bad(some(report.refused, "sagas")) }),
        ],
    );
    let refusals = report.refusals.iter().take(SHOWN).map(|refusal| format!("\n  {}", line(*paint, refusal)));
    text.extend(refusals);
    if report.refused > SHOWN as u64 {
        let left = paint.dim(format!("… and {} more", report.refused - SHOWN as u64));
        text.extend(["\n  ", &left]);
    }
    text
}
