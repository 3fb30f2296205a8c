//! How plans and replays are shown.

use replay::{
    Result,
    replay::{ReplayPlan, ReplayResult, ReplayStatus, StepPlan},
};
use serde_json::{Value, json};

use super::{Answer, Paint, fields, saga::millis};
use crate::time::{show, show_duration};

/// The answer of a dry run.
///
/// # Errors
/// `Internal` if the plan does not serialise.
pub(crate) fn plan_answer(plan: &ReplayPlan) -> Result<Answer> {
    let shown = plan.clone();
    Ok(Answer::one("plan", plan)?.ids([&plan.original]).shown(move |paint| plan_lines(&shown, *paint)))
}

/// The plan as a table of steps, with what its reader should know.
pub(crate) fn plan_lines(plan: &ReplayPlan, paint: Paint) -> String {
    let mut lines = vec![
        fields(
            &paint,
            &[
                ("replay of", paint.bold(format!("{}@{}  ({})", plan.original, plan.sequence, plan.saga_name))),
                ("captured", show(plan.created_at)),
                ("override", override_text(&plan.context_override)),
                ("definition", definition(plan, paint)),
            ],
        ),
        String::new(),
    ];
    let width = plan.steps.iter().map(|step| console::measure_text_width(&step.name)).max().unwrap_or(0);
    for step in &plan.steps {
        let name = console::pad_str(&step.name, width, console::Alignment::Left, None).into_owned();
        let (mark, word) = match step.action {
            StepPlan::Skip => (paint.dim("✓"), paint.dim("skip     ")),
            StepPlan::RunAgain => (paint.warn("↻"), paint.warn("run again")),
            StepPlan::Run => (paint.accent("▶"), paint.accent("run      ")),
            StepPlan::Fail => (paint.bad("✖"), paint.bad("fail     ")),
            other => (paint.warn("?"), paint.warn(format!("{other:<9}"))),
        };
        let key = match (&step.idempotency_key, step.fresh_key) {
            (Some(key), true) => format!("{key} {}", paint.warn("fresh")),
            (Some(key), false) => format!("{key} {}", paint.dim("inherited")),
            (None, _) => " ".repeat(36 + 10),
        };
        let mut flags = Vec::new();
        if step.has_compensation {
            flags.push("compensation");
        }
        if step.pivot {
            flags.push("pivot");
        }
        lines.push(format!("  {mark} {word}  {name}  {key}  {}", paint.dim(flags.join(", "))).trim_end().to_owned());
    }
    for warning in &plan.warnings {
        lines.push(format!("{} {warning}", paint.warn("note:")));
    }
    for refusal in &plan.refusals {
        lines.push(format!("{} {refusal}", paint.bad("refused:")));
        if let Some(hint) = &refusal.hint {
            lines.push(paint.dim(format!("  {hint}")));
        }
    }
    lines.join("\n")
}

fn definition(plan: &ReplayPlan, paint: Paint) -> String {
    let change = &plan.definition;
    if !change.changed {
        return paint.dim("as recorded");
    }
    let names = |names: &[std::sync::Arc<str>]| names.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
    let mut parts = vec![paint.warn("changed")];
    if !change.added.is_empty() {
        parts.push(format!("added: {}", names(&change.added)));
    }
    if !change.removed.is_empty() {
        parts.push(format!("removed: {}", names(&change.removed)));
    }
    parts.join("  ")
}

/// An override in short; secrets are redacted already.
pub(crate) fn override_text(change: &Value) -> String {
    match (change["kind"].as_str(), &change["value"]) {
        (Some("assign"), Value::Array(assignments)) => {
            let one = |assignment: &Value| format!("{} = {}", assignment["path"].as_str().unwrap_or_default(), assignment["value"]);
            assignments.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        (Some("none") | None, _) => String::new(),
        (Some(kind), value) => format!("{kind} {value}"),
    }
}

/// The answer of a replay. `next` are commands to try.
///
/// # Errors
/// `Internal` if the result does not serialise.
pub(crate) fn result_answer(result: &ReplayResult, next: Vec<String>, with_context: bool) -> Result<Answer> {
    let report = result.report.as_ref();
    let body = json!({
        "replay_id": result.replay_id,
        "original": result.original,
        "new_saga": result.new_saga,
        "status": result.status,
        "saga_status": report.map(|report| report.status),
        "existing": result.existing,
        "interrupted": report.is_some_and(|report| report.interrupted),
        "error": report.and_then(|report| report.failure.as_deref()),
        "plan": result.plan,
        "steps": report.map(|report| &report.steps),
        "context": report.map(|report| &report.context),
        "duration_ms": report.map(|report| millis(report.duration)),
        "warnings": result.warnings,
    });
    let shown = result.clone();
    let answer = Answer::one("replay", &body)?.ids(result.new_saga.iter());
    Ok(answer.shown(move |paint| result_lines(&shown, &next, with_context, *paint)))
}

fn result_lines(result: &ReplayResult, next: &[String], with_context: bool, paint: Paint) -> String {
    let report = result.report.as_ref();
    let status = match report {
        Some(report) if report.interrupted => paint.warn("‖ interrupted; it can be resumed"),
        Some(report) => paint.status(report.status),
        None if matches!(result.status, ReplayStatus::Pending | ReplayStatus::Running) => {
            format!("{} {}", result.status, paint.warn("(the replay key is in use: another run is at it; nothing was run here)"))
        }
        None => format!("{} {}", result.status, paint.dim("(it existed already; nothing was run)")),
    };
    let new_saga = result.new_saga.as_ref().map(ToString::to_string).unwrap_or_default();
    let from = result.plan.as_ref().map_or_else(|| result.original.to_string(), |plan| format!("{}@{}", plan.original, plan.sequence));
    let skipped = result.plan.as_ref().map(|plan| plan.steps_to(StepPlan::Skip).join(", ")).unwrap_or_default();
    let again = result.plan.as_ref().map(|plan| plan.steps_to(StepPlan::RunAgain).join(", ")).unwrap_or_default();
    let text = fields(
        &paint,
        &[
            ("saga", paint.bold(new_saga)),
            ("replay of", from),
            ("status", status),
            ("because", paint.bad(report.and_then(|report| report.failure.as_ref()).map(ToString::to_string).unwrap_or_default())),
            ("skipped", skipped),
            ("run again", again),
            ("duration", report.map(|report| show_duration(report.duration)).unwrap_or_default()),
            ("next", next.iter().map(|command| paint.accent(command)).collect::<Vec<_>>().join("\n")),
        ],
    );
    match report.filter(|_| with_context) {
        Some(report) => format!("{text}\n\n{}", serde_json::to_string_pretty(&report.context).unwrap_or_default()),
        None => text,
    }
}
