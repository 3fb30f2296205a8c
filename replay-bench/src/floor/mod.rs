//! The least that the work of a row could cost: bare loops without replay.

pub(crate) mod copy;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod s3;
pub(crate) mod sqlite;
