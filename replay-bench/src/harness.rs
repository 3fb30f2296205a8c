//! Rounds, medians and the places where databases are made.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{Outcome, options::Options, report::Row};

/// What all rows share.
pub(crate) struct Bench {
    smoke: bool,
    only: Option<String>,
    rounds: usize,
    dir: TempDir,
    files: usize,
    rows: Vec<Row>,
}

impl Bench {
    pub(crate) fn new(options: &Options) -> Outcome<Self> {
        let beside = std::env::current_exe()?;
        let parent = options.dir.as_deref().or(beside.parent()).unwrap_or(Path::new("."));
        Ok(Self {
            smoke: options.smoke,
            only: options.only.clone(),
            rounds: if options.smoke { 1 } else { options.rounds.max(1) },
            dir: TempDir::with_prefix_in("bench-", parent)?,
            files: 0,
            rows: Vec::new(),
        })
    }

    /// Whether any of these rows is asked for.
    pub(crate) fn wants(&self, names: &[&str]) -> bool {
        self.only.as_ref().is_none_or(|only| names.iter().any(|name| name.contains(only.as_str())))
    }

    /// `full`, or `tiny` if nothing but the working is to be proven.
    pub(crate) fn count(&self, full: usize, tiny: usize) -> usize {
        if self.smoke { tiny } else { full }
    }

    /// The path of a new database.
    pub(crate) fn new_file(&mut self) -> PathBuf {
        self.files += 1;
        self.dir.path().join(format!("{}.db", self.files))
    }

    /// Measures figure and floor in turn; the first round only warms up.
    pub(crate) fn rounds(
        &self,
        mut figure: impl FnMut() -> Outcome<f64>,
        mut floor: impl FnMut() -> Outcome<f64>,
    ) -> Outcome<(Samples, Samples)> {
        let (mut figures, mut floors) = (Vec::new(), Vec::new());
        for round in 0..=self.rounds {
            let pair = (figure()?, floor()?);
            if round > 0 || self.smoke {
                figures.push(pair.0);
                floors.push(pair.1);
            }
        }
        Ok((Samples(figures), Samples(floors)))
    }

    /// Takes a row that is asked for, and shows it at once, since others may take a while.
    pub(crate) fn push(&mut self, mut row: Row) {
        if self.wants(&[&row.name]) {
            if self.smoke {
                row.verdict = row.verdict.in_smoke();
            }
            println!("{}", crate::table::line(&row));
            self.rows.push(row);
        }
    }

    pub(crate) fn into_rows(self) -> Vec<Row> {
        self.rows
    }
}

/// What was measured, one value a round.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Samples(pub(crate) Vec<f64>);

impl Samples {
    pub(crate) fn median(&self) -> f64 {
        median(&self.0)
    }

    /// The largest if more is better, else the smallest.
    pub(crate) fn best(&self, more_is_better: bool) -> f64 {
        let pick = if more_is_better { f64::max } else { f64::min };
        self.0.iter().copied().reduce(pick).unwrap_or(f64::NAN)
    }

    /// Half the distance between the smallest and the largest, in percent of the median.
    pub(crate) fn spread(&self) -> f64 {
        let (min, max) = self.0.iter().fold((f64::MAX, f64::MIN), |(min, max), value| (min.min(*value), max.max(*value)));
        if max > min { (max - min) / 2.0 / self.median() * 100.0 } else { 0.0 }
    }

    /// The median of the ratios within each round, so that what disturbs a whole round cancels out.
    pub(crate) fn ratio(&self, floor: &Self) -> f64 {
        median(&self.0.iter().zip(&floor.0).map(|(figure, floor)| figure / floor).collect::<Vec<_>>())
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

/// A runtime with a thread per core, as a service has it.
pub(crate) fn threads() -> Outcome<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// A runtime on one core.
pub(crate) fn one_core() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
pub(crate) fn number(count: usize) -> f64 {
    count as f64
}

/// Microseconds per item.
pub(crate) fn micros_each(took: Duration, items: usize) -> f64 {
    took.as_secs_f64() * 1e6 / number(items)
}

/// Items per second.
pub(crate) fn per_second(took: Duration, items: usize) -> f64 {
    number(items) / took.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_ratio_is_taken_within_rounds() {
        let figure = Samples(vec![2.0, 40.0, 6.0]);
        let floor = Samples(vec![1.0, 20.0, 2.0]);
        assert!((figure.median() - 6.0).abs() < 1e-9);
        assert!((figure.ratio(&floor) - 2.0).abs() < 1e-9);
        assert!((Samples(vec![1.0, 3.0]).median() - 2.0).abs() < 1e-9);
        assert!((figure.best(false) - 2.0).abs() < 1e-9 && (figure.best(true) - 40.0).abs() < 1e-9);
        assert!((Samples(vec![9.0, 10.0, 11.0]).spread() - 10.0).abs() < 1e-9);
    }
}
