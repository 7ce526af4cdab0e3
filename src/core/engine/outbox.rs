//! Replies of one connection on their way out: a ring of bytes that never grows.
use crate::memory::Memory;

/// Bytes of one connection's outbox: the longest reply (100 errors) with room to spare, or some thirty
/// ordinary ones of a pipelining client.
pub const OUTBOX_BYTES: usize = 16 << 10;

/// ```text
/// [ free | to send … | free ]    or wrapped:   [ … to send | free | to send … ]
///         head                                              head
/// ```
pub struct Outbox<M> {
    block: M,
    head: usize,
    len: usize,
    sending: bool,
}

impl<M: Memory> Outbox<M> {
    /// Empty, over a block of [`OUTBOX_BYTES`].
    pub fn new(block: M) -> Outbox<M> {
        Outbox { block, head: 0, len: 0, sending: false }
    }

    /// Bytes not yet taken by the kernel.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a send is under way: its bytes stay where they are.
    pub fn is_sending(&self) -> bool {
        self.sending
    }

    /// Room left.
    pub fn free(&self) -> usize {
        self.block.bytes().len() - self.len
    }

    /// Adds bytes; the caller has made sure of the room.
    pub fn push(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.free(), "room is reserved before a request is admitted");
        let block = self.block.bytes_mut();
        let tail = (self.head + self.len) % block.len();
        let first = bytes.len().min(block.len() - tail);
        block[tail..tail + first].copy_from_slice(&bytes[..first]);
        block[..bytes.len() - first].copy_from_slice(&bytes[first..]);
        self.len += bytes.len();
    }

    /// The longest run that can be sent at once; marks a send as under way.
    pub fn start_send(&mut self) -> &[u8] {
        self.sending = true;
        let block = self.block.bytes();
        &block[self.head..(self.head + self.len).min(block.len())]
    }

    /// The kernel took `n` bytes.
    pub fn sent(&mut self, n: usize) {
        self.sending = false;
        self.len -= n.min(self.len);
        self.head = if self.len == 0 { 0 } else { (self.head + n) % self.block.bytes().len() };
    }

    /// Forgets everything: the connection is gone.
    pub fn clear(&mut self) {
        (self.head, self.len, self.sending) = (0, 0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    #[test]
    fn bytes_come_out_in_order_whatever_the_split() {
        let mut outbox = Outbox::new(vec![0; 64]);
        let (mut fed, mut out, mut next) = (Vec::new(), Vec::new(), 0u8);
        for step in 0..500usize {
            let n = (step * 7 % 40).min(outbox.free());
            let bytes: Vec<u8> = (0..n).map(|i| next.wrapping_add(i as u8)).collect();
            next = next.wrapping_add(n as u8);
            outbox.push(&bytes);
            fed.extend_from_slice(&bytes);
            let run = outbox.start_send();
            let took = run.len().min(step * 5 % 33);
            out.extend_from_slice(&run[..took]);
            outbox.sent(took);
        }
        while !outbox.is_empty() {
            let run = outbox.start_send();
            let took = run.len();
            out.extend_from_slice(run);
            outbox.sent(took);
        }
        assert_eq!(fed, out);
    }
}
