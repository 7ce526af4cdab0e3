//! The files of one kind that a shard has in hand: the one it fills, and the spare behind it.
use super::{Extent, FileKind, Mail, NotReady, Request};
use alloc::collections::VecDeque;

/// Requests that may wait for the housekeeper: at most a retirement and a preparation for each of two files.
const REQUESTS_MAX: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Open {
    file: i32,
    number: u64,
    id: u64,
    capacity: u64,
    used: u64,
}

/// Fills one file after the other; keeps one spare ready so that a rotation waits for nobody.
#[derive(Debug)]
pub struct Files {
    kind: FileKind,
    current: Option<Open>,
    spare: Option<Open>,
    /// The extent handed out and not yet settled.
    pending: u64,
    next_number: u64,
    no_space: bool,
    closed: bool,
    requests: VecDeque<Request>,
}

impl Files {
    /// Asks for the first file and its spare.
    pub fn new(kind: FileKind, next_number: u64) -> Files {
        let mut files = Files {
            kind,
            current: None,
            spare: None,
            pending: 0,
            next_number,
            no_space: false,
            closed: false,
            requests: VecDeque::with_capacity(REQUESTS_MAX),
        };
        files.prepare_next();
        files.prepare_next();
        files
    }

    fn prepare_next(&mut self) {
        self.requests.push_back(Request::Prepare { kind: self.kind, number: self.next_number });
        self.next_number += 1;
    }

    fn retire_current(&mut self) {
        if let Some(Open { file, number, used, .. }) = self.current.take() {
            self.requests.push_back(Request::Retire { kind: self.kind, file, number, used });
        }
    }

    /// Whether a file is at hand.
    pub fn ready(&self) -> Result<(), NotReady> {
        match (self.current.or(self.spare).is_some(), self.no_space) {
            (true, _) => Ok(()),
            (false, true) => Err(NotReady::NoSpace),
            (false, false) => Err(NotReady::NoFile),
        }
    }

    /// Makes the current file one that holds `bytes_max` more, by rotation if need be. False: none is ready,
    /// and the full one is given up, so that [`Files::ready`] says so and its unused end is free for others.
    pub fn make_room(&mut self, bytes_max: usize) -> bool {
        let fits = |open: &Open| open.used + bytes_max as u64 <= open.capacity;
        if self.current.as_ref().is_some_and(fits) {
            return true;
        }
        if self.current.is_some() {
            self.retire_current();
            self.prepare_next();
        }
        self.current = self.spare.take();
        self.current.as_ref().is_some_and(fits)
    }

    /// Id and number of the current file. Call after [`Files::make_room`] said yes.
    pub fn current(&self) -> Option<(u64, u64)> {
        self.current.as_ref().map(|open| (open.id, open.number))
    }

    /// Hands out the next `len` bytes of the current file.
    pub fn take(&mut self, len: usize) -> Option<Extent> {
        let open = self.current.as_ref()?;
        self.pending = len as u64;
        Some(Extent { file: open.file, offset: open.used, len })
    }

    /// What was handed out is sound.
    pub fn committed(&mut self) {
        if let Some(open) = self.current.as_mut() {
            open.used += core::mem::take(&mut self.pending);
        }
    }

    /// What was handed out failed: nothing is ever written to this file again.
    pub fn failed(&mut self, no_space: bool) {
        self.pending = 0;
        self.no_space = no_space;
        self.retire_current();
        self.current = self.spare.take();
        self.prepare_next();
    }

    /// Next thing for the housekeeper.
    pub fn next_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// News from the housekeeper; mail of the other kind is not ours.
    pub fn mail(&mut self, mail: Mail) {
        match mail {
            Mail::Ready { kind, file, number, id, capacity } if kind == self.kind => {
                self.no_space = false;
                let open = Open { file, number, id, capacity, used: 0 };
                match self.current {
                    _ if self.closed => {
                        self.requests.push_back(Request::Retire { kind, file, number, used: 0 })
                    }
                    None => self.current = Some(open),
                    Some(_) => self.spare = Some(open),
                }
            }
            Mail::Failed { kind, no_space } if kind == self.kind => self.no_space = no_space,
            _ => {}
        }
    }

    /// Hands everything back.
    pub fn close(&mut self) {
        self.closed = true;
        self.retire_current();
        self.current = self.spare.take();
        self.retire_current();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn ready(number: u64) -> Mail {
        Mail::Ready { kind: FileKind::Segment, file: number as i32, number, id: number, capacity: 8192 }
    }

    fn requests(files: &mut Files) -> Vec<Request> {
        core::iter::from_fn(|| files.next_request()).collect()
    }

    #[test]
    fn a_full_file_without_a_spare_is_not_ready() {
        let mut files = Files::new(FileKind::Segment, 1);
        assert_eq!(requests(&mut files).len(), 2);
        files.mail(ready(1));
        files.mail(Mail::Failed { kind: FileKind::Segment, no_space: true });
        assert_eq!(files.ready(), Ok(()), "the first file has room");
        assert!(files.make_room(4096));
        files.take(4096);
        files.committed();
        assert!(!files.make_room(8192));
        assert_eq!(files.ready(), Err(NotReady::NoSpace), "nobody may wait for what cannot come");
        // Given back once, and two files are on order again.
        let asked = requests(&mut files);
        assert!(matches!(
            asked[..],
            [Request::Retire { used: 4096, .. }, Request::Prepare { number: 3, .. }]
        ));
        assert!(!files.make_room(8192) && requests(&mut files).is_empty());
        files.mail(ready(2));
        files.mail(ready(3));
        assert!(files.ready().is_ok() && files.make_room(8192));
        assert_eq!(files.current(), Some((2, 2)));
        files.take(8192);
        files.committed();
        assert!(files.make_room(4096), "the spare is there");
        assert_eq!((files.current(), requests(&mut files).len()), (Some((3, 3)), 2));
    }
}
