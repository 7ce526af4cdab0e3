//! Expectations on a summary (`--expect`).
