//! How sagas and runs are shown.

use std::time::Duration;

use replay::{
    SagaStatus,
    saga::{Disposition, RunReport, StepReport},
};
use serde::Serialize;
use serde_json::Value;

use super::{Answer, Paint, fields};
use crate::time::{show, show_duration};

/// The end of a run, for programs.
#[derive(Serialize)]
struct Run<'a> {
    saga_id: &'a str,
    saga_name: &'a str,
    status: SagaStatus,
    interrupted: bool,
    sequence: u64,
    error: Option<&'a replay::Failure>,
    steps: Vec<Step<'a>>,
    uncompensated: Vec<&'a str>,
    missing_captures: &'a [replay::saga::MissingCapture],
    context: &'a Value,
    started_at: String,
    duration_ms: f64,
}

#[derive(Serialize)]
struct Step<'a> {
    name: &'a str,
    disposition: Disposition,
    attempts: u32,
    started_at: String,
    duration_ms: f64,
}

impl<'a> Step<'a> {
    fn of(step: &'a StepReport) -> Self {
        Self {
            name: &step.name,
            disposition: step.disposition,
            attempts: step.attempts,
            started_at: show(step.started_at),
            duration_ms: millis(step.duration),
        }
    }
}

/// Milliseconds, to the microsecond.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The answer of a command that ran a saga. `next` are commands to try.
///
/// # Errors
/// `Internal` if the report does not serialise.
pub(crate) fn run_answer(saga_name: &str, report: &RunReport<Value>, next: Vec<String>) -> replay::Result<Answer> {
    let run = Run {
        saga_id: report.saga_id.as_str(),
        saga_name,
        status: report.status,
        interrupted: report.interrupted,
        sequence: report.sequence,
        error: report.failure.as_deref(),
        steps: report.steps.iter().map(Step::of).collect(),
        uncompensated: report.uncompensated.iter().map(|name| &**name).collect(),
        missing_captures: &report.missing_captures,
        context: &report.context,
        started_at: show(report.started_at),
        duration_ms: millis(report.duration),
    };
    let shown = Shown::of(saga_name, report, next);
    Ok(Answer::one("run", &run)?.ids([&report.saga_id]).shown(move |paint| shown.render(*paint)))
}

/// What people see of the end of a run.
struct Shown {
    saga: String,
    status: SagaStatus,
    interrupted: bool,
    failure: String,
    duration: String,
    snapshots: u64,
    left: String,
    missing: String,
    next: Vec<String>,
}

impl Shown {
    fn of(saga_name: &str, report: &RunReport<Value>, next: Vec<String>) -> Self {
        let left: Vec<&str> = report.uncompensated.iter().map(|name| &**name).collect();
        Self {
            saga: format!("{}  ({saga_name})", report.saga_id),
            status: report.status,
            interrupted: report.interrupted,
            failure: report.failure.as_ref().map(ToString::to_string).unwrap_or_default(),
            duration: show_duration(report.duration),
            snapshots: report.sequence,
            left: left.join(", "),
            missing: if report.missing_captures.is_empty() {
                String::new()
            } else {
                format!("{} captures are missing", report.missing_captures.len())
            },
            next,
        }
    }

    fn render(&self, paint: Paint) -> String {
        let status = if self.interrupted { paint.warn("‖ interrupted; it can be resumed") } else { paint.status(self.status) };
        fields(
            &paint,
            &[
                ("saga", paint.bold(&self.saga)),
                ("status", status),
                ("because", paint.bad(&self.failure)),
                ("not compensated", paint.warn(&self.left)),
                ("duration", self.duration.clone()),
                ("snapshots", self.snapshots.to_string()),
                ("", paint.warn(&self.missing)),
                ("next", self.next.iter().map(|command| paint.accent(command)).collect::<Vec<_>>().join("\n")),
            ],
        )
    }
}
