//! How often the disk is waited for: counted by strace, in a process of its own.

use std::{ffi::OsString, path::Path, process::Command};

use super::url;
use crate::{
    Outcome,
    floor::sqlite::Sync,
    harness::{Bench, Samples, number},
    job::STEPS,
    report::Row,
};

pub(crate) fn measure(bench: &mut Bench) -> Outcome {
    // A saga of 10 steps is 11 records, and a checkpoint of the log adds a sync now and then.
    let alone = Row::less("sqlite-full/syncs-alone", "syncs per record, a saga alone", "syncs").must(1.05).aim(1.05);
    count(bench, alone, 1, STEPS + 1, bench.count(50, 1))?;
    let many = Row::less("sqlite-full/syncs-at-64", "syncs per step, 64 sagas at once", "syncs").must(0.1).aim(0.1);
    count(bench, many, 64, STEPS, bench.count(8, 1))
}

/// Counts the syncs of some sagas and of twice as many: the difference is what sagas cost.
fn count(bench: &mut Bench, row: Row, at_once: usize, per_saga: usize, each: usize) -> Outcome {
    if !bench.wants(&[&row.name]) {
        return Ok(());
    }
    if !can_trace() {
        bench.push(row.note("strace is not installed or may not be used here"));
        return Ok(());
    }
    let mut difference = |role: &dyn Fn(&Path, usize) -> Vec<OsString>| -> Outcome<f64> {
        let mut syncs = |each: usize| traced(&role(&bench.new_file(), each));
        Ok((syncs(2 * each)? - syncs(each)?) / number(at_once * each * per_saga))
    };
    let figure = difference(&|path, each| args(&["load", &url(path, Sync::Full), &at_once.to_string(), &each.to_string()]))?;
    let floor = difference(&|path, each| args(&["bare-load", &path.to_string_lossy(), &at_once.to_string(), &each.to_string()]))?;
    let measured = (Samples(vec![figure]), Samples(vec![floor]));
    bench.push(row.measured(&measured, "a bare loop that commits the same records in groups of as many, counted alike"));
    Ok(())
}

fn args(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn can_trace() -> bool {
    Command::new("strace").args(["-f", "-c", "-o", "/dev/null", "true"]).output().is_ok_and(|output| output.status.success())
}

/// How many syncs a child makes.
fn traced(role: &[OsString]) -> Outcome<f64> {
    let log = tempfile::NamedTempFile::new()?;
    let output = Command::new("strace")
        .args(["-f", "-c", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o"])
        .arg(log.path())
        .arg(std::env::current_exe()?)
        .arg("child")
        .args(role)
        .output()?;
    if !output.status.success() {
        return Err(format!("the traced child ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(calls(&std::fs::read_to_string(log.path())?))
}

/// The sum of the calls in strace's table; a row is: percent, seconds, µs per call, calls, perhaps errors, name.
fn calls(table: &str) -> f64 {
    let rows = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let syncs = rows.filter(|row| matches!(row.last(), Some(&("fsync" | "fdatasync"))));
    syncs.filter_map(|row| row.get(3)?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_both_syncs_are_summed() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n \
                     97.00    0.001000         100        10           fdatasync\n  \
                     3.00    0.000100         100         2         1 fsync\n\
                     100.00    0.001100                    12           total\n";
        assert!((calls(table) - 12.0).abs() < 1e-9);
    }
}
