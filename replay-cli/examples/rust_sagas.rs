//! A team's own command: sagas written in Rust behind the commands of `replay`.
//!
//! ```sh
//! cargo run -p replay-cli --example rust_sagas -- start deploy --input '{"version": "1.4.0", "healthy": false}' --id d1
//! cargo run -p replay-cli --example rust_sagas -- run d1 --from-step verify --override healthy=true
//! ```

#![allow(clippy::print_stderr, reason = "a program says what went wrong")]

use std::process::ExitCode;

use replay::prelude::*;
use serde::{Deserialize, Serialize};

/// What the steps hand on to one another.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Deployment {
    version: String,
    #[serde(default)]
    healthy: bool,
    #[serde(default)]
    switched: bool,
    previous: Option<String>,
}

fn deploy() -> replay::Result<Saga<Deployment>> {
    Saga::builder("deploy")
        .label("version", "/version")
        .step("upload", |deployment: Deployment| async move { Ok(deployment) })
        .step("switch", |mut deployment: Deployment| async move {
            deployment.previous = Some("1.3.9".to_owned());
            deployment.switched = true;
            Ok(deployment)
        })
        .compensate(|mut deployment: Deployment| async move {
            deployment.switched = false;
            Ok(deployment)
        })
        .step("verify", |deployment: Deployment| async move {
            if deployment.healthy { Ok(deployment) } else { Err(StepError::new("the new version does not answer")) }
        })
        .retry(RetryPolicy::attempts(2))
        .build()
}

#[tokio::main]
async fn main() -> ExitCode {
    match deploy() {
        Ok(deploy) => replay_cli::Cli::new().name("deployer").register(deploy).run().await,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
