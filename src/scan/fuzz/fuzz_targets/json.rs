//! One value, an object or an array: every kernel and the exact judge.
#![no_main]
#[path = "../../tests/common/mod.rs"]
mod common;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| common::inputs::json(data));
