//! Snapshots, sagas, replay and time travel: the model and the engine that every replay store shares
