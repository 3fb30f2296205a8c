use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use replay::SagaId;

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Count only
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keep only the newest N snapshots of each saga
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<u64>,
    /// Remove expired snapshots (the default without --keep)
    #[arg(long)]
    pub(crate) expired: bool,
    /// Remove at most so many snapshots
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// With --keep: do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The saga
    pub(crate) id: SagaId,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[group(id = "chain", required = true, multiple = false)]
pub(crate) struct VerifyArgs {
    /// The saga
    #[arg(group = "chain")]
    pub(crate) id: Option<SagaId>,
    /// Every saga
    #[arg(long, group = "chain")]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The saga
    pub(crate) id: SagaId,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file, or - for standard input
    pub(crate) file: PathBuf,
    /// Take over the definitions too, so that `resume` and `run` execute the commands in them
    #[arg(long)]
    pub(crate) trust_definition: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// The store to copy from: a URL as in sqlite:orders.db, a profile of the configuration file, or @FILE that holds a URL
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// The store to copy to, named likewise
    #[arg(value_name = "TO")]
    pub(crate) to: String,
    /// Only sagas that match, as in status=completed,until=30d
    #[arg(long = "where", value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    /// Read each history back and compare it with the original
    #[arg(long)]
    pub(crate) verify: bool,
    /// Write nothing, and say what would be copied
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How many sagas are copied at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrency: u16,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Do not tour, but serve the payments that the examples call
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:9000")]
    pub(crate) payment_server: Option<SocketAddr>,
    /// Keep the tour's store in this folder, to go on exploring
    #[arg(long, value_name = "FOLDER", conflicts_with = "payment_server")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting and where it comes from
    Show,
    /// Check that the store can be opened, written and read
    Doctor,
    /// Print the lifecycle rules that the bucket of an S3 store should have, as JSON for the AWS tools
    Lifecycle,
}
