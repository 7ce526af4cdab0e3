//! Buffers that a [`Ring`](super::Ring) provides to the kernel, and who has each of them: it or we.
//!
//! Not which connection a filled one belongs to: that stands in the completion.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::{IoUring, types};

use crate::sys::mapping::{Mapping, Residence};

/// How many provided buffers of what size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Count, a power of two, at most 32768.
    pub count: u16,
    /// Bytes of each.
    pub bytes: u32,
}

/// There is one large buffer for so many ordinary ones.
const LARGE_EACH: u16 = 8;
/// It is so many times as long.
const LARGE_TIMES: u32 = 4;

impl Buffers {
    /// The large buffers that go with these: an eighth as many, four times as long, and none beside fewer than 16.
    /// With 16 KiB a body of 64 KiB comes in one piece that is judged where it lies, instead of in four that are
    /// put together first.
    pub const fn large(self) -> Option<Buffers> {
        match self.count / LARGE_EACH {
            0 | 1 => None,
            count => Some(Buffers { count, bytes: self.bytes * LARGE_TIMES }),
        }
    }

    /// Resident bytes: the buffers and the ring of their descriptions.
    pub fn resident_bytes(self) -> usize {
        self.count as usize * (self.bytes as usize + size_of::<types::BufRingEntry>())
    }
}

/// Buffers of one group that the kernel fills with what arrives, and who holds each.
pub(super) struct Provided {
    /// Number of the first; others follow it.
    first: u16,
    shape: Buffers,
    entries: Mapping,
    memory: Mapping,
    /// Whether the buffer is ours to read. The kernel's otherwise.
    ours: Vec<bool>,
    ours_count: u16,
    tail: u16,
}

impl Provided {
    fn new(shape: Buffers, first: u16) -> io::Result<Provided> {
        if !shape.count.is_power_of_two() || shape.count > 1 << 15 || shape.bytes == 0 {
            let text = format!("{} provided buffers of {} bytes", shape.count, shape.bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let count = shape.count as usize;
        Ok(Provided {
            first,
            shape,
            entries: Mapping::new(count * size_of::<types::BufRingEntry>(), Residence::Now)?,
            memory: Mapping::new(count * shape.bytes as usize, Residence::Huge)?,
            ours: vec![true; count],
            ours_count: shape.count,
            tail: 0,
        })
    }

    /// Buffers numbered from `first` on, provided to `ring` as this group. To be unregistered before they are dropped.
    pub(super) fn register(ring: &IoUring, shape: Buffers, group: u16, first: u16) -> io::Result<Provided> {
        let mut provided = Provided::new(shape, first)?;
        let entries = provided.entries.as_ptr() as u64;
        // SAFETY: the entries are page aligned, hold `count` of them and are unmapped only after the ring
        // was closed and every operation that uses them has ended (see `Ring::drop`).
        unsafe { ring.submitter().register_buf_ring_with_flags(entries, shape.count, group, 0)? };
        for index in 0..shape.count {
            provided.put(first + index);
        }
        provided.publish();
        Ok(provided)
    }

    /// Makes the buffer the kernel's again, from the next `publish` on.
    pub(super) fn put(&mut self, buffer: u16) {
        let index = usize::from(buffer - self.first);
        assert!(std::mem::replace(&mut self.ours[index], false), "buffer {buffer} given back twice");
        self.ours_count -= 1;
        let slot = (self.tail & (self.shape.count - 1)) as usize;
        let address = self.memory.as_ptr() as u64 + index as u64 * self.shape.bytes as u64;
        // SAFETY: `slot` is below `count`, and `entries` holds that many, zeroed, page aligned. The kernel
        // reads an entry only once the tail has passed it, which `publish` does later.
        let entry = unsafe { &mut *self.entries.as_ptr().cast::<types::BufRingEntry>().add(slot) };
        entry.set_addr(address);
        entry.set_len(self.shape.bytes);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    pub(super) fn publish(&self) {
        // SAFETY: the base is the address of the first entry, initialised, of a ring of entries; its tail
        // field is two bytes, aligned to two, shared with the kernel and so accessed atomically.
        unsafe {
            let tail = types::BufRingEntry::tail(self.entries.as_ptr().cast());
            AtomicU16::from_ptr(tail.cast_mut()).store(self.tail, Ordering::Release);
        }
    }

    pub(super) fn take(&mut self, buffer: u16) {
        let before = std::mem::replace(&mut self.ours[usize::from(buffer - self.first)], true);
        assert!(!before, "the kernel filled buffer {buffer}, which it did not have");
        self.ours_count += 1;
    }

    /// See [`Ring::bytes`](super::Ring::bytes).
    pub(super) fn bytes(&mut self, buffer: u16, len: usize) -> &mut [u8] {
        let index = usize::from(buffer - self.first);
        let size = self.shape.bytes as usize;
        assert!(self.ours[index] && len <= size);
        // Not through the slice of the whole mapping: the kernel may be writing to its other buffers.
        // SAFETY: `index` is one of `ours`, so its `size` bytes are within the mapping; the kernel gave this buffer
        // up until `put`, which needs `self` exclusively as the borrow here does.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr().add(index * size), len) }
    }

    /// Whether the buffer is of this group.
    pub(super) fn holds(&self, buffer: u16) -> bool {
        buffer.wrapping_sub(self.first) < self.shape.count
    }

    pub(super) fn shape(&self) -> Buffers {
        self.shape
    }

    /// Buffers that the kernel can fill.
    pub(super) fn free(&self) -> u16 {
        self.shape.count - self.ours_count
    }
}
