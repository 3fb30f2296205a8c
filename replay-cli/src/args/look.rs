use clap::Args;
use replay::{SagaId, SagaStatus};

#[derive(Debug, Args)]
pub(crate) struct TimeTravelArgs {
    /// The saga
    pub(crate) id: SagaId,
    /// The instant: RFC 3339, `2h` (ago), or a local time with its zone
    #[arg(long, value_name = "TIME")]
    pub(crate) at: String,
    /// Only the value at this JSON pointer or dotted key
    #[arg(long, value_name = "POINTER")]
    pub(crate) key: Option<String>,
    /// Show the context too
    #[arg(long)]
    pub(crate) show_context: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListChangesArgs {
    /// The saga
    pub(crate) id: SagaId,
    /// From this instant on
    #[arg(long, value_name = "TIME")]
    pub(crate) after: Option<String>,
    /// Before this instant
    #[arg(long, value_name = "TIME")]
    pub(crate) before: Option<String>,
    /// At most how many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,
    /// Go on where an earlier call ended
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The saga
    pub(crate) id: SagaId,
    /// Another saga, to compare two runs
    #[arg(conflicts_with_all = ["from", "to"])]
    pub(crate) other: Option<SagaId>,
    /// The first state: a sequence or an instant
    #[arg(long, value_name = "SEQUENCE|TIME", requires = "to")]
    pub(crate) from: Option<String>,
    /// The second state: a sequence or an instant
    #[arg(long, value_name = "SEQUENCE|TIME", requires = "from")]
    pub(crate) to: Option<String>,
    /// Put old and new values next to each other
    #[arg(long)]
    pub(crate) side_by_side: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckpointsArgs {
    /// The saga
    pub(crate) id: SagaId,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The saga, or any of its replays
    pub(crate) id: SagaId,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The saga, or one of its snapshots as in order_123@17
    #[arg(value_name = "ID[@N]")]
    pub(crate) id: String,
    /// Show the context too
    #[arg(long)]
    pub(crate) show_context: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SagasArgs {
    /// One of these statuses
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Vec<SagaStatus>,
    /// The name of the definition
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What the id begins with
    #[arg(long, value_name = "PREFIX")]
    pub(crate) id_prefix: Option<String>,
    /// The step that the newest snapshot is about
    #[arg(long)]
    pub(crate) step: Option<String>,
    /// A label that it has
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Changed since this instant
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only replays of this saga
    #[arg(long, value_name = "ID")]
    pub(crate) origin: Option<SagaId>,
    /// At most how many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,
    /// Go on where an earlier call ended
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}
