//! Appending one group.

use std::time::Instant;

use replay_core::{Error, ErrorKind, Result, Retry};

use super::{Job, give_up, statement};
use crate::{append::Unit, error::ambiguous, store::Shared};

type Part<'a> = &'a mut (Unit, Option<Result<()>>);

/// Appends what the jobs ask for and notes what became of each part.
pub(super) async fn run_group(shared: &Shared, jobs: &mut [Job]) {
    let open =
        |jobs: &mut [Job]| -> Vec<usize> { jobs.iter().map(|job| job.parts.iter().filter(|part| part.1.is_none()).count()).collect() };
    debug_assert!(open(jobs).iter().any(|open| *open > 0) || jobs.is_empty());
    let mut parts: Vec<Part<'_>> = jobs.iter_mut().flat_map(|job| job.parts.iter_mut()).filter(|part| part.1.is_none()).collect();
    // In one order everywhere, so that no two statements wait for each other in a circle.
    parts.sort_unstable_by(|a, b| a.0.saga().cmp(b.0.saga()));
    match together(shared, &mut parts).await {
        Ok(is_unknown) => finish(shared, &mut parts, is_unknown).await,
        // One part must not take the others with it.
        Err(error) if is_of_one(&error) && parts.len() > 1 => {
            let was_unknown = error.retry_advice() == Retry::Ambiguous;
            for part in &mut parts {
                let part = std::slice::from_mut(part);
                match ambiguous(together(shared, part).await, was_unknown) {
                    Ok(is_unknown) => finish(shared, part, was_unknown || is_unknown).await,
                    Err(error) => give_up(part.iter_mut().map(|part| &mut **part), &error),
                }
            }
        }
        Err(error) => give_up(parts.iter_mut().map(|part| &mut **part), &error),
    }
}

/// Appends the parts that did not win, each alone.
async fn finish(shared: &Shared, parts: &mut [Part<'_>], is_unknown: bool) {
    for part in parts {
        if part.1.is_none() {
            part.1 = Some(alone(shared, &part.0, is_unknown).await);
        }
    }
}

/// Whether an error is about what was sent, not about the server or the way to it.
fn is_of_one(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::StoreFull | ErrorKind::PermissionDenied)
}

/// Tries all parts in one statement; those that did not win keep no outcome. Says whether an attempt whose answer was lost may have
/// stored some of these.
async fn together(shared: &Shared, parts: &mut [Part<'_>]) -> Result<bool> {
    let units: Vec<&Unit> = parts.iter().map(|part| &part.0).filter(|unit| unit.is_chain()).collect();
    if units.is_empty() {
        return Ok(false);
    }
    let won = statement::append(shared, &units).await?;
    for part in parts {
        if won.sagas.contains(part.0.saga()) && part.0.is_chain() {
            part.1 = Some(Ok(()));
        }
    }
    Ok(won.is_unknown)
}

/// Appends a unit that did not win, or says why it cannot be. Others may append to its saga meanwhile, so it may take several looks.
/// As long as it `is_unknown` whether an earlier attempt stored it, only what a look finds is certain.
async fn alone(shared: &Shared, unit: &Unit, mut is_unknown: bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let stored = ambiguous(statement::look(shared, unit).await, is_unknown)?;
        let left = Unit { records: stored.rest(unit)? };
        if left.records.is_empty() {
            return Ok(());
        }
        let won = ambiguous(statement::append(shared, &[&left]).await, is_unknown)?;
        if !won.sagas.is_empty() {
            return Ok(());
        }
        is_unknown |= won.is_unknown;
        if began.elapsed() > shared.pool.response_limit() {
            let error = Error::new(ErrorKind::Unavailable, "append")
                .message("others append to the saga without end")
                .hint("try again")
                .with("saga", unit.saga());
            return ambiguous(Err(error), is_unknown);
        }
    }
}
