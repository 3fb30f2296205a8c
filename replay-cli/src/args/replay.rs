use std::path::PathBuf;

use clap::{Args, ValueEnum};
use replay::SagaId;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent options, not states")]
#[command(group = clap::ArgGroup::new("target").required(true).args(["id", "filter"]))]
pub(crate) struct RunArgs {
    /// The saga to replay
    pub(crate) id: Option<SagaId>,
    /// Replay every saga that matches, as in status=failed,step=charge_payment,since=2h
    #[arg(long = "where", value_name = "FILTER", conflicts_with_all = ["sequence", "at", "new_id"])]
    pub(crate) filter: Option<String>,
    /// From the newest checkpoint before this step [default: the step that failed]
    #[arg(long, value_name = "STEP", conflicts_with_all = ["sequence", "at"])]
    pub(crate) from_step: Option<String>,
    /// From the snapshot with this sequence
    #[arg(long, value_name = "N", conflicts_with = "at")]
    pub(crate) sequence: Option<u64>,
    /// From the state at this instant
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// Change the context: value is JSON, else text; null deletes. Keep secrets out of it: use --override-file
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Change the context by a merge patch (an object) or a JSON Patch (an array); - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "overrides")]
    pub(crate) override_file: Option<PathBuf>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Let a step fail without executing it, so that compensation is rehearsed [default step: the checkpoint's]
    #[arg(long, value_name = "STEP", num_args = 0..=1, require_equals = true, default_missing_value = "", conflicts_with = "dry_run")]
    pub(crate) force_failure: Option<String>,
    /// The idempotency keys of the steps that run
    #[arg(long, value_enum, default_value_t = KeysArg::Inherit)]
    pub(crate) keys: KeysArg,
    /// Completed steps that the original saga compensated later
    #[arg(long, value_enum, default_value_t = CompensatedArg::Rerun)]
    pub(crate) compensated: CompensatedArg,
    /// The same key again gives the existing replay instead of a second one
    #[arg(long, value_name = "KEY")]
    pub(crate) replay_key: Option<String>,
    /// A newer saga file
    #[arg(long, value_name = "NEW.yaml")]
    pub(crate) file: Option<PathBuf>,
    /// Replay although the definition has changed
    #[arg(long)]
    pub(crate) allow_definition_change: bool,
    /// On whose behalf [default: the user's name]
    #[arg(long, value_name = "WHO")]
    pub(crate) initiated_by: Option<String>,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// The new saga's id [default: a new UUIDv7]
    #[arg(long = "id", value_name = "NEWID")]
    pub(crate) new_id: Option<SagaId>,
    /// With --where: at most how many sagas
    #[arg(long, value_name = "N", requires = "filter")]
    pub(crate) limit: Option<u64>,
    /// With --where: how many at once
    #[arg(long, value_name = "N", requires = "filter", default_value_t = 8)]
    pub(crate) concurrency: usize,
    /// With --where: do not ask
    #[arg(long, short, requires = "filter")]
    pub(crate) yes: bool,
    /// Show the plan before running, and the context after
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeysArg {
    /// The same key as the original step had, so a receiver that already did it says so
    Inherit,
    /// New keys, so effects happen again
    Fresh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompensatedArg {
    /// Run them again, since their effect is gone
    Rerun,
    /// Skip them; for callers who know better
    Skip,
}
