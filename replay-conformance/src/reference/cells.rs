use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream, stream::BoxStream};
use replay_core::{
    Clock, Error, ErrorKind, Result,
    storage::{Cell, CellStorage, If, check_cell, check_key},
};

use super::{Reference, World, begins_like};
use crate::Mutant;

impl Reference {
    fn live(&self, world: &World, key: &str) -> Option<Cell> {
        let now = self.clock.now();
        let late = self.has(Mutant::CellExpiresLate);
        let is_live = |until: DateTime<Utc>| now < until || (late && now == until);
        world.cells.get(key).filter(|cell| cell.expires_at.is_none_or(is_live)).cloned()
    }

    fn check_cell(&self, world: &World, key: &str, condition: If) -> Result<()> {
        let current = if self.has(Mutant::CellExpiryIgnoredByPut) { world.cells.get(key).cloned() } else { self.live(world, key) };
        let holds = match condition {
            If::Any => true,
            If::Absent => current.is_none() || self.has(Mutant::CellIgnoresAbsent),
            If::Version(version) => current
                .as_ref()
                .is_some_and(|cell| cell.version == version || (self.has(Mutant::CellAcceptsOlderVersions) && version < cell.version)),
        };
        if holds {
            return Ok(());
        }
        let absent = if self.has(Mutant::CellNamesZeroForAbsent) { "0" } else { "absent" };
        let version = current.map_or_else(|| absent.to_owned(), |cell| cell.version.to_string());
        Err(Error::new(ErrorKind::Conflict, "put cell").with("key", key).with("version", version))
    }
}

#[async_trait]
impl CellStorage for Reference {
    async fn get_cell(&self, key: &str) -> Result<Option<Cell>> {
        check_key("get cell", key)?;
        Ok(self.live(&self.world(), key))
    }

    async fn put_cell(&self, key: &str, value: Bytes, condition: If, expires_at: Option<DateTime<Utc>>) -> Result<u64> {
        if !self.has(Mutant::CellTakesAnySize) {
            check_cell("put cell", key, &value)?;
        }
        check_key("put cell", key)?;
        if self.has(Mutant::CellChecksThenWrites) {
            self.check_cell(&self.world(), key, condition)?;
            Self::lets_others_in().await;
        }
        let mut world = self.world();
        if !self.has(Mutant::CellChecksThenWrites) {
            self.check_cell(&world, key, condition)?;
        }
        let old = world.cells.get(key).cloned();
        let clock = u64::try_from(self.clock.now().timestamp_micros()).unwrap_or(0);
        let next = old.as_ref().map_or(world.cells_gone, |cell| cell.version) + 1;
        let version = match self.bug {
            Some(Mutant::CellVersionsFromOne) => old.as_ref().map_or(0, |cell| cell.version) + 1,
            Some(Mutant::CellVersionIsClock) => clock,
            _ => clock.max(next),
        };
        let kept = old.and_then(|cell| cell.expires_at).filter(|_| self.has(Mutant::CellKeepsOldExpiry));
        world.cells.insert(key.to_owned(), Cell { value, version, expires_at: kept.or(expires_at) });
        Ok(version)
    }

    async fn delete_cell(&self, key: &str, condition: If) -> Result<bool> {
        check_key("delete cell", key)?;
        let mut world = self.world();
        let current = self.live(&world, key);
        match (condition, &current) {
            (If::Absent, _) => return Err(Error::invalid("delete cell", "a cell that is absent cannot be deleted")),
            (If::Version(version), Some(cell)) if cell.version != version && !self.has(Mutant::CellDeleteIgnoresVersion) => {
                return Err(Error::new(ErrorKind::Conflict, "delete cell").with("key", key).with("version", cell.version));
            }
            _ => {}
        }
        if self.has(Mutant::CellDeleteIsExpiry) {
            let now = self.clock.now();
            world.cells.entry(key.to_owned()).and_modify(|cell| (cell.expires_at, cell.value) = (Some(now), Bytes::new()));
        } else if let Some(cell) = world.cells.remove(key) {
            world.cells_gone = world.cells_gone.max(cell.version);
        }
        Ok(current.is_some())
    }

    fn scan_cells(&self, prefix: &str) -> BoxStream<'static, Result<(String, Cell)>> {
        let is_pattern = self.has(Mutant::CellPrefixIsPattern);
        let world = self.world();
        let keys = world.cells.keys().filter(|key| if is_pattern { begins_like(key, prefix) } else { key.starts_with(prefix) });
        let shows_expired = self.has(Mutant::CellScanShowsExpired);
        let cell = |key: &String| if shows_expired { world.cells.get(key).cloned() } else { self.live(&world, key) };
        let cells: Vec<_> = keys.filter_map(|key| Some(Ok((key.clone(), cell(key)?)))).collect();
        stream::iter(cells).boxed()
    }
}
