//! The edge of `ringmill load`: what sends, measures and shows. What is decided lies in [`ringmill_core::load`].
pub mod report;
pub mod view;
