//! Appending one group.

use std::time::Instant;

use replay_core::{Error, ErrorKind, Result};

use super::{Job, give_up, statement};
use crate::{
    append::{Rest, Unit, rest},
    store::Shared,
};

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
        Ok(()) => {}
        // One part must not take the others with it.
        Err(error) if is_of_one(&error) && parts.len() > 1 => {
            for part in &mut parts {
                if let Err(error) = together(shared, std::slice::from_mut(part)).await {
                    give_up(std::iter::once(&mut **part), &error);
                }
            }
        }
        Err(error) => give_up(parts.iter_mut().map(|part| &mut **part), &error),
    }
    for part in parts {
        if part.1.is_none() {
            part.1 = Some(alone(shared, &part.0).await);
        }
    }
}

/// Whether an error is about what was sent, not about the server or the way to it.
fn is_of_one(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::StoreFull | ErrorKind::PermissionDenied)
}

/// Tries all parts in one statement; those that did not win keep no outcome.
async fn together(shared: &Shared, parts: &mut [Part<'_>]) -> Result<()> {
    let units: Vec<&Unit> = parts.iter().map(|part| &part.0).filter(|unit| unit.is_chain()).collect();
    if units.is_empty() {
        return Ok(());
    }
    let won = statement::append(shared, &units).await?;
    for part in parts {
        if won.contains(part.0.saga()) && part.0.is_chain() {
            part.1 = Some(Ok(()));
        }
    }
    Ok(())
}

/// Appends a unit that did not win, or says why it cannot be. Others may append to its saga meanwhile, so it may take several looks.
async fn alone(shared: &Shared, unit: &Unit) -> Result<()> {
    let began = Instant::now();
    loop {
        let left = match rest(unit, &statement::look(shared, unit).await?) {
            Rest::Nothing => return Ok(()),
            Rest::Conflict(conflict) => return Err(conflict),
            Rest::Records(records) => Unit { records },
        };
        if !statement::append(shared, &[&left]).await?.is_empty() {
            return Ok(());
        }
        if began.elapsed() > shared.pool.response_limit() {
            return Err(Error::new(ErrorKind::Unavailable, "append")
                .message("others append to the saga without end")
                .hint("try again")
                .with("saga", unit.saga()));
        }
    }
}
