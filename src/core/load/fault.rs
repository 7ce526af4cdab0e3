//! The fault timeline (`--fault`).
