//! Reading one saga's history.

use std::{collections::VecDeque, sync::Arc};

use chrono::{DateTime, Duration, Utc};
use futures::stream::BoxStream;
use redis::{Cmd, Value};
use replay_core::{
    Error, Result, SagaId, SnapshotRecord,
    storage::{At, Order, SnapshotQuery},
};

use crate::{
    error::{Effect, damaged},
    head::ordered,
    keys::{Kind, Shard},
    page::pages,
    positions::{self, Position},
    script::{BEFORE, HEADERS, INSTANT, LATEST, POSITIONS},
    store::Shared,
    value,
};

/// A page of a listing ends with this many records, or with about this many bytes.
const PAGE_ROWS: usize = 512;
const PAGE_BYTES: u64 = 1 << 20;

/// So many positions are read at a time.
const RUN: u64 = 2048;

/// The keys of a saga's hash and of its positions.
pub(crate) fn keys_of(shared: &Shared, saga: &SagaId) -> [Vec<u8>; 2] {
    let id = saga.as_str().as_bytes();
    let shard = Shard::of(id);
    [shared.keys().key(Kind::Saga, shard, id), shared.keys().key(Kind::Positions, shard, id)]
}

/// The record of `saga` at a position.
pub(crate) async fn load(shared: &Shared, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
    let keys = keys_of(shared, saga);
    let (cmd, sequence) = match at {
        At::Latest => (LATEST.call([&keys[0]], 0), 0),
        At::Sequence(sequence) => (get(&keys[0], sequence), sequence),
        At::Time(time) => {
            let mut cmd = INSTANT.call(&keys, 0);
            cmd.arg(&ordered(time)[..]).arg("record");
            (cmd, 0)
        }
        At::BeforeStep(step) => return before_step(shared, saga, &step).await,
        _ => return Err(Error::unsupported("load", format!("the position {at:?} is not known to this version"))),
    };
    match shared.link().call("load", Effect::Read, &cmd).await? {
        Value::Int(_) => Err(damaged("load", "a record of a saga is missing").with("saga", saga)),
        found => match value::string("load", found)? {
            Some(found) => shared.record(saga, sequence, found, true).await.map(Some),
            None => Ok(None),
        },
    }
}

fn get(saga: &[u8], sequence: u64) -> Cmd {
    let mut cmd = redis::cmd("HGET");
    cmd.arg(saga).arg(&sequence.to_be_bytes()[..]);
    cmd
}

async fn before_step(shared: &Shared, saga: &SagaId, step: &str) -> Result<Option<SnapshotRecord>> {
    let [key, _] = keys_of(shared, saga);
    let hash = positions::step_hash(step);
    let mut cmd = BEFORE.call([&key], 0);
    cmd.arg(positions::field(hash));
    let [record, is_named, has_wide] = value::array("load", shared.link().call("load", Effect::Read, &cmd).await?)?;
    let (is_named, has_wide) = (value::int("load", &is_named)? == 1, value::int("load", &has_wide)? == 1);
    if !is_named && !has_wide {
        return Ok(None);
    }
    if let (Some(value), false) = (value::string("load", record)?, has_wide) {
        let record = shared.record(saga, 0, value, true).await?;
        // Two steps may share a hash.
        if record.next_steps().contains(step) {
            return Ok(Some(record));
        }
    }
    search_before(shared, saga, step, hash).await
}

/// Looks for the newest record before a step among all positions, from behind: where what leads there was removed, or does not exist.
async fn search_before(shared: &Shared, saga: &SagaId, step: &str, hash: [u8; 7]) -> Result<Option<SnapshotRecord>> {
    let [key, _] = keys_of(shared, saga);
    let mut last = u64::MAX;
    while let Some(run) = read_run(shared, saga, last, Order::Descending, RUN).await? {
        let Some(first) = run.positions.first().map(|position| position.sequence) else { return Ok(None) };
        for position in run.positions.iter().rev().filter(|position| position.may_precede(hash)) {
            let found = shared.link().call("load", Effect::Read, &get(&key, position.sequence)).await?;
            let Some(value) = value::string("load", found)? else { continue };
            let record = shared.record(saga, position.sequence, value, true).await?;
            if record.next_steps().contains(step) {
                return Ok(Some(record));
            }
        }
        last = first - 1;
    }
    Ok(None)
}

/// Some positions in ascending order, and the newest sequence.
struct Run {
    positions: Vec<Position>,
    newest: u64,
}

/// Up to `count` positions from sequence `from` on in that direction; none if there is no such saga.
async fn read_run(shared: &Shared, saga: &SagaId, from: u64, order: Order, count: u64) -> Result<Option<Run>> {
    let [_, key] = keys_of(shared, saga);
    let mut cmd = POSITIONS.call([&key], 0);
    cmd.arg(from).arg(if order == Order::Ascending { "up" } else { "down" }).arg(count);
    let answer = shared.link().call("list", Effect::Read, &cmd).await?;
    if answer == Value::Nil {
        return Ok(None);
    }
    let [first, some, newest] = value::array("list", answer)?;
    let some = value::string("list", some)?.unwrap_or_default();
    let positions = positions::run("list", value::sequence("list", first)?, &some)?;
    Ok(Some(Run { positions, newest: value::sequence("list", newest)? }))
}

/// The newest sequence that is not after `time`, also if its record is gone; none if there is no such saga.
async fn sequence_at(shared: &Shared, saga: &SagaId, time: DateTime<Utc>) -> Result<Option<u64>> {
    let mut cmd = INSTANT.call(&keys_of(shared, saga), 0);
    cmd.arg(&ordered(time)[..]).arg("sequence");
    match shared.link().call("list", Effect::Read, &cmd).await? {
        Value::Nil => Ok(None),
        found => value::sequence("list", found).map(Some),
    }
}

/// A listing on its way.
struct Listing {
    query: SnapshotQuery,
    /// Where the next run of positions begins; none = there are no more.
    from: Option<u64>,
    left: u64,
    pending: VecDeque<Position>,
    is_begun: bool,
}

/// A history, a page at a time.
pub(crate) fn list(shared: Arc<Shared>, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
    let left = query.limit.unwrap_or(u64::MAX);
    let from = if query.order == Order::Ascending { query.first } else { query.last };
    let listing = Listing { query, from: Some(from), left, pending: VecDeque::new(), is_begun: false };
    pages(listing, move |mut listing| {
        let shared = shared.clone();
        async move { Ok(listing.page(&shared).await?.map(|page| (page, listing))) }
    })
}

impl Listing {
    async fn page(&mut self, shared: &Shared) -> Result<Option<Vec<SnapshotRecord>>> {
        if !self.is_begun {
            self.begin(shared).await?;
        }
        while self.left > 0 {
            if self.pending.is_empty() && !self.read_positions(shared).await? {
                return Ok(None);
            }
            let page = self.read_records(shared).await?;
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// Narrows the sequences down to those that may have been created in time.
    async fn begin(&mut self, shared: &Shared) -> Result<()> {
        self.is_begun = true;
        let query = &mut self.query;
        let before = |time: DateTime<Utc>| time.checked_sub_signed(Duration::nanoseconds(1));
        if let Some(from) = query.created.from.and_then(before) {
            let Some(sequence) = sequence_at(shared, &query.saga_id, from).await? else {
                self.from = None;
                return Ok(());
            };
            query.first = query.first.max(sequence + 1);
        }
        if let Some(until) = query.created.until {
            let sequence = match before(until) {
                Some(until) => sequence_at(shared, &query.saga_id, until).await?,
                None => None,
            };
            query.last = query.last.min(sequence.unwrap_or(0));
        }
        self.from = (query.first <= query.last).then_some(if query.order == Order::Ascending { query.first } else { query.last });
        Ok(())
    }

    /// Reads the next positions; says whether there may be more of them or of records.
    async fn read_positions(&mut self, shared: &Shared) -> Result<bool> {
        let Some(from) = self.from else { return Ok(false) };
        let (query, count) = (&self.query, self.left.saturating_mul(2).clamp(16, RUN));
        let Some(run) = read_run(shared, &query.saga_id, from, query.order, count).await? else { return Ok(false) };
        let (Some(first), Some(last)) = (run.positions.first(), run.positions.last()) else { return Ok(false) };
        self.from = match query.order {
            Order::Ascending => Some(last.sequence + 1).filter(|next| *next <= query.last.min(run.newest)),
            Order::Descending => Some(first.sequence - 1).filter(|next| *next >= query.first.max(1)),
        };
        let range = query.first..=query.last;
        let wanted = run.positions.into_iter().filter(|position| position.is_alive() && range.contains(&position.sequence));
        match query.order {
            Order::Ascending => self.pending.extend(wanted),
            Order::Descending => self.pending.extend(wanted.rev()),
        }
        Ok(true)
    }

    async fn read_records(&mut self, shared: &Shared) -> Result<Vec<SnapshotRecord>> {
        let [key, _] = keys_of(shared, &self.query.saga_id);
        let (mut sequences, mut bytes) = (Vec::new(), 0);
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(PAGE_ROWS);
        while sequences.len() < most && bytes < PAGE_BYTES {
            let Some(position) = self.pending.pop_front() else { break };
            bytes += if self.query.payloads { u64::from(position.bytes) } else { 0 };
            sequences.push(position.sequence);
        }
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        let mut cmd = if self.query.payloads {
            let mut cmd = redis::cmd("HMGET");
            cmd.arg(&key);
            cmd
        } else {
            HEADERS.call([&key], sequences.len() * 16)
        };
        for sequence in &sequences {
            cmd.arg(&sequence.to_be_bytes()[..]);
        }
        let values = value::list("list", shared.link().call("list", Effect::Read, &cmd).await?)?.unwrap_or_default();
        let mut records = Vec::with_capacity(sequences.len());
        for (sequence, value) in sequences.into_iter().zip(values) {
            // One that was removed a moment ago is left out.
            let Some(value) = value::string("list", value)? else { continue };
            let record = shared.record(&self.query.saga_id, sequence, value, self.query.payloads).await?;
            if self.query.created.contains(record.created_at) {
                records.push(record);
            }
        }
        self.left -= records.len() as u64;
        Ok(records)
    }
}
