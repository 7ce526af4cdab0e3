//! The checksum of a batch's newest run, taken piece by piece while events come.
//!
//! Its bytes are in the cache then, and less is left to the seal, for which the device waits. Only a saving: what was
//! not taken ahead is taken when it is asked for.
use crate::segment::header::{Crc32c, crc32c};
use core::ops::Range;

/// Fewer new bytes wait for more: a small commit then has one checksum in one go, as without this.
const PIECE_BYTES_MIN: usize = 32 << 10;

/// How far the checksum of which run is.
pub(super) struct Sum {
    /// Index of the run.
    run: usize,
    /// Where in the arena the part ends that was taken; 0: nothing was.
    end: usize,
    crc: Crc32c,
}

impl Sum {
    pub fn new() -> Sum {
        Sum { run: 0, end: 0, crc: Crc32c::new() }
    }

    /// Forgets what was taken.
    pub fn clear(&mut self) {
        self.end = 0;
    }

    /// The arena holds no more than `len` bytes from here on.
    pub fn cut(&mut self, len: usize) {
        if len < self.end {
            self.clear();
        }
    }

    /// Takes what is new in the body of run `index`, the newest, if it is worth it.
    #[inline]
    pub fn advance(&mut self, arena: &[u8], index: usize, body: Range<usize>) {
        let goes_on = self.end > 0 && self.run == index;
        let from = if goes_on { self.end } else { body.start };
        if body.end < from + PIECE_BYTES_MIN {
            return;
        }
        if !goes_on {
            (self.run, self.crc) = (index, Crc32c::new());
        }
        self.crc.update(&arena[from..body.end]);
        self.end = body.end;
    }

    /// The checksum of the body of run `index`.
    pub fn of(&mut self, arena: &[u8], index: usize, body: Range<usize>) -> u32 {
        if self.end == 0 || self.run != index {
            return crc32c(&arena[body]);
        }
        self.crc.update(&arena[self.end..body.end]);
        self.end = body.end;
        self.crc.value()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, Seal};
    use super::PIECE_BYTES_MIN;
    use crate::segment::header::{BLOCK_BYTES, Hash, StreamName};
    use alloc::{vec, vec::Vec};
    use fastrand::Rng;

    const SEAL: Seal = Seal { shard: 1, seq: 9, commit: 4, time_ms: 5, file: 6, prev: Hash::ZERO };

    fn sealed(batch: &mut Batch<Vec<u8>>) -> (Hash, Vec<u8>) {
        let (hash, len) = batch.seal(&SEAL);
        (hash, batch.bytes(0..len).to_vec())
    }

    /// Whatever is appended, undone and taken ahead: a batch is sealed as if nothing had been taken ahead.
    #[test]
    fn what_is_taken_ahead_changes_nothing() {
        let mut random = Rng::with_seed(0x5eed_0011);
        let streams = [StreamName::DEFAULT, StreamName::new(b"other").unwrap()];
        let arena = || vec![0; 64 * BLOCK_BYTES];
        let (mut ahead, mut plain) = (Batch::new(arena()), Batch::new(arena()));
        let mut taken = 0;
        for round in 0..200 {
            let one_stream = round % 2 == 0;
            for _ in 0..random.usize(..12) {
                let stream = &streams[if one_stream { 0 } else { random.usize(..2) }];
                let event = vec![random.alphanumeric() as u8; random.usize(1..2 * PIECE_BYTES_MIN)];
                let undo = random.u32(..4) == 0;
                for batch in [&mut ahead, &mut plain] {
                    let mark = batch.mark();
                    let _ = batch.append(stream, &event, false, 0);
                    if undo {
                        batch.rollback(mark);
                    }
                }
                if random.bool() {
                    ahead.sum_ahead();
                    taken += u32::from(ahead.sum.end > 0);
                }
            }
            if !plain.is_empty() {
                assert!(sealed(&mut ahead) == sealed(&mut plain), "round {round}");
            }
            ahead.clear();
            plain.clear();
        }
        assert!(taken > 100, "{taken}");
    }

    /// What was taken ahead of a request that is undone is not in the checksum of what comes instead.
    #[test]
    fn what_was_taken_ahead_can_be_undone() {
        let (mut ahead, mut plain) =
            (Batch::new(vec![0; 64 * BLOCK_BYTES]), Batch::new(vec![0; 64 * BLOCK_BYTES]));
        for batch in [&mut ahead, &mut plain] {
            batch.append(&StreamName::DEFAULT, b"{}", false, 0).unwrap();
        }
        let mark = ahead.mark();
        ahead.append(&StreamName::DEFAULT, &vec![b'a'; 2 * PIECE_BYTES_MIN], false, 0).unwrap();
        ahead.sum_ahead();
        assert!(ahead.sum.end > 0);
        ahead.rollback(mark);
        for batch in [&mut ahead, &mut plain] {
            batch.append(&StreamName::DEFAULT, &vec![b'b'; 3 * PIECE_BYTES_MIN], false, 0).unwrap();
        }
        assert!(sealed(&mut ahead) == sealed(&mut plain));
    }
}
