//! The two things the core asks of its host: blocks of memory fixed at start, and the time.

/// A block of bytes of fixed length whose untouched or released part need not be resident.
pub trait Memory {
    /// The whole block.
    fn bytes(&self) -> &[u8];
    /// The whole block, to write to. Its address never changes.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Gives the pages behind the first `keep` bytes back to the system; they read as zero afterwards.
    fn release(&mut self, keep: usize);
}

impl Memory for alloc::vec::Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
    fn release(&mut self, _keep: usize) {}
}

/// Nanoseconds of a clock that never steps back, and milliseconds of the one on the wall.
pub trait Clock {
    /// Monotonic nanoseconds since any fixed moment.
    fn now_ns(&self) -> u64;
    /// Unix time in milliseconds.
    fn wall_ms(&self) -> u64;
}
