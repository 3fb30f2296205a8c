//! Which sagas a batch replays, and how many it leaves out for which reason.

use std::{collections::BTreeMap, fmt};

use futures::TryStreamExt;
use replay::{
    Result, SagaStatus, Store,
    replay::{LeftOut, LocalReplay},
    saga::Registry,
    storage::{SagaQuery, SagaSummary},
};
use serde_json::{Value, json};

use crate::{app::App, args::RunArgs};

/// What a batch that names no status is about.
const FAILED: [SagaStatus; 3] = [SagaStatus::RolledBack, SagaStatus::Failed, SagaStatus::Parked];
/// What it leaves out then.
const OTHERS: [SagaStatus; 4] = [SagaStatus::Completed, SagaStatus::Pending, SagaStatus::Executing, SagaStatus::Compensating];

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

/// How many sagas were left out, by reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(BTreeMap<Reason, u64>);

impl Counts {
    fn add(&mut self, reason: Reason) {
        *self.0.entry(reason).or_default() += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn json(&self) -> Value {
        self.0.iter().map(|(reason, count)| json!({"reason": reason.name(), "count": count})).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(reason, count)| format!("{count} {}", reason.text())).collect();
        f.write_str(&parts.join(", "))
    }
}

/// What a batch replays.
pub(super) struct Selection {
    /// At most as many as were asked for.
    pub(super) found: Vec<SagaSummary>,
    pub(super) left_out: Counts,
}

impl Selection {
    /// Finds the sagas that match; with `only_failed` those of them that failed.
    pub(super) async fn find(app: &App, store: &Store, args: &RunArgs, mut query: SagaQuery, only_failed: bool) -> Result<Self> {
        let mut selection = Self { found: Vec::new(), left_out: Counts::default() };
        if only_failed {
            query.statuses = OTHERS.to_vec();
            let mut others = store.snapshots().sagas(query.clone());
            while let Some(saga) = others.try_next().await? {
                selection.left_out.add(if saga.status == SagaStatus::Completed { Reason::Completed } else { Reason::NotEnded });
            }
            query.statuses = FAILED.to_vec();
        }
        let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let replays = LocalReplay::new(app.runner(store, None), Registry::new());
        let mut sagas = store.snapshots().sagas(query);
        while let Some(saga) = sagas.try_next().await? {
            match LeftOut::of(&saga, &replays, args.replay_key.as_deref()).await? {
                Some(_) => selection.left_out.add(Reason::MadeByThisBatch),
                None if selection.found.len() < limit => selection.found.push(saga),
                None => selection.left_out.add(Reason::OverLimit),
            }
        }
        Ok(selection)
    }
}
