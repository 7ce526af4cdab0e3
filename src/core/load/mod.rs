//! The decisions of `ringmill load`: when a request is due, what is recorded of it, and what may be said
//! about the numbers afterwards.
//!
//! Nothing here sends, receives, sleeps or reads a clock. Times are nanoseconds since the start of the run,
//! randomness comes from seeds, so the same arguments give the same plan, payloads and verdict.
//!
//! Enter at [`plan`] (intended times) → [`series`] (what is recorded) → [`stats`] (what that can bear) →
//! [`summary`] (what everyone reads). Beside them: [`search`] (`--find-rate`), [`compare`] (`--against`),
//! [`expect`] (`--expect`), [`verdict`] (who was the limit), [`payload`], [`reply`], [`fault`] and
//! [`reconcile`] (`--verify`).
pub mod compare;
pub mod expect;
pub mod fault;
pub mod payload;
pub mod plan;
pub mod reconcile;
pub mod reply;
pub mod search;
pub mod series;
pub mod stats;
pub mod summary;
pub mod verdict;
