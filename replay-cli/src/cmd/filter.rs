//! `--where`: which sagas.

use replay::{
    Error, Result,
    storage::{SagaQuery, TimeRange},
};

use crate::{app::App, suggest};

const KEYS: &[&str] = &["status", "name", "id-prefix", "step", "label.KEY", "since", "until", "origin"];

/// Takes `status=failed,step=charge_payment,since=2h`. A comma inside a value is written `\,`; several statuses are separated
/// by `|`.
///
/// # Errors
/// `Invalid`, naming the condition.
pub(super) fn parse(app: &App, text: &str) -> Result<SagaQuery> {
    let mut query = SagaQuery::default();
    let wrong = |message: String| {
        Error::invalid("read filter", message).hint(format!("write conditions as in status=failed,since=2h; keys: {}", KEYS.join(", ")))
    };
    for condition in split(text) {
        let (key, value) = condition.split_once('=').ok_or_else(|| wrong(format!("`{condition}` is not a condition")))?;
        let (key, value) = (key.trim(), value.trim());
        match key {
            "status" => {
                for status in value.split('|') {
                    query.statuses.push(status.trim().parse()?);
                }
            }
            "name" | "saga" => query.name = Some(value.to_owned()),
            "id-prefix" => query.id_prefix = Some(value.to_owned()),
            "step" => query.step = Some(value.to_owned()),
            "since" => query.updated = TimeRange { from: Some(app.instant(value)?), ..query.updated },
            "until" => query.updated = TimeRange { until: Some(app.instant(value)?), ..query.updated },
            "origin" => query.origin = Some(value.parse()?),
            _ => match key.strip_prefix("label.") {
                Some(label) if !label.is_empty() => {
                    query.labels.insert(label.to_owned(), value.to_owned());
                }
                _ => {
                    let error = Error::invalid("read filter", format!("there is no condition `{key}`"));
                    return Err(error.hint(suggest::hint(key, KEYS).unwrap_or_default()));
                }
            },
        }
    }
    if query == SagaQuery::default() {
        return Err(wrong("the filter is empty, so it would match every saga".to_owned()));
    }
    Ok(query)
}

fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&',') => {
                chars.next();
                push(&mut parts, ',');
            }
            ',' => parts.push(String::new()),
            c => push(&mut parts, c),
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn push(parts: &mut [String], c: char) {
    if let Some(last) = parts.last_mut() {
        last.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_separated_by_commas_that_are_not_escaped() {
        assert_eq!(split(r"a=1, b=x\,y,,c="), ["a=1", " b=x,y", "c="]);
    }
}
