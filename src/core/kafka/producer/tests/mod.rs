//! The rules by name (`rules.rs`), and the whole in virtual time among brokers that fail (`simulation.rs`).
mod cluster;
mod cluster_rules;
mod oracle;
mod rules;
mod simulation;
mod world;
