//! A body in pieces: its first bytes say how it holds its events and where it is cut.
#![no_main]
#[path = "../../tests/common/mod.rs"]
mod common;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| common::inputs::chunked(data));
