//! The `replay` command.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    replay_cli::Cli::new().run().await
}
