//! Signals to other processes, by a handle that cannot come to mean another process.
//!
//! A number may be given to a new process as soon as the old one is gone; a [`Process`] is opened once, checked,
//! and from then on means that one or nothing. Who may be signalled at all is decided by `load::faults`.
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGSTOP: stands still until [`Signal::Continue`].
    Stop,
    /// SIGCONT.
    Continue,
    /// SIGKILL.
    Kill,
}

/// A process, held by a descriptor (`pidfd_open`, Linux 5.3).
#[derive(Debug)]
pub struct Process {
    pid: u32,
    fd: OwnedFd,
}

impl Process {
    /// Opens the process with that number.
    ///
    /// # Errors
    /// `ESRCH` when there is none, `EINVAL` for 0 or a number that no process can have.
    pub fn open(pid: u32) -> io::Result<Process> {
        let number = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        // SAFETY: two plain integers; the kernel touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, number, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above just made this descriptor, and nobody else knows of it.
        Ok(Process { pid, fd: unsafe { OwnedFd::from_raw_fd(fd as i32) } })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// `ESRCH` when it has ended, `EPERM` when it is not ours to signal.
    pub fn send(&self, signal: Signal) -> io::Result<()> {
        let number = match signal {
            Signal::Stop => libc::SIGSTOP,
            Signal::Continue => libc::SIGCONT,
            Signal::Kill => libc::SIGKILL,
        };
        // SAFETY: the descriptor is open for the length of the call; a null siginfo means an ordinary `kill`.
        let failed = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                number,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if failed != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The user on whose behalf this process acts.
pub fn effective_user() -> u32 {
    // SAFETY: takes nothing, touches no memory, cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn a_child_is_stopped_continued_and_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let state = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
        };
        let process = Process::open(child.id()).unwrap();
        assert_eq!(process.pid(), child.id());
        for (signal, stopped) in [(Signal::Stop, true), (Signal::Continue, false)] {
            process.send(signal).unwrap();
            // The state follows within a tick; it is waited for with a bound.
            let reached = (0..2000).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(1));
                (state(child.id()) == 'T') == stopped
            });
            assert!(reached, "{signal:?}");
        }
        process.send(Signal::Kill).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert_eq!(process.send(Signal::Stop).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for pid in [0, u32::MAX] {
            assert_eq!(Process::open(pid).unwrap_err().raw_os_error(), Some(libc::EINVAL), "{pid}");
        }
    }
}
