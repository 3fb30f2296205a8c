//! How the command ends.

use std::process::ExitCode;

use replay::{ErrorKind, SagaStatus};

/// Exit codes; they are part of the contract, so they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    Ok = 0,
    /// The saga or the replay failed.
    Failed = 1,
    /// What was typed, or a file that it names, is wrong.
    Usage = 2,
    Refused = 3,
    NotFound = 4,
    /// A digest or a link of a chain is wrong.
    Integrity = 6,
    Conflict = 7,
    /// The store cannot be used.
    Storage = 8,
    Interrupted = 130,
}

impl Exit {
    pub(crate) fn of_error(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::LimitExceeded => Self::Usage,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Conflict | ErrorKind::Busy => Self::Conflict,
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Integrity => Self::Integrity,
            ErrorKind::Unavailable | ErrorKind::StoreFull | ErrorKind::PermissionDenied | ErrorKind::NewerVersion | ErrorKind::Timeout => {
                Self::Storage
            }
            ErrorKind::Cancelled => Self::Interrupted,
            _ => Self::Failed,
        }
    }

    pub(crate) fn of_run(status: SagaStatus, interrupted: bool) -> Self {
        match status {
            SagaStatus::Completed => Self::Ok,
            _ if interrupted => Self::Interrupted,
            _ => Self::Failed,
        }
    }

    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
