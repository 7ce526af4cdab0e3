//! Lines: every kernel, and the exact judge, and what others say of each line.
#![no_main]
#[path = "../../tests/common/mod.rs"]
mod common;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| common::inputs::lines(data));
