//! The fast check: simd-json over a copy in one hot scratch, for it rewrites the escapes of its input.
use super::{Format, MAX_DEPTH, Scanner, ScannerFigures, Verdict};
use alloc::{vec, vec::Vec};
use simd_json::{Buffers, INPUT_PADDING, Tape};

/// Longest event that simd-json is shown; longer ones go the exact path, which needs no memory.
///
/// Its buffers take 24 bytes and more for each token and never shrink, so 256 KiB of `[1,1,…` would leave
/// over 7 MB behind on each core. With this bound they cannot be blown up, and there is nothing to drop.
pub const MAX_SIMD_BYTES: usize = 64 << 10;

/// Bytes of one tape node, of which an event has at most one a byte.
const NODE_BYTES: usize = size_of::<simd_json::Node<'static>>();

/// Validates with simd-json. Owns its buffers and allocates nothing once they have grown to the longest
/// event seen; only touched pages of them are resident.
pub struct SimdScanner {
    check: Check,
}

impl SimdScanner {
    /// A scanner with buffers of its own.
    pub fn new() -> SimdScanner {
        SimdScanner {
            check: Check {
                scratch: vec![0; MAX_SIMD_BYTES + INPUT_PADDING],
                buffers: Buffers::with_max_depth(MAX_SIMD_BYTES, MAX_DEPTH),
                tape: Tape(Vec::with_capacity(MAX_SIMD_BYTES + 1)),
            },
        }
    }

    /// Most bytes that its buffers can ever hold, whatever it is fed.
    pub const fn memory_max_bytes() -> usize {
        // Scratch, simd-json's string buffer and the input copy that it reserves but does not use here.
        let bytes = 3 * (MAX_SIMD_BYTES + INPUT_PADDING);
        // Vec doubles, so the index of 4 bytes for each token may have twice the room that it needs.
        let index = 2 * 4 * (MAX_SIMD_BYTES + 2 * INPUT_PADDING);
        let tape = NODE_BYTES * (MAX_SIMD_BYTES + 1);
        // The stack: a few words a level.
        let stack = 64 * MAX_DEPTH;
        bytes + index + tape + stack
    }
}

impl Default for SimdScanner {
    fn default() -> SimdScanner {
        SimdScanner::new()
    }
}

impl Scanner for SimdScanner {
    fn scan(&mut self, body: &[u8], format: Format, mut each: impl FnMut(Verdict)) {
        let check = &mut self.check;
        let vouches = |event: &[u8]| check.vouches(event);
        ringmill_scan::scan_exactly(body, format, vouches, |verdict| each(verdict.into()));
    }

    fn figures(&self) -> ScannerFigures {
        ScannerFigures { name: "simd-json", ..ScannerFigures::default() }
    }
}

/// simd-json and all that it needs.
struct Check {
    /// The event, then padding of any content.
    scratch: Vec<u8>,
    buffers: Buffers,
    /// Empty between events.
    tape: Tape<'static>,
}

impl Check {
    /// Whether `event`, which begins with `{`, is valid beyond doubt.
    fn vouches(&mut self, event: &[u8]) -> bool {
        let len = event.len();
        if len > MAX_SIMD_BYTES {
            return false;
        }
        self.scratch[..len].copy_from_slice(event);
        // The tape borrows the scratch only while it is filled; `reset` gives the room back to any lifetime.
        let mut tape = core::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let scratch = &mut self.scratch[..len + INPUT_PADDING];
        let sound = simd_json::fill_tape_padded(scratch, len, &mut self.buffers, &mut tape).is_ok();
        self.tape = tape.reset();
        sound
    }
}
