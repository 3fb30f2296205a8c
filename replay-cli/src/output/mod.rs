//! What a command answers, and in which form it is printed: data on standard output, everything else on standard error.

mod answer;
pub(crate) mod diff;
mod error;
mod paint;
pub(crate) mod replays;
pub(crate) mod saga;
pub(crate) mod table;
pub(crate) mod timeline;
pub(crate) mod tree;
mod visible;

use std::io::{IsTerminal, Write};

use replay::{Error, ErrorKind, Result};

pub(crate) use self::{
    answer::Answer,
    paint::Paint,
    table::{Table, fields},
    visible::visible,
};
use crate::args::{Colour, Format};

/// Where a command's answer and remarks go.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) quiet: bool,
    /// How to paint what goes to standard output, and to standard error.
    pub(crate) stdout: Paint,
    pub(crate) stderr: Paint,
    pub(crate) stderr_is_terminal: bool,
}

impl Output {
    pub(crate) fn new(format: Option<Format>, colour: Colour, quiet: bool) -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let format = format.unwrap_or(if out { Format::Table } else { Format::Json });
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let paint = |is_terminal: bool, width: Option<u16>| {
            let coloured = match colour {
                Colour::Always => true,
                Colour::Never => false,
                Colour::Auto => is_terminal && !no_color && !dumb,
            };
            Paint::new(coloured, width.filter(|_| is_terminal).map_or(100, usize::from))
        };
        let width = |term: console::Term| term.size_checked().map(|(_, columns)| columns);
        Self {
            format,
            quiet,
            stdout: paint(out, width(console::Term::stdout())),
            stderr: paint(err, width(console::Term::stderr())),
            stderr_is_terminal: err,
        }
    }

    /// Prints an answer in the form that was asked for.
    ///
    /// # Errors
    /// `Internal` if standard output cannot be written to. A reader that has gone away is no error.
    pub(crate) fn answer(&self, answer: Answer) -> Result<()> {
        let text = answer.render(self.format, &self.stdout)?;
        write_all(&text)
    }

    /// Says something to the person at the terminal.
    #[expect(clippy::print_stderr, reason = "this is the place that prints remarks")]
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", visible(text.as_ref(), self.stderr.is_coloured()));
        }
    }

    /// Says what went wrong, also when quiet.
    #[expect(clippy::print_stderr, reason = "this is the place that prints errors")]
    pub(crate) fn error(&self, error: &Error, next: Option<&str>) {
        eprintln!("{}", visible(&error::render(error, next, &self.stderr), self.stderr.is_coloured()));
    }
}

/// Writes data to standard output.
///
/// # Errors
/// `Internal` if it cannot be written to. A reader that has gone away is no error.
pub(crate) fn write_all(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Internal, "print").message("standard output cannot be written to").caused_by(error))
        }
        _ => Ok(()),
    }
}
