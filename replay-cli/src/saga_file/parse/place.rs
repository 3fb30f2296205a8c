use std::time::Duration;

use replay::{Error, Result};
use serde::de::DeserializeOwned;
use serde_saphyr::{Location, Spanned};

use crate::{suggest, time::parse_duration};

const OPERATION: &str = "read saga file";

/// A file's name and text, to say where an error is.
pub(super) struct Place<'a> {
    file: &'a str,
    text: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text }
    }

    /// Reads the text as a `T`.
    ///
    /// # Errors
    /// `Invalid`, with file, line and column.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(self.text, options).map_err(|error| self.syntax(&error))
    }

    fn syntax(&self, error: &serde_saphyr::Error) -> Error {
        use serde_saphyr::Error as Yaml;
        let at = error.location().unwrap_or(Location::UNKNOWN);
        match error.without_snippet() {
            Yaml::SerdeUnknownField { field, expected, .. } => {
                let wrong = self.at(at, &format!("there is no key `{field}` here"));
                match suggest::hint(field, expected) {
                    Some(hint) => wrong.hint(hint),
                    None => wrong,
                }
            }
            Yaml::SerdeMissingField { field, .. } => self.at(at, &format!("the key `{field}` is missing")),
            other => {
                let text = other.to_string();
                // The place is said in front, so the parser need not repeat it.
                let text = text.split(" at line ").next().unwrap_or(&text);
                let text = text.strip_prefix("error: ").unwrap_or(text);
                self.at(at, text.trim())
            }
        }
    }

    /// An error about the value `at`.
    pub(super) fn error<T>(&self, at: &Spanned<T>, message: impl AsRef<str>) -> Error {
        self.at(at.referenced, message.as_ref())
    }

    /// `error`, which is about the value `at`.
    pub(super) fn wrap<T>(&self, at: &Spanned<T>, error: &Error) -> Error {
        let wrong = self.error(at, error.detail().map_or_else(|| error.to_string(), str::to_owned));
        match error.advice() {
            Some(hint) => wrong.hint(hint),
            None => wrong,
        }
    }

    /// Takes a duration.
    ///
    /// # Errors
    /// `Invalid`, with file, line and column.
    pub(super) fn duration(&self, text: &Spanned<String>) -> Result<Duration> {
        parse_duration(&text.value).map_err(|error| self.wrap(text, &error))
    }

    fn at(&self, at: Location, message: &str) -> Error {
        let (line, column) = (at.line(), at.column());
        if line == 0 {
            return Error::invalid(OPERATION, format!("{}: {message}", self.file));
        }
        let error = Error::invalid(OPERATION, format!("{}:{line}:{column}: {message}", self.file));
        let index = usize::try_from(line - 1).unwrap_or(usize::MAX);
        match self.text.lines().nth(index).filter(|text| !text.trim().is_empty() && text.len() < 200) {
            Some(text) => {
                let before: String = text.chars().take(usize::try_from(column - 1).unwrap_or(0)).collect();
                let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                error.caused_by(format!("{line} | {text}\n{} | {indent}^", " ".repeat(line.to_string().len())))
            }
            None => error,
        }
    }
}
