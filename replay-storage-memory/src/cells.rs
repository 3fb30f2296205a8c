use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use parking_lot::RwLock;
use replay_core::{
    Error, ErrorKind, Result,
    storage::{Cell, CellStorage, If, check_cell, check_key},
};

use crate::{
    Memory,
    pages::{PAGE, pages},
    store::World,
};

#[derive(Default)]
pub(crate) struct Cells(RwLock<Table>);

#[derive(Default)]
struct Table {
    cells: BTreeMap<Arc<str>, Cell>,
    /// When cells expire. Every write takes out two that have, so that forgotten claims do not pile up and no write is slow.
    expiring: BTreeSet<(DateTime<Utc>, Arc<str>)>,
    /// The largest version of a cell that is gone: what keeps versions growing although nothing of the cell is left.
    gone: u64,
}

impl Table {
    fn live(&self, key: &str, now: DateTime<Utc>) -> Option<&Cell> {
        self.cells.get(key).filter(|cell| is_live(cell, now))
    }

    fn remove(&mut self, key: &str) {
        if let Some((key, cell)) = self.cells.remove_entry(key) {
            self.gone = self.gone.max(cell.version);
            if let Some(at) = cell.expires_at {
                self.expiring.remove(&(at, key));
            }
        }
    }

    fn put(&mut self, key: &str, value: Bytes, expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> u64 {
        for _ in 0..2 {
            let Some((_, expired)) = self.expiring.first().filter(|(at, _)| *at <= now).cloned() else { break };
            self.remove(&expired);
        }
        let micros = u64::try_from(now.timestamp_micros()).unwrap_or(0);
        let previous = self.cells.get(key).map_or(self.gone, |cell| cell.version);
        let version = micros.max(previous + 1);
        let key: Arc<str> = self.cells.get_key_value(key).map_or_else(|| key.into(), |(key, _)| key.clone());
        if let Some(at) = expires_at {
            self.expiring.insert((at, key.clone()));
        }
        let old = self.cells.insert(key.clone(), Cell { value, version, expires_at });
        if let Some(at) = old.and_then(|cell| cell.expires_at).filter(|at| Some(*at) != expires_at) {
            self.expiring.remove(&(at, key));
        }
        version
    }

    fn page(&self, prefix: &str, after: &mut Option<Arc<str>>, now: DateTime<Utc>) -> Option<Vec<(String, Cell)>> {
        let from = after.as_deref().map_or(Bound::Included(prefix), Bound::Excluded);
        let page: Vec<_> =
            self.cells.range::<str, _>((from, Bound::Unbounded)).take(PAGE).take_while(|(key, _)| key.starts_with(prefix)).collect();
        *after = Some(page.last()?.0.clone());
        let live = page.into_iter().filter(|(_, cell)| is_live(cell, now));
        Some(live.map(|(key, cell)| (key.to_string(), cell.clone())).collect())
    }
}

fn is_live(cell: &Cell, now: DateTime<Utc>) -> bool {
    cell.expires_at.is_none_or(|at| now < at)
}

fn conflict(operation: &'static str, key: &str, current: Option<&Cell>) -> Error {
    let error = Error::new(ErrorKind::Conflict, operation).with("key", key);
    match current {
        Some(cell) => error.with("version", cell.version),
        None => error.with("version", "absent"),
    }
}

#[async_trait]
impl CellStorage for Memory {
    async fn get_cell(&self, key: &str) -> Result<Option<Cell>> {
        check_key("get cell", key)?;
        Ok(self.world().cells.0.read().live(key, self.world().clock.now()).cloned())
    }

    async fn put_cell(&self, key: &str, value: Bytes, condition: If, expires_at: Option<DateTime<Utc>>) -> Result<u64> {
        check_cell("put cell", key, &value)?;
        let expires_at = expires_at.and_then(|at| DateTime::from_timestamp_micros(at.timestamp_micros()));
        let mut table = self.world().cells.0.write();
        let now = self.world().clock.now();
        let current = table.live(key, now);
        let holds = match condition {
            If::Absent => current.is_none(),
            If::Version(version) => current.is_some_and(|cell| cell.version == version),
            If::Any => true,
        };
        if holds { Ok(table.put(key, value, expires_at, now)) } else { Err(conflict("put cell", key, current)) }
    }

    async fn delete_cell(&self, key: &str, condition: If) -> Result<bool> {
        check_key("delete cell", key)?;
        let mut table = self.world().cells.0.write();
        let current = table.live(key, self.world().clock.now());
        match condition {
            If::Absent => return Err(Error::invalid("delete cell", "a cell that is absent cannot be deleted")),
            If::Version(version) if current.is_some_and(|cell| cell.version != version) => {
                return Err(conflict("delete cell", key, current));
            }
            If::Version(_) | If::Any => {}
        }
        let existed = current.is_some();
        table.remove(key);
        Ok(existed)
    }

    fn scan_cells(&self, prefix: &str) -> BoxStream<'static, Result<(String, Cell)>> {
        let (world, prefix): (Arc<World>, Arc<str>) = (self.world().clone(), prefix.into());
        let mut after = None;
        pages(move || world.cells.0.read().page(&prefix, &mut after, world.clock.now()))
    }
}
