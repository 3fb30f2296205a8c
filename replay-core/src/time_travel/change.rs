//! Listing changes of state.

use std::{collections::HashSet, sync::Arc};

use futures::TryStreamExt;
use serde_json::Value;

use super::query::{ChangePage, StateChange, StateChangesQuery, cursor_sequence};
use crate::{
    Outline, Result, SnapshotRecord, StepRanges,
    json::diff,
    storage::{At, SnapshotQuery, SnapshotStorage},
};

pub(super) async fn page<S: SnapshotStorage + ?Sized>(store: &S, query: StateChangesQuery) -> Result<ChangePage> {
    let after = cursor_sequence(query.cursor.as_deref())?;
    let mut page = ChangePage { changes: Vec::new(), next_cursor: None };
    if query.limit == 0 || after == u64::MAX {
        return Ok(page);
    }
    let listing = SnapshotQuery::new(query.saga_id.clone())
        .with_sequences(after + 1, u64::MAX)
        .with_created(query.range)
        .with_limit(query.limit.saturating_add(1))
        .with_payloads(query.with_patches);
    let mut records = store.list(listing);
    let mut previous: Option<Known> = None;
    while let Some(record) = records.try_next().await? {
        if page.changes.len() as u64 == query.limit {
            page.next_cursor = page.changes.last().map(|change| change.sequence.to_string());
            break;
        }
        if page.changes.is_empty() && record.sequence > 1 {
            let before = store.load(&query.saga_id, At::Sequence(record.sequence - 1)).await?;
            previous = before.map(|before| Known::of(before, query.with_patches)).transpose()?;
        }
        // A gap between two records of the listing is what pruning left; what happened in it is not known.
        let adjacent = previous.take().filter(|known| known.record.sequence + 1 == record.sequence);
        let known = Known::of(record, query.with_patches)?;
        page.changes.push(change(adjacent.as_ref(), &known));
        previous = Some(known);
    }
    Ok(page)
}

/// A record, with its context if that is needed for patches.
struct Known {
    record: SnapshotRecord,
    context: Option<Value>,
}

impl Known {
    fn of(record: SnapshotRecord, with_context: bool) -> Result<Self> {
        let context = if with_context { Some(record.clone().decode()?.context()?) } else { None };
        Ok(Self { record, context })
    }
}

fn change(before: Option<&Known>, now: &Known) -> StateChange {
    let record = &now.record;
    let old = before.map(|known| &known.record);
    let names = |of: fn(&SnapshotRecord) -> &StepRanges| match old {
        None => added(None, (&record.outline, of(record))),
        Some(old) => added(Some((&old.outline, of(old))), (&record.outline, of(record))),
    };
    StateChange {
        sequence: record.sequence,
        created_at: record.created_at,
        phase: record.phase,
        status: record.status,
        previous_status: old.map(|old| old.status),
        step_name: record.step_name().map(Arc::from),
        completed: names(|record| &record.completed),
        compensated: names(|record| &record.compensated),
        next_steps: record.next_steps().iter().map(Arc::from).collect(),
        error: record.failure.clone().filter(|_| old.is_none_or(|old| old.failure != record.failure)),
        actor: record.actor.clone(),
        context_changed: old.is_none_or(|old| old.content_digest() != record.content_digest()),
        patch: match (before.and_then(|known| known.context.as_ref()), &now.context) {
            (Some(from), Some(to)) => Some(diff(from, to)),
            _ => None,
        },
    }
}

/// The names of the steps in `now` that are not in `before`, in order.
pub(super) fn added(before: Option<(&Outline, &StepRanges)>, now: (&Outline, &StepRanges)) -> Vec<Arc<str>> {
    let (outline, steps) = now;
    let name = |at: u32| outline.step(at).map(|step| step.name.clone());
    match before {
        None => steps.iter().filter_map(name).collect(),
        Some((old, had)) if old == outline => without(steps, had).filter_map(name).collect(),
        Some((old, had)) => {
            let had: HashSet<&Arc<str>> = had.iter().filter_map(|at| old.step(at)).map(|step| &step.name).collect();
            steps.iter().filter_map(name).filter(|name| !had.contains(name)).collect()
        }
    }
}

/// The indices of `steps` that are not in `had`. What they have in common is passed over range by range, so that the cost of a change
/// does not grow with the steps that are completed.
fn without(steps: &StepRanges, had: &StepRanges) -> impl Iterator<Item = u32> {
    let known = |at: u32| had.ranges().iter().find(|range| range.contains(&at)).map(|range| range.end);
    steps.ranges().iter().flat_map(move |range| {
        let mut next = range.start;
        std::iter::from_fn(move || {
            while let Some(end) = known(next) {
                next = end;
            }
            let found = (next < range.end).then_some(next)?;
            next += 1;
            Some(found)
        })
    })
}
