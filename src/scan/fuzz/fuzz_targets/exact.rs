//! One event: the exact judge and what others say of it.
#![no_main]
#[path = "../../tests/common/mod.rs"]
mod common;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| common::inputs::exact(data));
