use std::fmt::Display;

use console::Style;
use replay::SagaStatus;

/// How text is painted: with colour or without, for a terminal of so many columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    coloured: bool,
    width: usize,
}

impl Paint {
    pub(crate) fn new(coloured: bool, width: usize) -> Self {
        Self { coloured, width: width.max(40) }
    }

    pub(crate) fn plain() -> Self {
        Self::new(false, 100)
    }

    /// Whether there is colour.
    pub(super) fn is_coloured(self) -> bool {
        self.coloured
    }

    /// How many columns there are.
    pub(crate) fn width(self) -> usize {
        self.width
    }

    fn apply(self, style: Style, text: &impl Display) -> String {
        let text = text.to_string();
        if self.coloured && !text.is_empty() { style.force_styling(true).apply_to(text).to_string() } else { text }
    }

    pub(crate) fn good(self, text: impl Display) -> String {
        self.apply(Style::new().green(), &text)
    }

    pub(crate) fn bad(self, text: impl Display) -> String {
        self.apply(Style::new().red(), &text)
    }

    pub(crate) fn warn(self, text: impl Display) -> String {
        self.apply(Style::new().yellow(), &text)
    }

    pub(crate) fn accent(self, text: impl Display) -> String {
        self.apply(Style::new().cyan(), &text)
    }

    pub(crate) fn dim(self, text: impl Display) -> String {
        self.apply(Style::new().dim(), &text)
    }

    pub(crate) fn bold(self, text: impl Display) -> String {
        self.apply(Style::new().bold(), &text)
    }

    /// `text` in the colour of `status`.
    pub(crate) fn by_status(self, status: SagaStatus, text: impl Display) -> String {
        match status {
            SagaStatus::Completed => self.good(text),
            SagaStatus::Failed => self.bad(text),
            SagaStatus::RolledBack | SagaStatus::Compensating | SagaStatus::Parked => self.warn(text),
            _ => self.accent(text),
        }
    }

    /// A status with its mark, in its colour.
    pub(crate) fn status(self, status: SagaStatus) -> String {
        self.by_status(status, format!("{} {status}", mark(status)))
    }
}

/// A sign for a status, so that colour is never all that tells.
fn mark(status: SagaStatus) -> char {
    match status {
        SagaStatus::Completed => '✔',
        SagaStatus::Failed => '✖',
        SagaStatus::RolledBack | SagaStatus::Compensating => '↺',
        SagaStatus::Parked => '‖',
        SagaStatus::Pending => '○',
        _ => '▶',
    }
}
