//! The servers that replay is tested against: found, installed, started, watched and ended.
