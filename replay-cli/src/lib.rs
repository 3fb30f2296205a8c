#![doc = include_str!("../README.md")]

mod app;
mod args;
mod cli;
mod cmd;
mod config;
mod demo;
mod exit;
mod interrupt;
mod next;
mod output;
mod progress;
mod saga_file;
mod source;
mod suggest;
mod time;

pub use cli::Cli;
