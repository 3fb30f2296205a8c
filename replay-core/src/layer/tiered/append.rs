//! Appending to the store that a saga is in.

use super::{Tiered, is_hot};
use crate::{
    Error, ErrorKind, Result, SnapshotRecord,
    copy::{header, newest, place},
    storage::{PruneRequest, PruneScope, SnapshotStorage},
};

impl Tiered {
    /// Appends saga by saga where need be; one that conflicts does not keep the others from being stored.
    pub(super) async fn append_all(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let groups = by_saga(records);
        let mut hot = Vec::new();
        let mut result = Ok(());
        for group in groups {
            // A saga that begins although it was moved is refused before it is seen by anybody, but for a race that is found below.
            if begins(&group) && newest(&*self.cold, &group[0].saga_id).await?.is_some() {
                result = result.and(self.cold.append(group).await);
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
                        Some(conflict) => self.go_on_in_cold(group, conflict).await,
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
            Err(error) if error.is(ErrorKind::Conflict) => self.go_on_in_cold(records, error).await,
            Err(error) => Err(error),
        }
    }

    /// Withdraws a saga that began in the hot store although it is in the cold one: it was moved between the look and the append.
    async fn confirm(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let saga = &records[0].saga_id;
        if !begins(&records) || newest(&*self.cold, saga).await?.is_none() {
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

    /// What the hot store refused may follow what is in the cold one, or be there already.
    async fn go_on_in_cold(&self, records: Vec<SnapshotRecord>, conflict: Error) -> Result<()> {
        let saga = &records[0].saga_id;
        // The hot store first: what is gone from there is in the cold one by then.
        let hot = newest(&*self.hot, saga).await?.as_ref().map(place);
        let Some(cold) = newest(&*self.cold, saga).await?.as_ref().map(place) else { return Err(conflict) };
        if !is_hot(hot, Some(cold)) {
            return self.cold.append(records).await;
        }
        let mut rest = Vec::new();
        for record in &records {
            let moved = record.sequence <= cold.0
                && header(&*self.cold, saga, record.sequence).await?.is_some_and(|there| there.digest() == record.digest());
            if !moved {
                rest.push(record.clone());
            }
        }
        match rest.len() {
            0 => Ok(()),
            left if left == records.len() => Err(conflict),
            _ => self.hot.append(rest).await,
        }
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
