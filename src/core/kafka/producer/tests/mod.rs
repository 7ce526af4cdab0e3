//! The rules by name (`rules.rs`), what else can happen (`beyond.rs`), and the whole in virtual time among brokers that fail (`simulation.rs`).
mod beyond;
mod brokers;
mod chaos;
mod cluster;
mod cluster_rules;
mod desk;
mod network;
mod oracle;
mod patience;
mod rules;
mod simulation;
mod world;
