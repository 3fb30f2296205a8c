use comfy_table::{ContentArrangement, presets};

use super::Paint;

type Cell = Box<dyn Fn(&Paint) -> String + Send>;

/// Rows under headings, without lines around them.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    /// What stands in place of an empty table, and below a full one.
    empty: String,
    footer: Option<String>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new(), empty: "nothing".to_owned(), footer: None }
    }

    /// Sets what is said if there is no row.
    pub(crate) fn or_empty(mut self, text: impl Into<String>) -> Self {
        self.empty = text.into();
        self
    }

    /// Sets a line below the table.
    pub(crate) fn footer(mut self, text: impl Into<String>) -> Self {
        self.footer = Some(text.into());
        self
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    pub(super) fn render(&self, paint: &Paint) -> String {
        if self.rows.is_empty() {
            return paint.dim(&self.empty);
        }
        let mut table = comfy_table::Table::new();
        let width = u16::try_from(paint.width()).unwrap_or(u16::MAX);
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        table.set_header(self.headings.iter().map(|heading| paint.dim(heading)));
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| cell(paint)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        let footer = self.footer.as_ref().map(|text| format!("\n{}", paint.dim(text))).unwrap_or_default();
        lines.join("\n") + &footer
    }

    pub(super) fn tab_separated(&self) -> String {
        let plain = Paint::plain();
        let line = |row: &Vec<Cell>| row.iter().map(|cell| cell(&plain).replace(['\t', '\n'], " ")).collect::<Vec<_>>().join("\t");
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// A cell with plain text.
#[expect(clippy::needless_pass_by_value, reason = "numbers are shown as well as references to text")]
pub(crate) fn plain(text: impl ToString) -> Cell {
    let text = text.to_string();
    Box::new(move |_| text.clone())
}

/// A cell that is painted.
pub(crate) fn painted(render: impl Fn(&Paint) -> String + Send + 'static) -> Cell {
    Box::new(render)
}

/// Names and values below one another, the values aligned; empty values are left out.
pub(crate) fn fields(paint: &Paint, fields: &[(&str, String)]) -> String {
    let shown: Vec<_> = fields.iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = shown.iter().map(|(name, _)| console::measure_text_width(name)).max().unwrap_or(0);
    let line = |(name, value): &&(&str, String)| {
        let pad = " ".repeat(width - console::measure_text_width(name));
        let value = value.replace('\n', &format!("\n{}", " ".repeat(width + 2)));
        format!("{}{pad}  {value}", paint.dim(name))
    };
    shown.iter().map(line).collect::<Vec<_>>().join("\n")
}
