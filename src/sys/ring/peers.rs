//! The share of outgoing connections in a [`Ring`]: sends that gather, and receives into a buffer of their own.
//!
//! A peer has a slot here. Its buffer is not one of those provided to all: when every one of these is held for
//! clients that wait for a broker, the broker's answer must still get in.
//!
//! The low 32 bits of each key name the slot.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use io_uring::opcode;

use super::{Completion, Kind, Ring, fd};
use crate::sys::mapping::{Mapping, Residence};

/// Slices that one send can gather. Linux takes 1024; a request has three for each of its batches, and two or
/// three of these suffice to fill a socket's buffer.
pub const PARTS_MAX: usize = 64;

/// Bytes of the receive buffer of each peer. Answers of brokers have some hundred bytes for each of their
/// partitions; longer ones come in pieces.
pub const PEER_BUFFER_BYTES: usize = 16 << 10;

/// What the kernel may use for one peer. Never moved while it does.
pub(super) struct Place {
    header: libc::msghdr,
    parts: [libc::iovec; PARTS_MAX],
    buffer: Mapping,
    /// The kernel reads `header`, `parts`, and what these name.
    sending: bool,
    /// The kernel writes to `buffer`.
    receiving: bool,
}

impl Place {
    fn new() -> io::Result<Box<Place>> {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Ok(Box::new(Place {
            // SAFETY: a header of zeroes names nothing, which is valid.
            header: unsafe { std::mem::zeroed() },
            parts: [empty; PARTS_MAX],
            buffer: Mapping::new(PEER_BUFFER_BYTES, Residence::Now)?,
            sending: false,
            receiving: false,
        }))
    }

    /// Notes that an operation has ended.
    pub(super) fn ended(places: &mut [Box<Place>], completion: &Completion) {
        let place = &mut places[slot_of(completion.key())];
        match completion.kind() {
            Kind::PeerSend => place.sending = false,
            _ => place.receiving = false,
        }
    }
}

fn slot_of(key: u64) -> usize {
    key as u32 as usize
}

impl Ring {
    /// Makes memory for the peer slots up to `slot`, where there is none yet. It stays for the ring's life.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn prepare_peer(&mut self, slot: u32) -> io::Result<()> {
        while self.places.len() <= slot as usize {
            self.places.push(Place::new()?);
        }
        Ok(())
    }

    /// Receives once into the slot's buffer; [`Ring::peer_bytes`] shows what came.
    ///
    /// # Panics
    /// When the slot was not prepared or a receive is in flight there.
    pub fn peer_receive(&mut self, socket: BorrowedFd<'_>, key: u64) {
        let place = &mut self.places[slot_of(key)];
        assert!(!std::mem::replace(&mut place.receiving, true), "two receives for one peer");
        let entry = opcode::Recv::new(fd(socket), place.buffer.as_ptr(), PEER_BUFFER_BYTES as u32).build();
        self.push(entry.user_data(Kind::PeerReceive.tag(key)));
    }

    /// The first `len` bytes of the slot's buffer.
    ///
    /// # Panics
    /// When a receive is in flight there, or `len` exceeds [`PEER_BUFFER_BYTES`].
    pub fn peer_bytes(&mut self, slot: u32, len: usize) -> &mut [u8] {
        let place = &mut self.places[slot as usize];
        assert!(!place.receiving && len <= PEER_BUFFER_BYTES);
        // SAFETY: the mapping has that many bytes, and the kernel gave them up until the next `peer_receive`,
        // which needs `self` exclusively as the borrow here does.
        unsafe { std::slice::from_raw_parts_mut(place.buffer.as_ptr(), len) }
    }

    /// Sends all of `parts`, at most [`PARTS_MAX`] of them; what they name stays where it is until the completion
    /// was reaped.
    ///
    /// # Panics
    /// When the slot was not prepared, a send is in flight there, or there are too many parts.
    pub fn peer_send(&mut self, socket: BorrowedFd<'_>, parts: &[IoSlice<'_>], key: u64) {
        let place = &mut *self.places[slot_of(key)];
        assert!(!std::mem::replace(&mut place.sending, true), "two sends for one peer");
        for (to, part) in place.parts[..parts.len()].iter_mut().zip(parts) {
            *to = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
        }
        place.header.msg_iov = place.parts.as_mut_ptr();
        place.header.msg_iovlen = parts.len();
        let entry = opcode::SendMsg::new(fd(socket), &place.header)
            .flags((libc::MSG_WAITALL | libc::MSG_NOSIGNAL) as u32)
            .build();
        self.push(entry.user_data(Kind::PeerSend.tag(key)));
    }
}
