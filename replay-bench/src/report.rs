//! What was measured, and how it compares with what is to be reached.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Outcome, harness::Samples, machine::Machine};

/// Everything of one run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Whether the counts were so small that the figures mean nothing.
    pub(crate) smoke: bool,
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
}

/// One figure beside its floor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Stable, such as `sqlite-full/step-alone`.
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) unit: String,
    pub(crate) more_is_better: bool,
    pub(crate) figure: Option<Measured>,
    pub(crate) floor: Option<Measured>,
    /// What the floor is.
    pub(crate) floor_is: Option<String>,
    pub(crate) ratio: Option<f64>,
    pub(crate) must: Option<f64>,
    pub(crate) aim: Option<f64>,
    pub(crate) ratio_must: Option<f64>,
    pub(crate) verdict: Verdict,
    pub(crate) note: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) median: f64,
    /// Of all rounds: what the machine can do when nothing else runs on it.
    pub(crate) best: f64,
    /// Half the distance between the smallest and the largest, in percent of the median.
    pub(crate) spread_percent: f64,
    pub(crate) rounds: usize,
}

impl Measured {
    fn of(samples: &Samples, more_is_better: bool) -> Self {
        Self { median: samples.median(), best: samples.best(more_is_better), spread_percent: samples.spread(), rounds: samples.0.len() }
    }
}

/// How a row stands, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// The aim and every must are reached.
    AimReached,
    /// Every must is reached.
    Ok,
    /// Nothing is to be reached.
    NoTarget,
    /// It was run with tiny counts.
    Works,
    NotMeasured,
    MustMissed,
}

impl Verdict {
    /// What is left of it if the counts were tiny.
    pub(crate) fn in_smoke(self) -> Self {
        if self == Self::NotMeasured { self } else { Self::Works }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::AimReached => "aim reached",
            Self::Ok => "ok",
            Self::NoTarget => "no target",
            Self::Works => "works",
            Self::NotMeasured => "not measured",
            Self::MustMissed => "must missed",
        }
    }
}

impl Row {
    /// A row of a time, a size or a count: less is better.
    pub(crate) fn less(name: &str, what: &str, unit: &str) -> Self {
        Self {
            name: name.to_owned(),
            what: what.to_owned(),
            unit: unit.to_owned(),
            more_is_better: false,
            figure: None,
            floor: None,
            floor_is: None,
            ratio: None,
            must: None,
            aim: None,
            ratio_must: None,
            verdict: Verdict::NotMeasured,
            note: None,
        }
    }

    /// A row of a throughput: more is better.
    pub(crate) fn more(name: &str, what: &str, unit: &str) -> Self {
        Self { more_is_better: true, ..Self::less(name, what, unit) }
    }

    pub(crate) fn must(mut self, must: f64) -> Self {
        self.must = Some(must);
        self
    }

    pub(crate) fn aim(mut self, aim: f64) -> Self {
        self.aim = Some(aim);
        self
    }

    pub(crate) fn ratio_must(mut self, ratio: f64) -> Self {
        self.ratio_must = Some(ratio);
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Takes what was measured, and judges it.
    pub(crate) fn measured(mut self, (figure, floor): &(Samples, Samples), floor_is: &str) -> Self {
        self.floor = Some(Measured::of(floor, self.more_is_better));
        self.floor_is = Some(floor_is.to_owned());
        // A floor of nothing has no ratio.
        self.ratio = Some(figure.ratio(floor)).filter(|ratio| ratio.is_finite());
        self.figure = Some(Measured::of(figure, self.more_is_better));
        self.verdict = self.judge();
        self
    }

    fn judge(&self) -> Verdict {
        let Some(figure) = self.figure else { return Verdict::NotMeasured };
        let reaches = |value: f64, bound: f64| if self.more_is_better { value >= bound } else { value <= bound };
        let ratio_holds = self.ratio_must.zip(self.ratio).is_none_or(|(bound, ratio)| reaches(ratio, bound));
        if !ratio_holds || self.must.is_some_and(|must| !reaches(figure.median, must)) {
            return Verdict::MustMissed;
        }
        match self.aim {
            Some(aim) if reaches(figure.median, aim) => Verdict::AimReached,
            None if self.must.is_none() && self.ratio_must.is_none() => Verdict::NoTarget,
            _ => Verdict::Ok,
        }
    }
}

impl Report {
    pub(crate) fn new(rows: Vec<Row>, smoke: bool) -> Self {
        Self { smoke, machine: Machine::here(), rows }
    }

    pub(crate) fn misses_a_must(&self) -> bool {
        !self.smoke && self.rows.iter().any(|row| row.verdict == Verdict::MustMissed)
    }

    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let text = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        Ok(serde_json::from_slice(&text).map_err(|error| format!("{} is no result of a benchmark: {error}", path.display()))?)
    }

    pub(crate) fn write(&self, path: &Path) -> Outcome {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(std::fs::write(path, text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(row: Row, figure: f64, floor: f64) -> Verdict {
        row.measured(&(Samples(vec![figure]), Samples(vec![floor])), "a loop").verdict
    }

    #[test]
    fn a_row_is_judged_by_its_worst_target() {
        let time = || Row::less("a/b", "a step", "µs").must(10.0).aim(3.0).ratio_must(2.0);
        assert_eq!(judged(time(), 2.0, 1.0), Verdict::AimReached);
        assert_eq!(judged(time(), 5.0, 4.0), Verdict::Ok);
        assert_eq!(judged(time(), 2.0, 0.5), Verdict::MustMissed);
        assert_eq!(judged(time(), 11.0, 9.0), Verdict::MustMissed);
        let rate = || Row::more("a/c", "steps", "steps/s").must(10.0).aim(20.0);
        assert_eq!(judged(rate(), 9.0, 9.0), Verdict::MustMissed);
        assert_eq!(judged(rate(), 20.0, 9.0), Verdict::AimReached);
        assert_eq!(judged(Row::less("a/d", "", ""), 1.0, 1.0), Verdict::NoTarget);
        assert_eq!(Row::less("a/e", "", "").verdict, Verdict::NotMeasured);
    }

    #[test]
    fn a_report_is_read_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench/latest.json");
        let report = Report::new(vec![Row::less("a/b", "a step", "µs").must(1.0)], true);
        report.write(&path).unwrap();
        let back = Report::read(&path).unwrap();
        assert_eq!((back.rows.len(), back.rows[0].name.as_str(), back.rows[0].verdict), (1, "a/b", Verdict::NotMeasured));
    }
}
