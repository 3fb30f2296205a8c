//! What a run does, while it does it: lines on standard error, live on a terminal.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use replay::{
    Clock, Failure, SagaId,
    saga::{Observer, RunEvent},
};

use crate::{
    output::{
        Output,
        timeline::{self, Lane, State},
        visible,
    },
    time::show_duration,
};

/// More steps than this are not drawn as a timeline, but told one by one.
const MAX_LANES: usize = 40;

/// Tells of one run.
pub(crate) struct Progress {
    output: Output,
    clock: Arc<dyn Clock>,
    live: Option<MultiProgress>,
    lanes: Mutex<Lanes>,
}

#[derive(Default)]
struct Lanes {
    began: Option<DateTime<Utc>>,
    list: Vec<Entry>,
    /// Steps that were told and are no longer in the list.
    told: bool,
}

struct Entry {
    lane: Lane,
    compensation: bool,
    attempts: u32,
    bar: Option<ProgressBar>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress {
    pub(crate) fn new(output: Output, clock: Arc<dyn Clock>) -> Arc<Self> {
        let live = (output.stderr_is_terminal && !output.quiet).then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Arc::new(Self { output, clock, live, lanes: Mutex::default() })
    }

    /// Takes the live lines away and leaves the timeline of the run in their place.
    pub(crate) fn finish(&self) {
        let Some(live) = &self.live else { return };
        let mut lanes = self.lanes.lock();
        for bar in lanes.list.iter().filter_map(|entry| entry.bar.as_ref()) {
            bar.finish_and_clear();
        }
        // What cannot be cleared stays on the screen, which does no harm.
        let _ = live.clear();
        let list: Vec<Lane> = lanes.list.drain(..).map(|entry| entry.lane).collect();
        if !list.is_empty() && !lanes.told {
            self.output.note(timeline::render(&list, self.output.stderr) + "\n");
        }
    }

    fn offset(&self, lanes: &mut Lanes) -> Duration {
        let now = self.clock.now();
        (now - *lanes.began.get_or_insert(now)).to_std().unwrap_or_default()
    }

    fn begin(&self, step: &str, attempt: u32, compensation: bool) {
        let mut lanes = self.lanes.lock();
        let begin = self.offset(&mut lanes);
        if let Some(entry) = find(&mut lanes.list, step, compensation) {
            entry.attempts = attempt;
            return;
        }
        let bar = self.live.as_ref().filter(|_| !lanes.told).map(|live| {
            let bar = live.add(ProgressBar::new_spinner());
            bar.set_style(style(if compensation { "yellow" } else { "cyan" }));
            bar.set_message(if compensation {
                format!("{} (compensating)", visible(step, false))
            } else {
                visible(step, false).into_owned()
            });
            bar.enable_steady_tick(Duration::from_millis(90));
            bar
        });
        let lane = Lane { name: step.to_owned(), state: State::Running, begin, length: None, remark: String::new() };
        lanes.list.push(Entry { lane, compensation, attempts: attempt, bar });
        if lanes.list.len() > MAX_LANES {
            self.give_up_on_timeline(&mut lanes);
        }
    }

    /// Tells what has ended so far line by line from here on.
    fn give_up_on_timeline(&self, lanes: &mut Lanes) {
        lanes.told = true;
        let (ended, running) = std::mem::take(&mut lanes.list).into_iter().partition(|entry| entry.lane.length.is_some());
        lanes.list = running;
        let ended: Vec<Entry> = ended;
        if self.live.is_some() {
            for entry in ended {
                self.tell(&entry);
            }
        }
    }

    fn end(&self, step: &str, compensation: bool, failure: Option<&Failure>, duration: Duration) {
        let mut lanes = self.lanes.lock();
        let told = lanes.told;
        let Some(entry) = find(&mut lanes.list, step, compensation) else { return };
        entry.lane.length = Some(duration);
        entry.lane.state = match (failure, compensation) {
            (Some(_), _) => State::Failed,
            (None, true) => State::Compensated,
            (None, false) => State::Completed,
        };
        entry.lane.remark = remark(failure, compensation, entry.attempts);
        if let Some(bar) = &entry.bar {
            bar.set_style(ended_style());
            bar.finish_with_message(line(&entry.lane, self));
        }
        if self.live.is_none() {
            self.tell(entry);
        }
        if told {
            let at = lanes.list.iter().position(|entry| &*entry.lane.name == step && entry.compensation == compensation);
            if let Some(entry) = at.map(|at| lanes.list.remove(at))
                && self.live.is_some()
            {
                self.tell(&entry);
            }
        }
    }

    /// One line about a step that has ended.
    fn tell(&self, entry: &Entry) {
        if let Some(bar) = &entry.bar {
            bar.finish_and_clear();
        }
        let text = line(&entry.lane, self);
        match &self.live {
            Some(live) if live.println(&text).is_ok() => {}
            _ => self.output.note(text),
        }
    }
}

fn find<'a>(list: &'a mut [Entry], step: &str, compensation: bool) -> Option<&'a mut Entry> {
    list.iter_mut().rev().find(|entry| entry.lane.length.is_none() && entry.lane.name == step && entry.compensation == compensation)
}

fn remark(failure: Option<&Failure>, compensation: bool, attempts: u32) -> String {
    let mut parts = Vec::new();
    if compensation && failure.is_none() {
        parts.push("compensated".to_owned());
    }
    if attempts > 1 {
        parts.push(format!("{attempts} attempts"));
    }
    if let Some(failure) = failure {
        let what = if compensation { "compensation failed: " } else { "" };
        parts.push(format!("{what}{}", failure.message));
    }
    parts.join(" · ")
}

/// A step that has ended, in one line without a bar.
fn line(lane: &Lane, progress: &Progress) -> String {
    let paint = progress.output.stderr;
    let mark = match lane.state {
        State::Failed => paint.bad("✖"),
        State::Compensated => paint.warn("↺"),
        _ => paint.good("✔"),
    };
    let length = lane.length.map(show_duration).unwrap_or_default();
    let remark = visible(&lane.remark, false);
    let remark = remark.split_whitespace().collect::<Vec<_>>().join(" ");
    let remark = if remark.is_empty() { String::new() } else { format!("  {}", paint.dim(remark)) };
    let text = format!("  {mark} {}  {}{remark}", visible(&lane.name, false), paint.dim(length));
    if progress.live.is_some() { console::truncate_str(&text, paint.width(), "…").into_owned() } else { text }
}

fn style(colour: &str) -> ProgressStyle {
    let template = format!("  {{spinner:.{colour}}} {{msg}}  {{elapsed:.dim}}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    style.tick_strings(&["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏", " "])
}

fn ended_style() -> ProgressStyle {
    ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Observer for Progress {
    fn event(&self, _: &SagaId, event: &RunEvent<'_>) {
        match event {
            RunEvent::AttemptStarted { step, attempt, compensation } => self.begin(step, *attempt, *compensation),
            RunEvent::Retrying { step, attempt, error, pause } => {
                let lanes = self.lanes.lock();
                let entry = lanes.list.iter().rev().find(|entry| entry.lane.length.is_none() && *entry.lane.name == ***step);
                let text = format!("{step}: attempt {attempt} failed, again in {}: {error}", show_duration(*pause));
                let text = visible(&text, false);
                match entry.and_then(|entry| entry.bar.as_ref()) {
                    Some(bar) => bar.set_message(console::truncate_str(&text, self.output.stderr.width() - 12, "…").into_owned()),
                    None => self.output.note(format!("  {} {text}", self.output.stderr.warn("…"))),
                }
            }
            RunEvent::StepCompleted { step, compensation, duration } => self.end(step, *compensation, None, *duration),
            RunEvent::StepFailed { step, compensation, failure, duration } => self.end(step, *compensation, Some(failure), *duration),
            _ => {}
        }
    }
}
