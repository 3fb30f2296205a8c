//! Listing the heads of sagas.

use std::sync::Arc;

use chrono::DateTime;
use futures::{StreamExt, stream, stream::BoxStream};
use replay_core::{
    Result, SagaStatus,
    storage::{SagaCursor, SagaQuery, SagaSummary},
};
use rusqlite::{Connection, Row, params_from_iter, types::Value};

use crate::{
    error::during,
    head::{NEWEST, missing_newest},
    history::{ceil_micros, flatten},
    row::RecordRow,
    store::Shared,
};

const PAGE_ROWS: usize = 128;

/// Up to so many sagas that share a prefix are sorted anew for each page; more are met on the way through all.
const FEW: i64 = 2000;

/// The sagas that match, a page at a time.
pub(crate) fn sagas(shared: Arc<Shared>, mut query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
    query.statuses.sort_unstable();
    query.statuses.dedup();
    let left = query.limit.unwrap_or(u64::MAX);
    let pages = stream::try_unfold((query, left), move |(mut query, left)| {
        let shared = shared.clone();
        async move {
            if left == 0 {
                return Ok(None);
            }
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(PAGE_ROWS);
            let page = read_page(&shared, query.clone(), wanted).await?;
            let left = if page.cursor.is_none() { 0 } else { left - page.sagas.len() as u64 };
            query.after = page.cursor;
            Ok(Some((stream::iter(page.sagas.into_iter().map(Ok)), (query, left))))
        }
    });
    flatten(pages.boxed())
}

struct Page {
    sagas: Vec<SagaSummary>,
    /// Where the next page begins; none = this is the last one.
    cursor: Option<SagaCursor>,
}

async fn read_page(shared: &Arc<Shared>, query: SagaQuery, wanted: usize) -> Result<Page> {
    let held = shared.clone();
    shared.readers().read("list sagas", move |connection| page(&held, connection, &query, wanted)).await
}

fn page(shared: &Shared, connection: &Connection, query: &SagaQuery, wanted: usize) -> Result<Page> {
    let failed = during("list sagas");
    let way = Way::choose(shared, connection, query).map_err(failed)?;
    let mut heads = Vec::new();
    if let (Way::Status, [_, _, ..]) = (way, &query.statuses[..]) {
        // Each status is a list in the wanted order; the page is the front of their merge.
        for status in &query.statuses {
            Select::new(shared, query, way, Some(*status)).run(connection, wanted, &mut heads).map_err(failed)?;
        }
        heads.sort_unstable_by(|a, b| (b.started_at, &b.saga_id).cmp(&(a.started_at, &a.saga_id)));
        heads.truncate(wanted);
    } else {
        Select::new(shared, query, way, None).run(connection, wanted, &mut heads).map_err(failed)?;
    }
    let mut page = Page { sagas: Vec::with_capacity(heads.len()), cursor: None };
    let is_full = heads.len() == wanted;
    for head in heads {
        let saga = head.summary(shared, connection)?;
        page.cursor = is_full.then(|| saga.cursor());
        // The tables answer the same; this holds even if they should not.
        if query.matches(&saga) {
            page.sagas.push(saga);
        }
    }
    Ok(page)
}

struct Head {
    saga_id: String,
    started_at: i64,
    record: Option<RecordRow>,
}

impl Head {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let has_record = row.get::<_, Option<i64>>(2)?.is_some();
        Ok(Self { saga_id: row.get(0)?, started_at: row.get(1)?, record: has_record.then(|| RecordRow::read_header(row, 2)).transpose()? })
    }

    fn summary(self, shared: &Shared, connection: &Connection) -> Result<SagaSummary> {
        let row = self.record.ok_or_else(|| missing_newest(&self.saga_id))?;
        let record = shared.record(connection, &self.saga_id, row)?;
        Ok(SagaSummary::of(record.meta(), DateTime::from_timestamp_micros(self.started_at).unwrap_or_default()))
    }
}

/// By which index the sagas are gone through. All give them in the order of the listing but `Id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Start,
    Status,
    Origin,
    Label,
    Id,
}

impl Way {
    fn choose(shared: &Shared, connection: &Connection, query: &SagaQuery) -> rusqlite::Result<Self> {
        if query.origin.is_some() {
            return Ok(Self::Origin);
        }
        if let Some(prefix) = query.id_prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            let count: i64 = connection
                .prepare_cached(
                    "SELECT count(*) FROM (SELECT 1 FROM sagas INDEXED BY sagas_by_id
                     WHERE namespace = ?1 AND saga_id >= ?2 AND (?3 IS NULL OR saga_id < ?3) LIMIT ?4)",
                )?
                .query_row((shared.namespace(), prefix, after_prefix(prefix), FEW + 1), |row| row.get(0))?;
            if count <= FEW {
                return Ok(Self::Id);
            }
        }
        Ok(if !query.labels.is_empty() {
            Self::Label
        } else if query.statuses.is_empty() {
            Self::Start
        } else {
            Self::Status
        })
    }

    fn from(self) -> &'static str {
        match self {
            Self::Start => "sagas AS s INDEXED BY sagas_by_start",
            Self::Status => "sagas AS s INDEXED BY sagas_by_status",
            Self::Origin => "sagas AS s INDEXED BY sagas_by_origin",
            Self::Id => "sagas AS s INDEXED BY sagas_by_id",
            Self::Label => "saga_labels AS l CROSS JOIN sagas AS s ON s.saga_no = l.saga_no",
        }
    }

    /// The table whose columns give the order.
    fn ordered(self) -> &'static str {
        match self {
            Self::Label => "l",
            _ => "s",
        }
    }
}

/// The first text in byte order that comes after everything that begins with `prefix`; none if nothing does.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The range steps over the surrogates, which are no characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// A SELECT put together from fixed pieces; whatever a caller gave is bound.
struct Select {
    sql: String,
    values: Vec<Value>,
}

impl Select {
    fn new(shared: &Shared, query: &SagaQuery, way: Way, status: Option<SagaStatus>) -> Self {
        let mut select = Self {
            sql: format!(
                "SELECT s.saga_id, s.started_at, r.sequence, r.definition_no, r.encoding, r.header
                 FROM {} LEFT JOIN records AS r ON r.saga_no = s.saga_no AND r.sequence = {NEWEST} AND r.sequence >= s.sequence
                 WHERE",
                way.from()
            ),
            values: Vec::new(),
        };
        let namespace = || Value::from(shared.namespace().to_owned());
        select.push(&format!(" {}.namespace = ?", way.ordered()), [namespace()]);
        let mut labels = query.labels.iter();
        if way == Way::Label
            && let Some((key, value)) = labels.next()
        {
            select.push(" AND l.key = ? AND l.value = ?", [key.clone().into(), value.clone().into()]);
        }
        for (key, value) in labels {
            select.push(
                " AND EXISTS (SELECT 1 FROM saga_labels AS o WHERE o.namespace = ? AND o.key = ? AND o.value = ?
                   AND o.started_at = s.started_at AND o.saga_id = s.saga_id)",
                [namespace(), key.clone().into(), value.clone().into()],
            );
        }
        let statuses = status.as_ref().map_or(&query.statuses[..], std::slice::from_ref);
        match statuses {
            [] => {}
            [status] => select.push(" AND s.status = ?", [i64::from(status.code()).into()]),
            several => {
                let places = vec!["?"; several.len()].join(", ");
                select.push(&format!(" AND s.status IN ({places})"), several.iter().map(|status| i64::from(status.code()).into()));
            }
        }
        select.filter(query);
        let table = way.ordered();
        if let Some(after) = &query.after {
            let place = [ceil_micros(after.started_at).into(), after.saga_id.to_string().into()];
            select.push(&format!(" AND ({table}.started_at, {table}.saga_id) < (?, ?)"), place);
        }
        select.push(&format!(" ORDER BY {table}.started_at DESC, {table}.saga_id DESC LIMIT ?"), []);
        select
    }

    fn filter(&mut self, query: &SagaQuery) {
        if let Some(origin) = &query.origin {
            self.push(" AND s.origin = ?", [origin.to_string().into()]);
        }
        if let Some(name) = &query.name {
            self.push(" AND s.name = ?", [name.clone().into()]);
        }
        if let Some(prefix) = &query.id_prefix {
            self.push(" AND s.saga_id >= ?", [prefix.clone().into()]);
            if let Some(end) = after_prefix(prefix) {
                self.push(" AND s.saga_id < ?", [end.into()]);
            }
        }
        if let Some(from) = query.updated.from {
            self.push(" AND r.created_at >= ?", [ceil_micros(from).into()]);
        }
        if let Some(until) = query.updated.until {
            self.push(" AND r.created_at < ?", [ceil_micros(until).into()]);
        }
    }

    fn push(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(sql);
        self.values.extend(values);
    }

    fn run(mut self, connection: &Connection, wanted: usize, heads: &mut Vec<Head>) -> rusqlite::Result<()> {
        self.values.push(i64::try_from(wanted).unwrap_or(i64::MAX).into());
        let mut select = connection.prepare_cached(&self.sql)?;
        for head in select.query_map(params_from_iter(self.values), Head::read)? {
            heads.push(head?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::after_prefix;

    #[test]
    fn what_begins_with_a_prefix_ends_before_the_next_one() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix(""), None);
    }
}
