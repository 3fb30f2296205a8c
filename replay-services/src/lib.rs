//! The servers that replay is tested against: found, installed, started, watched and ended.
//!
//! A test that needs a server of its own, to kill it or to give it settings, starts one:
//!
//! ```no_run
//! use replay_services::redis;
//!
//! let server = redis::start(redis::Options::default().durable(true))?;
//! println!("{}", server.url());
//! server.kill()?;
//! server.restart()?;
//! # Ok::<(), replay_services::Error>(())
//! ```
//!
//! All other tests share servers, whose URLs [`required_url`] reads from the environment; `cargo xtask test` sets them.
//!
//! # What is left behind
//! Nothing. A server lives in a temporary folder whose guard, a small process, waits for the end of the process that made it, and then
//! ends the server and removes the folder: after success, failure, Ctrl-C and SIGKILL alike. Should the guard be killed as well, Linux
//! ends the servers (`setpriv --pdeathsig`), and the next start removes the folder.
//!
//! # What it blocks
//! Everything here blocks; in async code call it through `spawn_blocking`, or before it matters.
//!
//! # Where it runs
//! On Linux and, with what is on `PATH`, on macOS.

mod container;
mod error;
mod find;
pub mod fleet;
mod folder;
pub mod identity;
mod install;
mod moto;
mod port;
pub mod postgres;
pub mod private;
mod probe;
mod process;
pub mod redis;
pub mod s3;
mod server;
pub mod tls;
mod user;
mod wait;

pub use container::Engine;
pub use error::{Error, Result};
pub use fleet::Service;
pub use process::tied;
pub use server::Server;

/// The URL of a shared server, from the environment.
///
/// # Panics
/// If `variable` is not set: a test that cannot run fails, and says how it can.
pub fn required_url(variable: &str) -> String {
    match std::env::var(variable) {
        Ok(url) if !url.is_empty() => url,
        _ => panic!(
            "{variable} is not set, so there is no server to test against. Run the tests by `cargo xtask test`, or start the servers \
             with `cargo xtask services up` and set what it prints"
        ),
    }
}
