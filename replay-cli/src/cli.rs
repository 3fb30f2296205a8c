//! The command as a value, to be run by a `main` of one's own.

use std::{ffi::OsString, process::ExitCode, sync::Arc};

use clap::{CommandFactory, FromArgMatches};
use replay::{
    Backends,
    saga::{AnySaga, Registry},
};

use crate::{app::App, args::Args, cmd, exit::Exit};

/// The `replay` command with sagas written in Rust.
///
/// ```no_run
/// use replay::prelude::*;
///
/// # fn order_saga() -> Saga<u32> { unreachable!() }
/// #[tokio::main]
/// async fn main() -> std::process::ExitCode {
///     replay_cli::Cli::new().name("orders").register(order_saga()).run().await
/// }
/// ```
///
/// `orders start order --input '…'` then runs that saga, and every other command works on it as on sagas from files.
#[derive(Debug, Clone)]
pub struct Cli {
    name: &'static str,
    version: &'static str,
    registry: Registry,
    backends: Backends,
}

impl Default for Cli {
    fn default() -> Self {
        Self { name: "replay", version: env!("CARGO_PKG_VERSION"), registry: Registry::new(), backends: Backends::default() }
    }
}

impl Cli {
    /// The stock command: sagas from files, the stores that were compiled in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the command's name, as help and hints show it; by default `replay`.
    #[must_use]
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets the version that `--version` prints; by default that of this crate.
    #[must_use]
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Adds a saga, instead of any other of the same name and version.
    #[must_use]
    pub fn register(mut self, saga: impl AnySaga) -> Self {
        self.registry.register(Arc::new(saga));
        self
    }

    /// Sets which stores can be opened; by default those that were compiled in.
    #[must_use]
    pub fn backends(mut self, backends: Backends) -> Self {
        self.backends = backends;
        self
    }

    /// Runs the command with the arguments of this process.
    pub async fn run(self) -> ExitCode {
        self.run_from(std::env::args_os()).await
    }

    /// Runs the command with `args`, of which the first is the program's name.
    pub async fn run_from<I, T>(self, args: I) -> ExitCode
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let command = self.command();
        let parsed = command.try_get_matches_from(args).and_then(|matches| Args::from_arg_matches(&matches));
        let args = match parsed {
            Ok(args) => args,
            Err(error) => {
                // Nothing is left to be done if the help cannot be printed.
                let _ = error.print();
                return u8::try_from(error.exit_code()).map_or_else(|_| Exit::Usage.into(), ExitCode::from);
            }
        };
        let command = self.command();
        let Args { global, command: what } = args;
        match App::new(self.name, command, self.registry, self.backends, &global) {
            Ok(app) => cmd::run(&app, what).await.into(),
            Err((output, error)) => {
                output.error(&error, None);
                Exit::of_error(error.kind()).into()
            }
        }
    }

    /// The command line's definition.
    fn command(&self) -> clap::Command {
        Args::command().name(self.name).bin_name(self.name).version(self.version)
    }
}
