//! The highest rate that holds a goal (`--find-rate`).
