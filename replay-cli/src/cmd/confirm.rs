//! Asking before what cannot be taken back.

use std::io::IsTerminal;

use replay::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::{app::App, interrupt::Signals};

/// Asks on a terminal. The line is read as the terminal gives it, so that nothing about the terminal has to be restored.
///
/// # Errors
/// `Refused` if the answer is no; `Cancelled` at Ctrl-C; `Invalid` if there is nobody to ask.
pub(super) async fn confirm(app: &App, signals: &mut Signals, question: &str, operation: &'static str) -> Result<()> {
    if !std::io::stdin().is_terminal() || !app.output.stderr_is_terminal {
        return Err(Error::invalid(operation, "there is nobody to ask").hint("add --yes if you are sure"));
    }
    let unreadable =
        |error: std::io::Error| Error::new(ErrorKind::Internal, operation).message("the terminal cannot be read").caused_by(error);
    console::Term::stderr().write_str(&format!("{question} [y/N] ")).map_err(unreadable)?;
    // A thread of its own, since nothing ends a read: at Ctrl-C the program ends while it waits.
    let (said, answer) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // Nobody hears the answer if Ctrl-C was faster.
        let _ = said.send(std::io::stdin().read_line(&mut line).map(|_| line));
    });
    let answer = tokio::select! {
        answer = answer => answer.unwrap_or_else(|_| Ok(String::new())).map_err(unreadable)?,
        () = signals.recv() => {
            app.output.note("");
            return Err(Error::new(ErrorKind::Cancelled, operation).message("interrupted; nothing was done"));
        }
    };
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Refused, operation).message("not confirmed; nothing was done"))
}
