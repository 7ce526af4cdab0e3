//! Reconciling acknowledged events with stored ones (`--verify`).
