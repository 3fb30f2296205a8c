use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The store, as in sqlite:orders.db or memory: [env: REPLAY_STORAGE_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) storage_url: Option<String>,
    /// The kind of store alone, at its usual place: memory, sqlite, redis on this machine, postgres as PGHOST and the like say
    #[arg(long, global = true, value_name = "KIND", conflicts_with = "storage_url", hide_possible_values = true)]
    pub(crate) storage: Option<Backend>,
    /// The namespace inside the store [default: default] [env: REPLAY_NAMESPACE]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// The profile in the configuration file [env: REPLAY_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// The configuration file [default: replay.toml here or above, then in the user's configuration folder] [env: REPLAY_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How data is printed: table, json, jsonl, yaml, ids, text [default: table on a terminal, else json]
    #[arg(long, short, global = true, alias = "format", value_name = "FORMAT", hide_possible_values = true)]
    pub(crate) output: Option<Format>,
    /// When to use colour: auto, always, never [default: auto; NO_COLOR is honoured]
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true, hide_default_value = true)]
    pub(crate) color: Colour,
    /// Say nothing on the way, only the result
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// The kinds of stores that this command can open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Memory,
    Sqlite,
    Redis,
    Postgres,
    /// Has no usual place, which the error says.
    S3,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people, with colour on a terminal
    Table,
    /// One JSON document with the name of its schema
    Json,
    /// One JSON document a line
    Jsonl,
    /// YAML
    Yaml,
    /// Ids only, one a line
    Ids,
    /// Plain text; lists as columns with tabs in between
    Text,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}
