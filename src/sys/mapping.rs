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

/// When a mapping's pages become resident, and how large they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residence {
    /// Those that are written to, when they are. The kernel reserves nothing for the rest.
    Lazy,
    /// All of them now, by the calling thread and so on its NUMA node; the steady state takes no page fault.
    Now,
    /// The same in huge pages, as far as the kernel has them; ordinary ones for the rest. A direct write of 1 MiB
    /// is then a segment or two instead of 256.
    Huge,
}

/// Bytes of a huge page of x86-64, and of aarch64 with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

impl Mapping {
    /// A mapping of at least `len` bytes, rounded up to whole pages; with [`Residence::Huge`] it starts with a whole
    /// huge page.
    ///
    /// # Errors
    /// What `mmap` says, in words that name the size; `InvalidInput` for a length of zero or one that overflows.
    pub fn new(len: usize, residence: Residence) -> io::Result<Mapping> {
        // What is cut off again around the part that starts with a huge page.
        let excess = if residence == Residence::Huge { HUGE_PAGE - PAGE } else { 0 };
        let len = len
            .checked_next_multiple_of(PAGE)
            .filter(|&len| len > 0 && len <= isize::MAX as usize - excess)
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("a mapping of {len} bytes"))
            })?;
        let how = if residence == Residence::Now { libc::MAP_POPULATE } else { libc::MAP_NORESERVE };
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len + excess,
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
        let start = NonNull::new(start.cast::<u8>()).expect("mmap never returns page zero unasked");
        let mut mapping = Mapping { start, len: len + excess };
        if residence == Residence::Huge {
            mapping.cut_to_huge_page(len);
        }
        Ok(mapping)
    }

    /// Cuts off what lies outside `len` bytes from the first whole huge page, and makes the rest resident.
    fn cut_to_huge_page(&mut self, len: usize) {
        let front = self.start.as_ptr().align_offset(HUGE_PAGE);
        let back = self.len - front - len;
        // SAFETY: front and back are whole pages of this mapping, made a moment ago and lent to nobody; `start`
        // and `len` are those of what remains. Advice changes no content, and where it is refused the pages are
        // ordinary ones, or come when they are touched.
        unsafe {
            let start = self.start.add(front);
            if front > 0 {
                libc::munmap(self.start.as_ptr().cast(), front);
            }
            if back > 0 {
                libc::munmap(start.add(len).as_ptr().cast(), back);
            }
            libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE);
            libc::madvise(start.as_ptr().cast(), len, libc::MADV_POPULATE_WRITE);
            self.start = start;
        }
        self.len = len;
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
        for (residence, grain) in
            [(Residence::Lazy, PAGE), (Residence::Now, PAGE), (Residence::Huge, HUGE_PAGE)]
        {
            let mapping = Mapping::new(grain + 1, residence).unwrap();
            assert_eq!(mapping.bytes().len(), grain + PAGE);
            assert_eq!(mapping.bytes().as_ptr() as usize % grain, 0);
            assert!(mapping.bytes().iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn release_keeps_the_front_to_the_page_and_zeroes_the_rest() {
        let mut mapping = Mapping::new(4 * PAGE, Residence::Now).unwrap();
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
        assert!(Mapping::new(0, Residence::Lazy).is_err());
        assert!(Mapping::new(usize::MAX, Residence::Lazy).is_err());
        assert!(Mapping::new(isize::MAX as usize, Residence::Huge).is_err());
    }

    #[test]
    fn a_large_untouched_mapping_costs_nothing() {
        let mut mapping = Mapping::new(1 << 36, Residence::Lazy).unwrap();
        let last = mapping.bytes().len() - 1;
        mapping.bytes_mut()[last] = 1;
        assert_eq!(mapping.bytes()[last], 1);
    }
}
