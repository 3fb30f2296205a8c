use replay::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Paint, Table, visible};
use crate::args::Format;

type Render = Box<dyn FnOnce(&Paint) -> String + Send>;

/// What a command answers: one value for programs, and how people see it.
pub(crate) struct Answer {
    thing: &'static str,
    body: Map<String, Value>,
    list: Option<List>,
    ids: Vec<String>,
    shown: Shown,
}

struct List {
    key: &'static str,
    thing: &'static str,
    items: Vec<Value>,
}

enum Shown {
    Table(Table),
    Text(Render),
}

impl Answer {
    /// One thing, with the fields that `body` serialises to, under the schema `replay.<thing>/v1`.
    ///
    /// # Errors
    /// `Internal` if it does not serialise to an object.
    pub(crate) fn one(thing: &'static str, body: &impl Serialize) -> Result<Self> {
        let Value::Object(body) = to_value(body)? else {
            return Err(Error::new(ErrorKind::Internal, "print").message("the answer is not an object"));
        };
        Ok(Self { thing, body, list: None, ids: Vec::new(), shown: Shown::Text(Box::new(|_| String::new())) })
    }

    /// A list of things under `key`.
    ///
    /// # Errors
    /// `Internal` if an item does not serialise.
    pub(crate) fn list<T: Serialize>(key: &'static str, thing: &'static str, items: &[T]) -> Result<Self> {
        let items = items.iter().map(to_value).collect::<Result<_>>()?;
        let list = Some(List { key, thing, items });
        Ok(Self { thing: key, body: Map::new(), list, ids: Vec::new(), shown: Shown::Text(Box::new(|_| String::new())) })
    }

    /// Adds a field beside those of the body or the list.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.body.insert(key.to_owned(), value.into());
        self
    }

    /// Sets what `--output ids` prints.
    pub(crate) fn ids<S: ToString>(mut self, ids: impl IntoIterator<Item = S>) -> Self {
        self.ids = ids.into_iter().map(|id| id.to_string()).collect();
        self
    }

    /// Sets what people see.
    pub(crate) fn shown(mut self, render: impl FnOnce(&Paint) -> String + Send + 'static) -> Self {
        self.shown = Shown::Text(Box::new(render));
        self
    }

    /// Sets the table that people see.
    pub(crate) fn table(mut self, table: Table) -> Self {
        self.shown = Shown::Table(table);
        self
    }

    /// The answer as text, with a line end.
    pub(super) fn render(self, format: Format, paint: &Paint) -> Result<String> {
        let text = match format {
            Format::Table => match self.shown {
                Shown::Table(table) => visible(&table.render(paint), paint.is_coloured()).into_owned(),
                Shown::Text(render) => visible(&render(paint), paint.is_coloured()).into_owned(),
            },
            Format::Text => match self.shown {
                Shown::Table(table) => visible(&table.tab_separated(), false).into_owned(),
                Shown::Text(render) => visible(&render(&Paint::plain()), false).into_owned(),
            },
            Format::Ids => self.ids.join("\n"),
            Format::Json => pretty(&self.into_value())?,
            Format::Yaml => serde_saphyr::to_string(&self.into_value())
                .map_err(|e| Error::new(ErrorKind::Internal, "print").message("the answer cannot be written as YAML").caused_by(e))?,
            Format::Jsonl => self.into_lines(),
        };
        Ok(if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" })
    }

    fn into_value(self) -> Value {
        let mut body = Map::new();
        body.insert("schema".to_owned(), schema(self.thing));
        body.extend(self.body);
        if let Some(list) = self.list {
            body.insert(list.key.to_owned(), Value::Array(list.items));
        }
        Value::Object(body)
    }

    fn into_lines(mut self) -> String {
        let Some(list) = self.list.take() else { return self.into_value().to_string() };
        let line = |item: Value| {
            let mut body = Map::new();
            body.insert("schema".to_owned(), schema(list.thing));
            match item {
                Value::Object(fields) => body.extend(fields),
                other => drop(body.insert("value".to_owned(), other)),
            }
            Value::Object(body).to_string()
        };
        list.items.into_iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn schema(thing: &str) -> Value {
    Value::from(format!("replay.{thing}/v1"))
}

fn pretty(value: &Value) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|e| Error::new(ErrorKind::Internal, "print").caused_by(e))
}

fn to_value(body: &impl Serialize) -> Result<Value> {
    serde_json::to_value(body).map_err(|e| Error::new(ErrorKind::Internal, "print").message("the answer is not JSON").caused_by(e))
}
