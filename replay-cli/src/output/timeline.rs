//! A compact timeline: a line per step, its bar placed and sized by time.

use std::time::Duration;

use super::Paint;
use crate::time::show_duration;

/// What became of a step, as the timeline shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Completed,
    Failed,
    Compensated,
    /// Completed in an earlier run.
    Skipped,
    NotRun,
}

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) name: String,
    pub(crate) state: State,
    /// When it began, counted from the beginning of the timeline.
    pub(crate) begin: Duration,
    pub(crate) length: Option<Duration>,
    pub(crate) remark: String,
}

impl Lane {
    fn mark(&self) -> &'static str {
        match self.state {
            State::Running => "▶",
            State::Completed => "✔",
            State::Failed => "✖",
            State::Compensated => "↺",
            State::Skipped => "✓",
            State::NotRun => "·",
        }
    }

    fn paint(&self, paint: Paint, text: String) -> String {
        match self.state {
            State::Running => paint.accent(text),
            State::Completed => paint.good(text),
            State::Failed => paint.bad(text),
            State::Compensated => paint.warn(text),
            State::Skipped | State::NotRun => paint.dim(text),
        }
    }
}

/// The lines, indented by two columns.
pub(crate) fn render(lanes: &[Lane], paint: Paint) -> String {
    let name_width = lanes.iter().map(|lane| console::measure_text_width(&lane.name)).max().unwrap_or(0).min(40);
    let total = lanes.iter().map(|lane| lane.begin + lane.length.unwrap_or_default()).max().unwrap_or_default();
    let bar_width = paint.width().saturating_sub(name_width + 50).clamp(10, 40);
    let lines = lanes.iter().map(|lane| {
        let name = console::truncate_str(&lane.name, name_width, "…");
        let name = console::pad_str(&name, name_width, console::Alignment::Left, None).into_owned();
        let bar = if lane.length.is_some() { bar(lane, total, bar_width) } else { " ".repeat(bar_width) };
        let length = lane.length.map(show_duration).unwrap_or_default();
        let line = format!("  {} {name}  {}  {length:>9}", lane.paint(paint, lane.mark().to_owned()), lane.paint(paint, bar));
        if lane.remark.is_empty() {
            line.trim_end().to_owned()
        } else {
            format!("{line}  {}", remark(lane, paint, name_width + bar_width + 19))
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The remark on the rest of the line, or on a line of its own if there is not enough room.
fn remark(lane: &Lane, paint: Paint, used: usize) -> String {
    let room = paint.width().saturating_sub(used + 1);
    let text = lane.remark.split_whitespace().collect::<Vec<_>>().join(" ");
    if console::measure_text_width(&text) <= room || room >= 30 {
        return paint.dim(console::truncate_str(&text, room.max(12), "…"));
    }
    let room = paint.width().saturating_sub(6);
    format!("\n    {}", paint.dim(console::truncate_str(&text, room, "…")))
}

/// A bar in eighths of a column; never quite empty.
fn bar(lane: &Lane, total: Duration, width: usize) -> String {
    let eighths = |part: Duration| {
        let share = if total.is_zero() { 0.0 } else { part.as_secs_f64() / total.as_secs_f64() };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a few hundred at most")]
        let columns = (share * width as f64 * 8.0).round() as usize;
        columns.min(width * 8)
    };
    // The left edge stands on a whole column, since there is no block that fills the right part of one.
    let left = (eighths(lane.begin) / 8).min(width - 1);
    let right = eighths(lane.begin + lane.length.unwrap_or_default()).max(left * 8 + 1);
    let (full, rest) = ((right - left * 8) / 8, (right - left * 8) % 8);
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][rest];
    let drawn = full + usize::from(rest > 0);
    format!("{}{}{part}{}", " ".repeat(left), "█".repeat(full), " ".repeat(width.saturating_sub(left + drawn)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(name: &str, state: State, begin: u64, length: Option<u64>) -> Lane {
        let millis = Duration::from_millis;
        Lane { name: name.to_owned(), state, begin: millis(begin), length: length.map(millis), remark: String::new() }
    }

    #[test]
    fn bars_are_placed_and_sized_by_time() {
        let lanes = [
            lane("reserve", State::Completed, 0, Some(50)),
            lane("charge", State::Failed, 50, Some(50)),
            lane("ship", State::NotRun, 0, None),
        ];
        let text = render(&lanes, Paint::new(false, 67));
        assert_eq!(text, "  ✔ reserve  █████           50 ms\n  ✖ charge        █████      50 ms\n  · ship");
    }

    #[test]
    fn a_bar_is_never_empty_and_never_too_long() {
        for (begin, length) in [(0, 0), (99, 1), (100, 0), (0, 100)] {
            let drawn = bar(&lane("x", State::Completed, begin, Some(length)), Duration::from_millis(100), 10);
            assert_eq!(drawn.chars().count(), 10, "{begin} {length} {drawn:?}");
            assert!(!drawn.trim().is_empty());
        }
        assert_eq!(bar(&lane("x", State::Completed, 0, Some(0)), Duration::ZERO, 10).chars().count(), 10);
    }
}
