//! Appending to the store that a saga is in.

use super::{Tiered, is_hot};
use crate::{
    Error, ErrorKind, Result, SnapshotRecord,
    copy::{header, newest, place},
    storage::{PruneRequest, PruneScope, SnapshotStorage, check_next},
};

impl Tiered {
    /// Appends saga by saga where need be; one that conflicts does not keep the others from being stored.
    pub(super) async fn append_all(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let groups = by_saga(records);
        let mut hot = Vec::new();
        let mut result = Ok(());
        for group in groups {
            // A saga that begins although it was moved is refused before it is seen by anybody, but for a race that is found below. One
            // that is being moved may still go on in the hot store, and never begins anew there.
            if begins(&group) && newest(&*self.cold, &group[0].saga_id).await?.is_some() {
                result = result.and(self.go_on(group, None).await);
            } else {
                hot.push(group);
            }
        }
        if hot.is_empty() {
            return result;
        }
        match self.hot.append(hot.concat()).await {
            Ok(()) => {
                for group in hot {
                    result = result.and(self.confirm(group).await);
                }
            }
            Err(error) if error.is(ErrorKind::Conflict) => {
                let is_alone = hot.len() == 1;
                let mut error = Some(error);
                for group in hot {
                    result = result.and(match error.take().filter(|_| is_alone) {
                        Some(conflict) => self.go_on(group, Some(conflict)).await,
                        None => self.append_saga(group).await,
                    });
                }
            }
            Err(error) => return Err(error),
        }
        result
    }

    async fn append_saga(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        match self.hot.append(records.clone()).await {
            Ok(()) => self.confirm(records).await,
            Err(error) if error.is(ErrorKind::Conflict) => self.go_on(records, Some(error)).await,
            Err(error) => Err(error),
        }
    }

    /// Withdraws a saga that began in the hot store although it is in the cold one: it was moved between the look and the append.
    async fn confirm(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let saga = &records[0].saga_id;
        if !begins(&records) {
            return Ok(());
        }
        let Some(moved) = newest(&*self.cold, saga).await? else { return Ok(()) };
        // What has just begun may have ended, too, and be on its way into the cold store already.
        if moved.history.is_some() && moved.history == records[0].history {
            return Ok(());
        }
        let there = header(&*self.cold, saga, records[0].sequence).await?;
        if there.is_some_and(|there| there.digest() == records[0].digest()) {
            return Ok(());
        }
        let is_ours = newest(&*self.hot, saga).await?.is_some_and(|newest| records.iter().any(|ours| ours.digest() == newest.digest()));
        if is_ours {
            self.hot.prune(PruneRequest::new(PruneScope::Saga(saga.clone()))).await?;
        }
        self.cold.append(records).await
    }

    /// What the hot store refused, or was not asked for, may follow what is in the cold one, or be there already.
    async fn go_on(&self, records: Vec<SnapshotRecord>, conflict: Option<Error>) -> Result<()> {
        let saga = &records[0].saga_id;
        // The hot store first: what is gone from there is in the cold one by then.
        let hot = newest(&*self.hot, saga).await?.as_ref().map(place);
        let cold = newest(&*self.cold, saga).await?.as_ref().map(place);
        let refuse = |conflict: Option<Error>| conflict.map_or_else(|| check_next(&records[0], hot.or(cold)), Err);
        let Some(moved) = cold else { return refuse(conflict) };
        if !is_hot(hot, cold) {
            return self.cold.append(records).await;
        }
        let mut rest = Vec::new();
        for record in &records {
            if record.sequence > moved.0 {
                rest.push(record.clone());
            } else if !self.has(record).await? {
                return refuse(conflict);
            }
        }
        match rest.len() {
            0 => return Ok(()),
            left if left == records.len() => return refuse(conflict),
            _ => {}
        }
        match self.hot.append(rest).await {
            // The last of it was moved since.
            Err(error) if error.is(ErrorKind::Conflict) && newest(&*self.hot, saga).await?.is_none() => self.cold.append(records).await,
            answer => answer,
        }
    }

    /// Whether this very record is stored. What is moved in between is then in the cold store.
    async fn has(&self, record: &SnapshotRecord) -> Result<bool> {
        for side in [&self.hot, &self.cold] {
            if header(&**side, &record.saga_id, record.sequence).await?.is_some_and(|there| there.digest() == record.digest()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether the saga of these records is to exist from the first of them on.
fn begins(records: &[SnapshotRecord]) -> bool {
    records.first().is_some_and(|first| first.predecessor().is_none())
}

/// The records of each saga by itself, in their order.
fn by_saga(mut records: Vec<SnapshotRecord>) -> Vec<Vec<SnapshotRecord>> {
    records.sort_by(|a, b| a.saga_id.cmp(&b.saga_id));
    records.chunk_by(|a, b| a.saga_id == b.saga_id).map(<[_]>::to_vec).collect()
}
