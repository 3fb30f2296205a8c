use std::{path::PathBuf, time::Duration};

use clap::Args;
use replay::{SagaId, saga::SnapshotStrategy};

use crate::time::parse_duration;

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The saga file, or the name of a saga that this command was built with
    #[arg(value_name = "SAGA")]
    pub(crate) saga: String,
    /// The saga's id; the same id with the same input is the same start [default: a new UUIDv7]
    #[arg(long)]
    pub(crate) id: Option<SagaId>,
    /// The first context: JSON, @file or - for standard input [default: {}]
    #[arg(long, short, value_name = "JSON|@FILE|-")]
    pub(crate) input: Option<String>,
    /// Set a value of the first context; value is JSON, else text. Keep secrets out of it: use @file or a secret of the saga file
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// When snapshots are captured: before_each_step, after_each_step, every(N), on_failure, on_completion, manual
    #[arg(long)]
    pub(crate) strategy: Option<SnapshotStrategy>,
    /// How long snapshots are kept, as in 30d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) retention: Option<Duration>,
    /// How many of the newest snapshots are kept
    #[arg(long, value_name = "N")]
    pub(crate) max_snapshots: Option<u64>,
    /// A searchable word
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// On whose behalf [default: the user's name]
    #[arg(long, value_name = "WHO")]
    pub(crate) initiated_by: Option<String>,
}

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false)]
pub(crate) struct ResumeWhich {
    /// The saga
    #[arg(group = "which")]
    pub(crate) id: Option<SagaId>,
    /// Every saga whose runner is gone
    #[arg(long, group = "which")]
    pub(crate) interrupted: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) which: ResumeWhich,
    /// Take the saga over even if its runner seems alive
    #[arg(long)]
    pub(crate) force: bool,
    /// A newer saga file to go on with
    #[arg(long, value_name = "NEW.yaml")]
    pub(crate) file: Option<PathBuf>,
    /// Go on although the definition has changed
    #[arg(long)]
    pub(crate) allow_definition_change: bool,
    /// On whose behalf [default: the user's name]
    #[arg(long, value_name = "WHO")]
    pub(crate) initiated_by: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The saga
    pub(crate) id: SagaId,
    /// Why
    #[arg(long)]
    pub(crate) reason: String,
    /// On whose behalf [default: the user's name]
    #[arg(long, value_name = "WHO")]
    pub(crate) initiated_by: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// The saga
    pub(crate) id: SagaId,
    /// The name to find it by
    #[arg(long, value_name = "NAME", default_value = "manual")]
    pub(crate) label: String,
    /// On whose behalf [default: the user's name]
    #[arg(long, value_name = "WHO")]
    pub(crate) initiated_by: Option<String>,
}
