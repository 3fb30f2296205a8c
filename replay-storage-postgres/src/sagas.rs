//! Listing the heads of sagas.

use std::{fmt::Write, sync::Arc};

use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use replay_core::{
    Result, SagaStatus,
    storage::{SagaCursor, SagaQuery, SagaSummary},
};

use crate::{
    paging::{Page, pages},
    row::{RecordRow, column, missing_head},
    sql::{Args, in_schema, instant_from},
    store::Shared,
    text::{after_prefix, escaped, label},
};

const OPERATION: &str = "list sagas";

const PAGE_ROWS: u64 = 128;

/// Where a listing stands: after which saga, and how many are still to come.
type Place = (Option<SagaCursor>, u64);

/// The sagas that match, a page at a time.
pub(crate) fn sagas(shared: Arc<Shared>, mut query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
    query.statuses.sort_unstable();
    query.statuses.dedup();
    let left = query.limit.unwrap_or(u64::MAX);
    let start = (left > 0).then(|| (query.after.take(), left));
    let query = Arc::new(query);
    pages(start, move |place| {
        let (shared, query) = (shared.clone(), query.clone());
        async move { page(&shared, &query, place).await }
    })
}

async fn page(shared: &Shared, query: &SagaQuery, (after, left): Place) -> Result<Page<SagaSummary, Place>> {
    // The number of the namespace is among the values.
    shared.find_namespace(OPERATION, false).await?;
    let wanted = left.min(PAGE_ROWS);
    let select = Select::new(shared, query, after.as_ref(), i64::try_from(wanted).unwrap_or(i64::MAX));
    let rows = shared.read(OPERATION, &in_schema(&shared.sql.schema, &select.sql), || select.args()).await?;
    let is_full = rows.len() as u64 == wanted;
    let (mut sagas, mut last) = (Vec::with_capacity(rows.len()), None);
    for row in &rows {
        let saga: &str = column(row, 0, OPERATION)?;
        let started_at: DateTime<Utc> = column(row, 1, OPERATION)?;
        if column::<Option<i64>>(row, 2, OPERATION)?.is_none() {
            return Err(missing_head(saga));
        }
        let record = shared.record(saga, RecordRow::read_header(row, 2)?).await?;
        let saga = SagaSummary::of(record.meta(), started_at);
        last = Some(saga.cursor());
        // The tables answer the same; this holds even if they should not.
        if query.matches(&saga) {
            sagas.push(saga);
        }
    }
    let left = left - sagas.len() as u64;
    let next = if is_full && left > 0 { last.map(|last| (Some(last), left)) } else { None };
    Ok((sagas, next))
}

/// A value that a caller gave; it is bound.
enum Value {
    Number(i32),
    Count(i64),
    Code(i16),
    Text(String),
    Texts(Vec<String>),
    Time(DateTime<Utc>),
}

/// A SELECT put together from fixed pieces.
struct Select {
    sql: String,
    values: Vec<Value>,
}

impl Select {
    fn new(shared: &Shared, query: &SagaQuery, after: Option<&SagaCursor>, wanted: i64) -> Self {
        let mut select = Self { sql: String::new(), values: vec![Value::Number(shared.namespace_no()), Value::Count(wanted)] };
        select.sql.push_str("SELECT h.saga_id, h.started_at, s.sequence, s.definition_no, s.encoding, s.header FROM (SELECT * FROM (");
        // Each status is a list in the wanted order; the page is the front of their merge.
        let statuses: Vec<Option<SagaStatus>> =
            if query.statuses.is_empty() { vec![None] } else { query.statuses.iter().copied().map(Some).collect() };
        for (index, status) in statuses.into_iter().enumerate() {
            select.sql.push_str(if index == 0 { "(" } else { " UNION ALL (" });
            select.push_heads(query, status, after);
            select.sql.push(')');
        }
        select.sql.push_str(
            ") AS arms ORDER BY started_at DESC, saga_id DESC LIMIT $2) AS h
             LEFT JOIN @.saga_snapshots AS s ON s.saga_no = h.saga_no AND s.sequence = h.sequence
             ORDER BY h.started_at DESC, h.saga_id DESC",
        );
        select
    }

    fn push_heads(&mut self, query: &SagaQuery, status: Option<SagaStatus>, after: Option<&SagaCursor>) {
        self.sql.push_str("SELECT saga_no, saga_id, started_at, sequence FROM @.saga_heads WHERE namespace_no = $1");
        if let Some(status) = status {
            self.push("status =", Value::Code(status.code().into()));
        }
        if let Some(name) = &query.name {
            self.push("name =", Value::Text(escaped(name)));
        }
        if let Some(prefix) = query.id_prefix.as_ref().filter(|prefix| !prefix.is_empty()) {
            // No id has a control character, and a column of text takes no U+0000.
            if prefix.contains('\0') {
                self.sql.push_str(" AND false");
            } else {
                self.push("saga_id >=", Value::Text(prefix.clone()));
                if let Some(end) = after_prefix(prefix) {
                    self.push("saga_id <", Value::Text(end));
                }
            }
        }
        if let Some(step) = &query.step {
            if step.contains('\0') {
                self.sql.push_str(" AND false");
            } else {
                self.push("step =", Value::Text(step.clone()));
            }
        }
        if !query.labels.is_empty() {
            let labels = query.labels.iter().map(|(key, value)| label(key, value)).collect();
            self.sql.push_str(" AND labels <> '{}'");
            self.push("labels @>", Value::Texts(labels));
        }
        if let Some(from) = query.updated.from {
            self.push("updated_at >=", Value::Time(instant_from(from)));
        }
        if let Some(until) = query.updated.until {
            self.push("updated_at <", Value::Time(instant_from(until)));
        }
        if let Some(origin) = &query.origin {
            self.push("origin =", Value::Text(origin.to_string()));
        }
        if let Some(after) = after {
            let place = self.bind(Value::Time(instant_from(after.started_at)));
            let saga = self.bind(Value::Text(after.saga_id.to_string()));
            let _ = write!(self.sql, " AND (started_at, saga_id) < (${place}, ${saga})");
        }
        self.sql.push_str(" ORDER BY started_at DESC, saga_id DESC LIMIT $2");
    }

    fn push(&mut self, condition: &'static str, value: Value) {
        let place = self.bind(value);
        let _ = write!(self.sql, " AND {condition} ${place}");
    }

    /// The number of the parameter that has this value.
    fn bind(&mut self, value: Value) -> usize {
        self.values.push(value);
        self.values.len()
    }

    fn args(&self) -> Args {
        self.values.iter().fold(Args::new(), |args, value| match value {
            Value::Number(number) => args.with(*number),
            Value::Count(count) => args.with(*count),
            Value::Code(code) => args.with(*code),
            Value::Text(text) => args.with(text.as_str()),
            Value::Texts(texts) => args.with(&texts[..]),
            Value::Time(time) => args.with(*time),
        })
    }
}
