//! Space of a file, taken ahead of what is written to it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Makes the file `bytes` long, with all of its space taken; what was never written reads as zeros. False: its file
/// system cannot do that.
///
/// # Errors
/// What `fallocate` says, such as that no space is left; part of it may be taken then.
pub fn allocate(file: BorrowedFd<'_>, bytes: u64) -> io::Result<bool> {
    let bytes = libc::off_t::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    loop {
        // SAFETY: numbers only, and the descriptor is open while it is borrowed.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return Ok(false),
            _ => return Err(error),
        }
    }
}
