//! Which sagas a batch replays, and how many it leaves out for which reason.

use std::{collections::BTreeMap, fmt};

use futures::TryStreamExt;
use replay::{
    Result, SagaStatus,
    replay::{LeftOut, SagaReplay},
    storage::{SagaQuery, SagaSummary, SnapshotStorage},
};
use serde_json::{Value, json};

use crate::args::RunArgs;

/// What a batch that names no status is about.
const FAILED: [SagaStatus; 3] = [SagaStatus::RolledBack, SagaStatus::Failed, SagaStatus::Parked];
/// What it leaves out then.
const OTHERS: [(&[SagaStatus], Reason); 2] = [
    (&[SagaStatus::Completed], Reason::Completed),
    (&[SagaStatus::Pending, SagaStatus::Executing, SagaStatus::Compensating], Reason::NotEnded),
];

/// Why a saga that matches is not replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    Completed,
    NotEnded,
    MadeByThisBatch,
    OverLimit,
}

impl Reason {
    /// As programs read it.
    fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::NotEnded => "not_ended",
            Self::MadeByThisBatch => "made_by_this_batch",
            Self::OverLimit => "over_limit",
        }
    }

    /// As people read it, after a number.
    fn text(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::NotEnded => "not ended",
            Self::MadeByThisBatch => "made by this batch",
            Self::OverLimit => "over --limit",
        }
    }
}

/// How many sagas with one reason are counted where counting means listing them: nobody waits for the rest of a large store.
const COUNTED: u64 = 1000;

/// How many there are, and whether there are more than were counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    counted: u64,
    more: bool,
}

/// How many sagas were left out, by reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(BTreeMap<Reason, Count>);

impl Counts {
    fn add(&mut self, reason: Reason) {
        self.0.entry(reason).or_default().counted += 1;
    }

    /// Counts one more, but none beyond [`COUNTED`]; says whether others still count.
    fn add_bounded(&mut self, reason: Reason) -> bool {
        let count = self.0.entry(reason).or_default();
        if count.counted < COUNTED {
            count.counted += 1;
        } else {
            count.more = true;
        }
        !count.more
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn json(&self) -> Value {
        let one = |(reason, count): (&Reason, &Count)| {
            let mut value = json!({"reason": reason.name(), "count": count.counted});
            if count.more {
                value["more"] = json!(true);
            }
            value
        };
        self.0.iter().map(one).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |(reason, count): (&Reason, &Count)| {
            let more = if count.more { "more than " } else { "" };
            format!("{more}{} {}", count.counted, reason.text())
        };
        let parts: Vec<String> = self.0.iter().map(part).collect();
        f.write_str(&parts.join(", "))
    }
}

/// What a batch replays.
#[derive(Debug)]
pub(super) struct Selection {
    /// At most as many as were asked for.
    pub(super) found: Vec<SagaSummary>,
    pub(super) left_out: Counts,
}

impl Selection {
    /// Finds the sagas that match; with `only_failed` those of them that failed. What is left out is counted up to a bound, and once
    /// there are as many as were asked for, no log of replays is read.
    pub(super) async fn find(
        snapshots: &dyn SnapshotStorage,
        replays: &dyn SagaReplay,
        args: &RunArgs,
        mut query: SagaQuery,
        only_failed: bool,
    ) -> Result<Self> {
        let mut selection = Self { found: Vec::new(), left_out: Counts::default() };
        if only_failed {
            for (statuses, reason) in OTHERS {
                query.statuses = statuses.to_vec();
                let mut others = snapshots.sagas(query.clone().with_limit(COUNTED + 1));
                while others.try_next().await?.is_some() && selection.left_out.add_bounded(reason) {}
            }
            query.statuses = FAILED.to_vec();
        }
        let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut sagas = snapshots.sagas(query);
        while let Some(saga) = sagas.try_next().await? {
            if selection.found.len() >= limit {
                if selection.left_out.add_bounded(Reason::OverLimit) {
                    continue;
                }
                break;
            }
            match LeftOut::of(&saga, replays, args.replay_key.as_deref()).await? {
                Some(_) => selection.left_out.add(Reason::MadeByThisBatch),
                None => selection.found.push(saga),
            }
        }
        Ok(selection)
    }
}

#[cfg(test)]
mod tests;
