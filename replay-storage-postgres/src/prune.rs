//! Removing records, a few in a statement, so that writers never wait for long.
//!
//! What is to go is looked up first and removed by short statements, each of which checks again that nothing was appended that
//! changes the answer, and leaves alone what others hold.

use std::sync::Arc;

use replay_core::{
    Error, Result, SagaId, SnapshotId,
    storage::{PruneReport, PruneRequest, PruneScope},
};
use sqlx::postgres::PgRow;

use crate::{
    error::{Access, damaged},
    row::column,
    sql::{Args, instant},
    store::Shared,
};

const OPERATION: &str = "prune";

/// At most so many rows are removed by a statement: a few milliseconds.
const CHUNK: u64 = 512;

/// So many sagas are looked at at once for what they have beyond the newest.
const SAGAS: i64 = 1024;

/// A record that may go, and what it weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Doomed {
    saga_no: i64,
    sequence: i64,
    /// When it expired; none where that is not asked.
    expired: Option<chrono::DateTime<chrono::Utc>>,
    bytes: u64,
}

/// Newest records go after all others, and only if they are the last of their saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Older,
    Newest,
}

/// Where a search stands.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The record that was found last.
    after: Option<Doomed>,
    /// The saga up to which all were looked at.
    saga_no: i64,
}

pub(crate) async fn prune(shared: &Arc<Shared>, request: PruneRequest) -> Result<PruneReport> {
    let PruneRequest { scope, limit, dry_run, .. } = request;
    // What keeps a running saga short is in the path of its steps.
    let in_passing = matches!(scope, PruneScope::KeepNewest { saga_id: Some(_), .. } | PruneScope::Record(_));
    if !dry_run && !in_passing {
        // A process that died may have left some.
        sweep(shared).await?;
    }
    if let PruneScope::Saga(saga) = scope {
        return remove_saga(shared, &saga, dry_run).await;
    }
    let mut report = PruneReport::default();
    for pass in [Pass::Older, Pass::Newest] {
        let mut place = Some(Place::default());
        while let Some(here) = place {
            let left = limit - report.records;
            // One more than may go says whether there is more.
            let wanted = left.saturating_add(1).min(CHUNK);
            let (mut found, next) = find(shared, &scope, pass, here, wanted).await?;
            place = next;
            if found.len() as u64 > left {
                report.more = true;
                found.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            }
            let removed = if dry_run { found } else { remove(shared, found, pass).await? };
            report.records += removed.len() as u64;
            report.bytes += removed.iter().map(|doomed| doomed.bytes).sum::<u64>();
            report.sagas += if pass == Pass::Newest { removed.len() as u64 } else { 0 };
            if report.more {
                return Ok(report);
            }
        }
    }
    Ok(report)
}

/// The next records within the scope, oldest first, and where to go on; none = there are no more.
async fn find(shared: &Shared, scope: &PruneScope, pass: Pass, place: Place, wanted: u64) -> Result<(Vec<Doomed>, Option<Place>)> {
    let found = match scope {
        PruneScope::Expired { now } => find_expired(shared, instant(*now), pass, place, wanted).await?,
        PruneScope::KeepNewest { .. } if pass == Pass::Newest => return Ok((Vec::new(), None)),
        PruneScope::KeepNewest { saga_id, keep } => return find_surplus(shared, saga_id.as_ref(), *keep, place, wanted).await,
        PruneScope::Record(id) => return Ok((find_one(shared, id, pass).await?, None)),
        other => return Err(Error::unsupported(OPERATION, format!("the scope {other:?} is not known to this version"))),
    };
    let is_full = found.len() as u64 == wanted;
    let next = Place { after: found.last().copied(), ..place };
    Ok((found, is_full.then_some(next)))
}

fn count(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn read(rows: &[PgRow]) -> Result<Vec<Doomed>> {
    let read = |row: &PgRow| {
        Ok(Doomed {
            saga_no: column(row, 0, OPERATION)?,
            sequence: column(row, 1, OPERATION)?,
            expired: column(row, 2, OPERATION)?,
            bytes: number(row, 3)?,
        })
    };
    rows.iter().map(read).collect()
}

fn number(row: &PgRow, at: usize) -> Result<u64> {
    u64::try_from(column::<i64>(row, at, OPERATION)?).map_err(|_| damaged(OPERATION, "a length is negative"))
}

async fn find_expired(shared: &Shared, now: chrono::DateTime<chrono::Utc>, pass: Pass, place: Place, wanted: u64) -> Result<Vec<Doomed>> {
    let sql = match pass {
        Pass::Older => &shared.sql.expired_older,
        Pass::Newest => &shared.sql.expired_newest,
    };
    let (saga_no, sequence) = place.after.map_or((0, 0), |last| (last.saga_no, last.sequence));
    let expired = place.after.and_then(|last| last.expired).unwrap_or(instant(chrono::DateTime::<chrono::Utc>::MIN_UTC));
    let args = || shared.args().with(now).with(expired).with(saga_no).with(sequence).with(count(wanted));
    read(&shared.read(OPERATION, sql, args).await?)
}

async fn find_surplus(
    shared: &Shared,
    saga: Option<&SagaId>,
    keep: u64,
    place: Place,
    wanted: u64,
) -> Result<(Vec<Doomed>, Option<Place>)> {
    // A saga has at most as many records as its newest sequence says, so most are passed over with a look at the head.
    let keep = count(keep.max(1));
    let args = || shared.args().with(saga.map(SagaId::as_str)).with(keep).with(place.saga_no).with(SAGAS);
    let rows = shared.read(OPERATION, &shared.sql.long_sagas, args).await?;
    let sagas: Vec<i64> = rows.iter().map(|row| column(row, 0, OPERATION)).collect::<Result<_>>()?;
    let Some(last) = sagas.last().copied() else { return Ok((Vec::new(), None)) };
    let (saga_no, sequence) = place.after.map_or((0, 0), |last| (last.saga_no, last.sequence));
    let args = || Args::new().with(&sagas[..]).with(keep).with(saga_no).with(sequence).with(count(wanted));
    let found = read(&shared.read(OPERATION, &shared.sql.surplus, args).await?)?;
    let next = if found.len() as u64 == wanted {
        Some(Place { after: found.last().copied(), ..place })
    } else {
        let is_full = i64::try_from(sagas.len()) == Ok(SAGAS);
        is_full.then_some(Place { after: None, saga_no: last })
    };
    Ok((found, next))
}

async fn find_one(shared: &Shared, id: &SnapshotId, pass: Pass) -> Result<Vec<Doomed>> {
    let Ok(sequence) = i64::try_from(id.sequence) else { return Ok(Vec::new()) };
    let sql = match pass {
        Pass::Older => &shared.sql.one_older,
        Pass::Newest => &shared.sql.one_newest,
    };
    read(&shared.read(OPERATION, sql, || shared.args().with(id.saga_id.as_str()).with(sequence)).await?)
}

/// Removes what may still go of `found`, and gives that.
async fn remove(shared: &Shared, found: Vec<Doomed>, pass: Pass) -> Result<Vec<Doomed>> {
    if found.is_empty() {
        return Ok(found);
    }
    let (sagas, sequences): (Vec<i64>, Vec<i64>) = found.iter().map(|doomed| (doomed.saga_no, doomed.sequence)).unzip();
    let sql = match pass {
        Pass::Older => &shared.sql.remove_older,
        Pass::Newest => &shared.sql.remove_newest,
    };
    let args = || Args::new().with(&sagas[..]).with(&sequences[..]);
    let rows = shared.write(OPERATION, Access::Once, sql, args).await?;
    let gone: std::collections::HashSet<(i64, i64)> =
        rows.iter().map(|row| Ok((column(row, 0, OPERATION)?, column(row, 1, OPERATION)?))).collect::<Result<_>>()?;
    Ok(found.into_iter().filter(|doomed| gone.contains(&(doomed.saga_no, doomed.sequence))).collect())
}

async fn remove_saga(shared: &Arc<Shared>, saga: &SagaId, dry_run: bool) -> Result<PruneReport> {
    let args = || shared.args().with(saga.as_str());
    let rows = shared.read(OPERATION, &shared.sql.weigh_saga, args).await?;
    let mut report = PruneReport::default();
    let Some(row) = rows.first() else { return Ok(report) };
    (report.records, report.bytes, report.sagas) = (number(row, 0)?, number(row, 1)?, 1);
    if dry_run {
        return Ok(report);
    }
    // The saga is gone at once; its rows follow a few at a time.
    let gone = shared.write(OPERATION, Access::Once, &shared.sql.remove_saga, args).await?;
    if gone.is_empty() {
        return Ok(PruneReport::default());
    }
    // What is left over is swept by the next prune.
    let _ = sweep(shared).await;
    Ok(report)
}

/// Removes the rows of what was discarded, a few in a statement.
pub(crate) async fn sweep(shared: &Shared) -> Result<()> {
    let mut after = (-1_i16, 0_i64);
    loop {
        let args = || Args::new().with(after.0).with(after.1);
        let rows = shared.read(OPERATION, &shared.sql.garbage, args).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (kind, of): (i16, i64) = (column(row, 0, OPERATION)?, column(row, 1, OPERATION)?);
        let sql = if kind == 0 { &shared.sql.sweep_saga } else { &shared.sql.sweep_log };
        let args = || Args::new().with(of).with(count(CHUNK));
        while shared.write(OPERATION, Access::Repeatable, sql, args).await?.len() as u64 == CHUNK {}
        let args = || Args::new().with(kind).with(of);
        shared.write(OPERATION, Access::Repeatable, &shared.sql.forget, args).await?;
        after = (kind, of);
    }
}
