//! Going through sorted sets of all shards as if they were one.

use std::collections::VecDeque;

use replay_core::Result;

use crate::{error::Effect, keys::Shard, store::Shared, value};

/// In which direction an index is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// What follows in one sorted set.
#[derive(Debug)]
struct Source {
    shard: Shard,
    key: Vec<u8>,
    /// How many bytes are cut off from the front of a member.
    family: usize,
    /// Between what the members are, as the server takes it; the end where reading begins moves.
    least: Vec<u8>,
    most: Vec<u8>,
    buffer: VecDeque<Vec<u8>>,
    is_done: bool,
}

/// Members of several sorted sets, in one order.
#[derive(Debug)]
pub(crate) struct Merge {
    operation: &'static str,
    direction: Direction,
    sources: Vec<Source>,
    /// How many members are read from a set at a time.
    page: u64,
}

impl Merge {
    pub(crate) fn new(operation: &'static str, direction: Direction, page: u64) -> Self {
        Self { operation, direction, sources: Vec::new(), page: page.max(1) }
    }

    /// Adds what begins with `family` and then with `prefix` in the sorted set `key`; with `after`, only what comes after that.
    pub(crate) fn add(&mut self, shard: Shard, key: Vec<u8>, family: &[u8], prefix: &[u8], after: Option<&[u8]>) {
        let mut least = [b"[", family, prefix].concat();
        // No member holds so many of these bytes in a row: ids and keys are UTF-8, and an instant has eight.
        let mut most = [b"(", family, prefix, &[0xff; 9]].concat();
        if let Some(after) = after {
            let bound = [b"(", family, after].concat();
            match self.direction {
                Direction::Up => least = bound,
                Direction::Down => most = bound,
            }
        }
        self.sources.push(Source { shard, key, family: family.len(), least, most, buffer: VecDeque::new(), is_done: false });
    }

    /// The next `count` members, without their family, and their shard; fewer only at the end.
    pub(crate) async fn take(&mut self, shared: &Shared, count: usize) -> Result<Vec<(Shard, Vec<u8>)>> {
        let mut taken = Vec::new();
        while taken.len() < count {
            self.fill(shared).await?;
            let fronts = self.sources.iter().enumerate().filter_map(|(at, source)| source.buffer.front().map(|front| (front, at)));
            let next = match self.direction {
                Direction::Up => fronts.min(),
                Direction::Down => fronts.max(),
            };
            let Some(at) = next.map(|(_, at)| at) else { break };
            let source = &mut self.sources[at];
            taken.extend(source.buffer.pop_front().map(|member| (source.shard, member)));
        }
        Ok(taken)
    }

    /// Reads on where a buffer is empty: without its front nothing can be said.
    async fn fill(&mut self, shared: &Shared) -> Result<()> {
        let is_empty = |source: &Source| source.buffer.is_empty() && !source.is_done;
        let empty: Vec<usize> = self.sources.iter().enumerate().filter(|(_, source)| is_empty(source)).map(|(at, _)| at).collect();
        if empty.is_empty() {
            return Ok(());
        }
        let cmds: Vec<_> = empty.iter().map(|at| self.command(&self.sources[*at])).collect();
        let answers = shared.link().calls(self.operation, Effect::Read, &cmds).await?;
        for (at, answer) in empty.into_iter().zip(answers) {
            let members = value::strings(self.operation, answer)?;
            let source = &mut self.sources[at];
            source.is_done = (members.len() as u64) < self.page;
            if let Some(last) = members.last() {
                let bound = [b"(", &last[..]].concat();
                match self.direction {
                    Direction::Up => source.least = bound,
                    Direction::Down => source.most = bound,
                }
            }
            let family = source.family;
            source.buffer.extend(members.into_iter().map(|member| member[family.min(member.len())..].to_vec()));
        }
        Ok(())
    }

    fn command(&self, source: &Source) -> redis::Cmd {
        let mut cmd = redis::cmd("ZRANGE");
        cmd.arg(&source.key);
        match self.direction {
            Direction::Up => cmd.arg(&source.least).arg(&source.most).arg("BYLEX"),
            Direction::Down => cmd.arg(&source.most).arg(&source.least).arg("BYLEX").arg("REV"),
        };
        cmd.arg("LIMIT").arg(0).arg(self.page);
        cmd
    }
}
