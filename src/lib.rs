//! ringmill: JSON events in, truthful acknowledgements out, one core a shard.
//!
//! ```text
//!                       one core: one thread, one glommio executor, nothing shared
//!          ┌────────────────────────────────────────────────────────────────────────────┐
//! senders ─┼▶ shard::driver ─ receive ─▶ core::engine ─ wire ─ json ─ batch ─┐          │
//!          │     ▲  │  ▲                     │    ▲                          ▼          │
//!          │     │  │  └────── next_send ────┘    └── ledger ◀─ io_done   next_io       │
//!          │     │  └─ replies, in order ─▶ senders               │          │          │
//!          │     └────────────────────────────────────────────────┴─ write + fdatasync ─┼─▶ segments
//!          └───────▲────────────────────────▲───────────────────────────────────────────┘
//!                  │ files, ready to write  │ ask: readiness, figures
//!            sink::keeper              admin (axum)          each on a thread beside the shards
//! ```
//!
//! [`core`] decides and does no I/O; everything else here is its edge: [`config`] finds out what to do, [`command`]
//! wires it up, [`shard`] moves the engine on its core, [`sink`] keeps the files, [`admin`] shows the figures, and
//! [`sys`] holds what has to be `unsafe`. ARCHITECTURE.md follows a byte through all of it.
pub use ringmill_core as core;

pub mod admin;
pub mod cli;
pub mod command;
pub mod config;
pub mod doctor;
pub mod load;
pub mod log;
pub mod replay;
pub mod shard;
pub mod sink;
pub mod sys;
pub mod tls;
