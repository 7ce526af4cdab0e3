//! Blocks of memory straight from the kernel: page aligned, of fixed length, given back page by page.

use std::io;
use std::ptr::NonNull;

use crate::core::memory::Memory;

/// Bytes of a page: the alignment of every mapping and the grain in which it is released.
pub const PAGE: usize = 4096;

/// A private anonymous mapping. It reads as zero until it is written to, and never moves.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone, and nothing about it depends on the thread.
unsafe impl Send for Mapping {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// A mapping of at least `len` bytes, rounded up to whole pages.
    ///
    /// With `populate` every page is touched now, by the calling thread and so on its NUMA node; the steady
    /// state then takes no page fault. Without it only the pages that are written become resident, and the
    /// kernel reserves nothing for the rest.
    ///
    /// # Errors
    /// What `mmap` says, in words that name the size; `InvalidInput` for a length of zero or one that overflows.
    pub fn new(len: usize, populate: bool) -> io::Result<Mapping> {
        let len = len
            .checked_next_multiple_of(PAGE)
            .filter(|&len| len > 0 && len <= isize::MAX as usize)
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("a mapping of {len} bytes"))
            })?;
        let how = if populate { libc::MAP_POPULATE } else { libc::MAP_NORESERVE };
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | how,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            let cause = io::Error::last_os_error();
            return Err(io::Error::new(cause.kind(), format!("cannot map {len} bytes of memory: {cause}")));
        }
        let start = NonNull::new(start.cast()).expect("mmap never returns page zero unasked");
        Ok(Mapping { start, len })
    }

    /// Its address, for registering with the kernel.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Memory for Mapping {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` are mapped readable for as long as `self` lives, initialised by
        // the kernel, and not written to while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, mapped writable, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    fn release(&mut self, keep: usize) {
        let keep = keep.checked_next_multiple_of(PAGE).unwrap_or(self.len);
        if keep >= self.len {
            return;
        }
        // SAFETY: the range lies inside the mapping, which is private and anonymous, so that its pages read
        // as zero afterwards: still initialised. `self` is borrowed exclusively. Failure changes nothing.
        unsafe { libc::madvise(self.start.as_ptr().add(keep).cast(), self.len - keep, libc::MADV_DONTNEED) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are those of the mapping made in `new`, and no borrow outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_rounded_up_and_zero() {
        for populate in [false, true] {
            let mapping = Mapping::new(5000, populate).unwrap();
            assert_eq!(mapping.bytes().len(), 8192);
            assert_eq!(mapping.bytes().as_ptr() as usize % PAGE, 0);
            assert!(mapping.bytes().iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn release_keeps_the_front_to_the_page_and_zeroes_the_rest() {
        let mut mapping = Mapping::new(4 * PAGE, true).unwrap();
        mapping.bytes_mut().fill(7);
        let before = mapping.bytes().as_ptr();
        mapping.release(PAGE + 1);
        assert_eq!(mapping.bytes().as_ptr(), before);
        assert!(mapping.bytes()[..2 * PAGE].iter().all(|&byte| byte == 7));
        assert!(mapping.bytes()[2 * PAGE..].iter().all(|&byte| byte == 0));
        mapping.release(usize::MAX);
        assert_eq!(mapping.bytes()[0], 7);
        mapping.release(0);
        assert_eq!(mapping.bytes()[0], 0);
    }

    #[test]
    fn refuses_what_cannot_be() {
        assert!(Mapping::new(0, false).is_err());
        assert!(Mapping::new(usize::MAX, false).is_err());
    }

    #[test]
    fn a_large_untouched_mapping_costs_nothing() {
        let mut mapping = Mapping::new(1 << 36, false).unwrap();
        let last = mapping.bytes().len() - 1;
        mapping.bytes_mut()[last] = 1;
        assert_eq!(mapping.bytes()[last], 1);
    }
}
