//! Removing records, a few in a transaction, so that writers never wait for long.
//!
//! What is to go is looked up on a reading connection and removed by short transactions, each of which checks again that
//! nothing was appended that changes the answer.

use std::sync::Arc;

use replay_core::{
    Error, Result,
    storage::{PruneReport, PruneRequest, PruneScope},
};
use rusqlite::{Connection, OptionalExtension, named_params};

use crate::{
    error::during,
    frames,
    head::{NEWEST, delete_labels},
    row::{self, RecordRow},
    store::Shared,
    writer::Session,
};

const OPERATION: &str = "prune";

/// At most so many rows are removed in a transaction: a few milliseconds.
const CHUNK: u64 = 256;

/// A record that may go, and what it weighs.
#[derive(Debug, Clone, Copy)]
struct Doomed {
    record_no: i64,
    saga_no: i64,
    sequence: i64,
    /// When it expired; 0 where that is not asked.
    expired: i64,
    bytes: u64,
}

/// Newest records go after all others, and only if they are the last of their saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Older,
    Newest,
}

/// The newest checkpoint of a saga that has not ended stays. Codes of the statuses that end: completed, rolled back, failed.
const ENDED: &str = "s.status IN (2, 4, 5)";
const NOT_NEWEST_CHECKPOINT: &str = "r.sequence <> coalesce((SELECT c.sequence FROM records AS c INDEXED BY records_by_saga
    WHERE c.saga_no = r.saga_no AND c.next_key IS NOT NULL ORDER BY c.sequence DESC LIMIT 1), 0)";

pub(crate) async fn prune(shared: &Arc<Shared>, request: PruneRequest) -> Result<PruneReport> {
    let PruneRequest { scope, limit, dry_run, .. } = request;
    // What keeps a running saga short is in the path of its steps.
    let in_passing = matches!(scope, PruneScope::KeepNewest { saga_id: Some(_), .. } | PruneScope::Record(_));
    if !dry_run && !in_passing {
        // A process that died may have left some.
        sweep(shared).await?;
    }
    if let PruneScope::Saga(saga) = scope {
        return remove_saga(shared, saga.as_str().to_owned(), dry_run).await;
    }
    let mut report = PruneReport::default();
    for pass in [Pass::Older, Pass::Newest] {
        let mut after = None;
        loop {
            let left = limit - report.records;
            // One more than may go says whether there is more.
            let wanted = left.saturating_add(1).min(CHUNK);
            let mut found = find(shared, scope.clone(), pass, after, wanted).await?;
            after = found.last().copied();
            let is_end = (found.len() as u64) < wanted;
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
            if is_end {
                break;
            }
        }
    }
    Ok(report)
}

/// The next records within the scope, oldest first.
async fn find(shared: &Arc<Shared>, scope: PruneScope, pass: Pass, after: Option<Doomed>, wanted: u64) -> Result<Vec<Doomed>> {
    let held = shared.clone();
    shared
        .readers()
        .read(OPERATION, move |connection| {
            let failed = during(OPERATION);
            match &scope {
                PruneScope::Expired { now } => {
                    find_expired(connection, held.namespace(), now.timestamp_micros(), (pass, after), wanted).map_err(failed)
                }
                PruneScope::KeepNewest { saga_id, keep } => {
                    let saga = saga_id.as_ref().map(replay_core::SagaId::as_str);
                    match pass {
                        Pass::Older => find_surplus(connection, held.namespace(), (saga, *keep), after, wanted).map_err(failed),
                        Pass::Newest => Ok(Vec::new()),
                    }
                }
                PruneScope::Record(id) => {
                    find_one(connection, held.namespace(), (id.saga_id.as_str(), id.sequence), (pass, after)).map_err(failed)
                }
                other => Err(Error::unsupported(OPERATION, format!("the scope {other:?} is not known to this version"))),
            }
        })
        .await
}

const DOOMED: &str = "r.record_no, r.saga_no, r.sequence, coalesce(r.retention_until, 0), length(r.header) + octet_length(r.context)";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Doomed> {
    Ok(Doomed { record_no: row.get(0)?, saga_no: row.get(1)?, sequence: row.get(2)?, expired: row.get(3)?, bytes: row.get(4)? })
}

/// What decides in each pass, of the record `r` and the saga `s`, where `others` says which other records live on.
fn allowed(pass: Pass, others: &str) -> String {
    match pass {
        Pass::Older => format!("r.sequence < {NEWEST} AND ({ENDED} OR {NOT_NEWEST_CHECKPOINT})"),
        Pass::Newest => format!(
            "r.sequence = {NEWEST} AND {ENDED}
             AND NOT EXISTS (SELECT 1 FROM records AS o WHERE o.saga_no = r.saga_no AND o.sequence < r.sequence AND {others})"
        ),
    }
}

fn find_expired(
    connection: &Connection,
    namespace: &str,
    now: i64,
    (pass, after): (Pass, Option<Doomed>),
    wanted: u64,
) -> rusqlite::Result<Vec<Doomed>> {
    let allowed = allowed(pass, "(o.retention_until IS NULL OR o.retention_until > :now)");
    let sql = format!(
        "SELECT {DOOMED} FROM records AS r INDEXED BY records_by_retention
         CROSS JOIN sagas AS s ON s.saga_no = r.saga_no
         WHERE r.retention_until <= :now AND s.namespace = :namespace
           AND (r.retention_until, r.saga_no, r.sequence) > (:expired, :saga_no, :sequence) AND {allowed}
         ORDER BY r.retention_until, r.saga_no, r.sequence LIMIT :wanted"
    );
    let (expired, saga_no, sequence) = after.map_or((i64::MIN, 0, 0), |last| (last.expired, last.saga_no, last.sequence));
    connection
        .prepare_cached(&sql)?
        .query_map(
            named_params! {
                ":namespace": namespace, ":now": now, ":expired": expired, ":saga_no": saga_no, ":sequence": sequence, ":wanted": wanted,
            },
            read,
        )?
        .collect()
}

fn find_surplus(
    connection: &Connection,
    namespace: &str,
    (saga, keep): (Option<&str>, u64),
    after: Option<Doomed>,
    wanted: u64,
) -> rusqlite::Result<Vec<Doomed>> {
    let allowed = allowed(Pass::Older, "");
    let which = match saga {
        Some(_) => "s.saga_id = :saga",
        None => ":saga IS NULL AND s.saga_no >= :saga_no",
    };
    // A saga has at most as many records as its newest sequence says, so most are passed over with one look into the index.
    let sql = format!(
        "SELECT {DOOMED} FROM sagas AS s CROSS JOIN records AS r INDEXED BY records_by_saga ON r.saga_no = s.saga_no
         WHERE {which} AND {NEWEST} > :keep AND s.namespace = :namespace
           AND r.sequence < (SELECT k.sequence FROM records AS k INDEXED BY records_by_saga
               WHERE k.saga_no = s.saga_no ORDER BY k.sequence DESC LIMIT 1 OFFSET :keep - 1)
           AND (r.saga_no, r.sequence) > (:saga_no, :sequence) AND {allowed}
         ORDER BY s.saga_no, r.sequence LIMIT :wanted"
    );
    let keep = i64::try_from(keep.max(1)).unwrap_or(i64::MAX);
    let (saga_no, sequence) = after.map_or((0, 0), |last| (last.saga_no, last.sequence));
    connection
        .prepare_cached(&sql)?
        .query_map(
            named_params! {
                ":namespace": namespace, ":saga": saga, ":keep": keep, ":saga_no": saga_no, ":sequence": sequence, ":wanted": wanted,
            },
            read,
        )?
        .collect()
}

fn find_one(
    connection: &Connection,
    namespace: &str,
    (saga, sequence): (&str, u64),
    (pass, after): (Pass, Option<Doomed>),
) -> rusqlite::Result<Vec<Doomed>> {
    let (None, Ok(sequence)) = (after, i64::try_from(sequence)) else { return Ok(Vec::new()) };
    let allowed = allowed(pass, "TRUE");
    let sql = format!(
        "SELECT {DOOMED} FROM sagas AS s CROSS JOIN records AS r INDEXED BY records_by_saga ON r.saga_no = s.saga_no
         WHERE s.namespace = :namespace AND s.saga_id = :saga AND r.sequence = :sequence AND {allowed}"
    );
    connection
        .prepare_cached(&sql)?
        .query_map(named_params! { ":namespace": namespace, ":saga": saga, ":sequence": sequence }, read)?
        .collect()
}

/// Removes what may still go of `found`, and gives that.
async fn remove(shared: &Arc<Shared>, found: Vec<Doomed>, pass: Pass) -> Result<Vec<Doomed>> {
    if found.is_empty() {
        return Ok(found);
    }
    shared
        .write(OPERATION, move |shared, session| {
            let mut removed = Vec::with_capacity(found.len());
            for doomed in &found {
                if remove_record(session, shared.namespace(), doomed, pass)? {
                    removed.push(*doomed);
                }
            }
            Ok(removed)
        })
        .await
}

fn remove_record(session: &mut Session, namespace: &str, doomed: &Doomed, pass: Pass) -> Result<bool> {
    let failed = during(OPERATION);
    // The row's number may have been given again, the saga's and the sequence never are.
    let sql = format!(
        "SELECT 1 FROM records AS r CROSS JOIN sagas AS s ON s.saga_no = r.saga_no
         WHERE r.record_no = ?1 AND r.saga_no = ?2 AND r.sequence = ?3 AND {}",
        allowed(pass, "TRUE")
    );
    let may_go = session
        .connection()
        .prepare_cached(&sql)
        .and_then(|mut select| select.exists((doomed.record_no, doomed.saga_no, doomed.sequence)))
        .map_err(failed)?;
    if !may_go {
        return Ok(false);
    }
    if pass == Pass::Newest {
        unlink(session, namespace, doomed.saga_no)?;
    }
    let frame = session
        .connection()
        .prepare_cached("DELETE FROM records WHERE record_no = ?1 RETURNING frame_no")
        .and_then(|mut delete| delete.query_row([doomed.record_no], |row| row.get(0)))
        .map_err(failed)?;
    if let Some(frame) = frame {
        frames::release(session, doomed.saga_no, frame).map_err(failed)?;
    }
    Ok(true)
}

/// Takes a saga out of everything that it is found by. Its records stay behind.
fn unlink(session: &mut Session, namespace: &str, saga_no: i64) -> Result<()> {
    let failed = during(OPERATION);
    let connection = session.connection();
    let found = connection
        .prepare_cached(&format!(
            "SELECT s.saga_id, s.started_at, {} FROM sagas AS s
             CROSS JOIN records AS r ON r.saga_no = s.saga_no AND r.sequence = {NEWEST} WHERE s.saga_no = ?1",
            row::HEADER
        ))
        .and_then(|mut select| {
            select.query_row([saga_no], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, RecordRow::read_header(row, 2)?))).optional()
        })
        .map_err(failed)?;
    if let Some((saga_id, started_at, row)) = found {
        // A saga whose newest record cannot be read must still be possible to delete; stray labels lead nowhere.
        let newest = row::outline(connection, row.definition_no).and_then(|outline| row.into_record(&saga_id, outline));
        if let Ok(newest) = newest {
            delete_labels(connection, namespace, started_at, &newest).map_err(failed)?;
        }
    }
    connection.prepare_cached("DELETE FROM sagas WHERE saga_no = ?1").and_then(|mut delete| delete.execute([saga_no])).map_err(failed)?;
    session.forget_heads();
    Ok(())
}

async fn remove_saga(shared: &Arc<Shared>, saga: String, dry_run: bool) -> Result<PruneReport> {
    let namespace = shared.namespace().to_owned();
    let counted = shared
        .readers()
        .read(OPERATION, move |connection| {
            connection
                .prepare_cached(
                    "SELECT s.saga_no, count(*), sum(length(r.header) + octet_length(r.context)) FROM sagas AS s
                     CROSS JOIN records AS r INDEXED BY records_by_saga ON r.saga_no = s.saga_no
                     WHERE s.namespace = ?1 AND s.saga_id = ?2 GROUP BY s.saga_no",
                )
                .and_then(|mut select| {
                    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, u64>(1)?, row.get::<_, u64>(2)?));
                    select.query_row([&namespace, &saga], read).optional()
                })
                .map_err(during(OPERATION))
        })
        .await?;
    let mut report = PruneReport::default();
    let Some((saga_no, records, bytes)) = counted else { return Ok(report) };
    (report.records, report.bytes, report.sagas) = (records, bytes, 1);
    if dry_run {
        return Ok(report);
    }
    // The saga is gone at once; its rows follow a few at a time.
    shared
        .write(OPERATION, move |shared, session| {
            unlink(session, shared.namespace(), saga_no)?;
            discard(session.connection(), Garbage::Saga, saga_no).map_err(during(OPERATION))
        })
        .await?;
    sweep(shared).await?;
    Ok(report)
}

/// What may be left to be swept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Garbage {
    /// The records of a saga.
    Saga = 0,
    /// The entries of a log.
    Log = 1,
}

/// Notes that the rows of something that nobody can find any more are to be removed.
pub(crate) fn discard(connection: &Connection, kind: Garbage, number: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT OR IGNORE INTO garbage (kind, number) VALUES (?1, ?2)")?.execute((kind as i64, number)).map(drop)
}

/// Removes the rows of what was discarded, a few in a transaction.
pub(crate) async fn sweep(shared: &Arc<Shared>) -> Result<()> {
    let failed = during(OPERATION);
    let is_clean = |connection: &Connection| {
        connection.prepare_cached("SELECT 1 FROM garbage").and_then(|mut select| select.exists([])).map(|some| !some)
    };
    loop {
        if shared.readers().read(OPERATION, move |connection| is_clean(connection).map_err(failed)).await? {
            return Ok(());
        }
        shared.write(OPERATION, move |_, session| sweep_some(session.connection()).map_err(failed)).await?;
    }
}

fn sweep_some(connection: &Connection) -> rusqlite::Result<()> {
    let next: Option<(i64, i64)> = connection
        .prepare_cached("SELECT kind, number FROM garbage LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((kind, number)) = next else { return Ok(()) };
    let sql = if kind == Garbage::Saga as i64 {
        "DELETE FROM records WHERE record_no IN (SELECT record_no FROM records WHERE saga_no = ?1 LIMIT ?2)"
    } else {
        "DELETE FROM log_entries WHERE entry_no IN (SELECT entry_no FROM log_entries WHERE log_no = ?1 LIMIT ?2)"
    };
    let mut removed = connection.prepare_cached(sql)?.execute((number, CHUNK))?;
    if removed == 0 && kind == Garbage::Saga as i64 {
        let frames = "DELETE FROM frames WHERE frame_no IN (SELECT frame_no FROM frames WHERE saga_no = ?1 LIMIT ?2)";
        removed = connection.prepare_cached(frames)?.execute((number, CHUNK))?;
    }
    if removed == 0 {
        connection.prepare_cached("DELETE FROM garbage WHERE kind = ?1 AND number = ?2")?.execute((kind, number))?;
    }
    Ok(())
}
