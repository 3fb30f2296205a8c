//! Going through sorted sets of all shards as if they were one.

use std::collections::VecDeque;

use redis::Value;
use replay_core::Result;

use crate::{error::Effect, keys::Shard, script::INDEX, store::Shared, value};

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
    parts: Vec<Part>,
    buffer: VecDeque<Vec<u8>>,
    is_done: bool,
}

/// Members of a sorted set that begin alike.
#[derive(Debug)]
struct Part {
    /// What is cut off from the front of a member.
    family: Vec<u8>,
    /// Between what the members are, as the server takes it; the end where reading begins moves.
    least: Vec<u8>,
    most: Vec<u8>,
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

    /// Adds what begins with one of `families`, which are of one length, and then with `prefix` in the sorted set `key`; with `after`,
    /// only what comes after that.
    pub(crate) fn add(&mut self, shard: Shard, key: Vec<u8>, families: &[Vec<u8>], prefix: &[u8], after: Option<&[u8]>) {
        let part = |family: &Vec<u8>| {
            // No member holds so many of these bytes in a row: ids and keys are UTF-8, and an instant has eight.
            let (least, most) = ([b"[", &family[..], prefix].concat(), [b"(", &family[..], prefix, &[0xff; 9]].concat());
            let mut part = Part { family: family.clone(), least, most };
            if let Some(after) = after {
                part.go_on(self.direction, after);
            }
            part
        };
        let parts = families.iter().map(part).collect();
        self.sources.push(Source { shard, key, parts, buffer: VecDeque::new(), is_done: false });
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
            let members = self.members(&self.sources[at], answer)?;
            let source = &mut self.sources[at];
            source.is_done = (members.len() as u64) < self.page;
            if let Some(last) = members.last() {
                source.parts.iter_mut().for_each(|part| part.go_on(self.direction, last));
            }
            source.buffer.extend(members);
        }
        Ok(())
    }

    /// The members in an answer, without their family and in order.
    fn members(&self, source: &Source, answer: Value) -> Result<Vec<Vec<u8>>> {
        let several = source.parts.len() > 1;
        let lists = if several { value::list(self.operation, answer)?.unwrap_or_default() } else { vec![answer] };
        let mut members = Vec::new();
        for (part, list) in source.parts.iter().zip(lists) {
            let family = part.family.len();
            members.extend(value::strings(self.operation, list)?.into_iter().map(|member| member[family.min(member.len())..].to_vec()));
        }
        if several {
            match self.direction {
                Direction::Up => members.sort_unstable(),
                Direction::Down => members.sort_unstable_by(|a, b| b.cmp(a)),
            }
            // Beyond the page a part may have more that was not read.
            members.truncate(usize::try_from(self.page).unwrap_or(usize::MAX));
        }
        Ok(members)
    }

    fn command(&self, source: &Source) -> redis::Cmd {
        let [part] = &source.parts[..] else { return self.script(source) };
        let mut cmd = redis::cmd("ZRANGE");
        cmd.arg(&source.key);
        match self.direction {
            Direction::Up => cmd.arg(&part.least).arg(&part.most).arg("BYLEX"),
            Direction::Down => cmd.arg(&part.most).arg(&part.least).arg("BYLEX").arg("REV"),
        };
        cmd.arg("LIMIT").arg(0).arg(self.page);
        cmd
    }

    /// Reads several parts at one moment: what moves from one to another between two moments would be found twice, or not at all.
    fn script(&self, source: &Source) -> redis::Cmd {
        let mut cmd = INDEX.call([&source.key], 32 + source.parts.len() * 64);
        cmd.arg(if self.direction == Direction::Up { "up" } else { "down" }).arg(self.page);
        for part in &source.parts {
            cmd.arg(&part.least).arg(&part.most);
        }
        cmd
    }
}

impl Part {
    /// Leaves only what comes after a member, which is given without its family.
    fn go_on(&mut self, direction: Direction, after: &[u8]) {
        let bound = [b"(", &self.family[..], after].concat();
        match direction {
            Direction::Up => self.least = bound,
            Direction::Down => self.most = bound,
        }
    }
}
