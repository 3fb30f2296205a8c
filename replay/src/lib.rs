//! Recoverable, repeatable, explainable multi-step work: sagas with snapshots, replay and time travel
