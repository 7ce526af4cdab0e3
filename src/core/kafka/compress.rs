//! Codecs of a batch's records. LZ4 is here; what needs C (zstd) is the edge's, behind [`Compress`].
//!
//! Kafka's LZ4 is the **frame** format with independent blocks of at most 64 KiB, without checksums or sizes
//! in the frame's header (the batch has its own CRC):
//!
//! ```text
//! 04 22 4D 18 │ 60 40 82 │ length of block │ block │ … │ 00 00 00 00
//! ```
//!
//! A block that does not become shorter is stored as it is. A batch that does not become shorter as a whole is
//! sent without a codec, which its header may say of each batch by itself, so nothing ever grows by compressing.
use alloc::boxed::Box;
use alloc::vec;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

/// How a batch's records are compressed. Gzip and Snappy are not offered: both lose to these two on either count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// LZ4 frame, independent blocks of 64 KiB.
    Lz4,
    /// Zstandard; brokers take it in Produce v7 and later.
    Zstd,
}

impl Codec {
    /// Its number in a batch's attributes.
    pub const fn id(self) -> u8 {
        match self {
            Codec::None => 0,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }
}

/// A compressor of whole batches that is kept and used again. Once warm it takes no memory.
pub trait Compress {
    /// What it makes.
    fn codec(&self) -> Codec;
    /// Compresses the concatenation of `pieces` into the start of `out` and returns the length, or `None` if
    /// that would not be below `limit`, which is at most the length of `out`. All of `out` may be scribbled on.
    fn compress(
        &mut self,
        pieces: &mut dyn Iterator<Item = &[u8]>,
        out: &mut [u8],
        limit: usize,
    ) -> Option<usize>;
    /// Bytes of the pieces that can be compressed one by one; `None`: only the whole at once.
    fn block_bytes(&self) -> Option<usize> {
        None
    }
    /// Goes on with a frame at the start of `out`, of which `made` bytes are there, 0 before the first. `raw` is
    /// what comes next: whole blocks, or with `last` whatever is left. Returns the length of the frame now, or
    /// `None` if it would not be below the length of `out`. All of it comes to what `compress` makes of one piece.
    fn go_on(&mut self, raw: &[u8], last: bool, out: &mut [u8], made: usize) -> Option<usize> {
        let _ = (raw, last, out, made);
        None
    }
}

/// Most bytes of one block before compression: what the frame's header says. Blocks two bytes shorter could do with
/// a table of half the size, but that one hashes four bytes instead of five: 5 to 10 % slower, 2 % longer.
const BLOCK_BYTES: usize = 64 * 1024;
const FRAME_HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const END_MARK: [u8; 4] = [0; 4];
/// Set in a block's length: its bytes are as they were.
const STORED: u32 = 1 << 31;

/// LZ4 frames, with a table and two buffers of a block each.
pub struct Lz4 {
    table: CompressTable,
    /// Where a block is put together of pieces.
    gathered: Box<[u8]>,
    /// Where a block is compressed to when `out` has less than the worst case left.
    squeezed: Box<[u8]>,
}

impl Lz4 {
    /// Bytes that one takes, all of them at start: the table's 4096 entries of 4 bytes, and the buffers.
    pub const MEMORY_BYTES: usize = 4096 * 4 + BLOCK_BYTES + get_maximum_output_size(BLOCK_BYTES);

    /// A compressor with its memory.
    pub fn new() -> Lz4 {
        Lz4 {
            table: CompressTable::large(),
            gathered: vec![0; BLOCK_BYTES].into(),
            squeezed: vec![0; get_maximum_output_size(BLOCK_BYTES)].into(),
        }
    }
}

impl Default for Lz4 {
    fn default() -> Self {
        Lz4::new()
    }
}

/// One frame being written.
struct Frame<'a> {
    out: &'a mut [u8],
    at: usize,
    limit: usize,
    table: &'a mut CompressTable,
    squeezed: &'a mut [u8],
}

impl Frame<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at + bytes.len();
        if end >= self.limit {
            return None;
        }
        self.out[self.at..end].copy_from_slice(bytes);
        self.at = end;
        Some(())
    }

    fn block(&mut self, raw: &[u8]) -> Option<()> {
        let place = self.at + 4;
        if self.out.len().saturating_sub(place) >= get_maximum_output_size(raw.len()) {
            let len = compress_into_with_table(raw, &mut self.out[place..], self.table).ok()?;
            if len < raw.len() {
                self.put(&(len as u32).to_le_bytes())?;
                self.at += len;
                return (self.at < self.limit).then_some(());
            }
        } else {
            let len = compress_into_with_table(raw, self.squeezed, self.table).ok()?;
            if len < raw.len() {
                self.put(&(len as u32).to_le_bytes())?;
                let end = self.at + len;
                if end >= self.limit {
                    return None;
                }
                self.out[self.at..end].copy_from_slice(&self.squeezed[..len]);
                self.at = end;
                return Some(());
            }
        }
        self.put(&(raw.len() as u32 | STORED).to_le_bytes())?;
        self.put(raw)
    }
}

impl Compress for Lz4 {
    fn codec(&self) -> Codec {
        Codec::Lz4
    }

    fn compress(
        &mut self,
        pieces: &mut dyn Iterator<Item = &[u8]>,
        out: &mut [u8],
        limit: usize,
    ) -> Option<usize> {
        let (gathered, table) = (&mut self.gathered, &mut self.table);
        let mut frame = Frame { out, at: 0, limit, table, squeezed: &mut self.squeezed };
        frame.put(&FRAME_HEADER)?;
        let mut held = 0;
        let mut next = pieces.next();
        while let Some(mut piece) = next {
            next = pieces.next();
            while !piece.is_empty() {
                // What lies together already is compressed from there.
                if held == 0 && (piece.len() >= BLOCK_BYTES || next.is_none()) {
                    let (block, rest) = piece.split_at(piece.len().min(BLOCK_BYTES));
                    frame.block(block)?;
                    piece = rest;
                    continue;
                }
                let (now, rest) = piece.split_at(piece.len().min(BLOCK_BYTES - held));
                gathered[held..held + now.len()].copy_from_slice(now);
                held += now.len();
                piece = rest;
                if held == BLOCK_BYTES {
                    frame.block(gathered)?;
                    held = 0;
                }
            }
        }
        if held > 0 {
            frame.block(&gathered[..held])?;
        }
        frame.put(&END_MARK)?;
        Some(frame.at)
    }

    fn block_bytes(&self) -> Option<usize> {
        Some(BLOCK_BYTES)
    }

    fn go_on(&mut self, raw: &[u8], last: bool, out: &mut [u8], made: usize) -> Option<usize> {
        let limit = out.len();
        let mut frame = Frame { out, at: made, limit, table: &mut self.table, squeezed: &mut self.squeezed };
        if made == 0 {
            frame.put(&FRAME_HEADER)?;
        }
        for block in raw.chunks(BLOCK_BYTES) {
            frame.block(block)?;
        }
        if last {
            frame.put(&END_MARK)?;
        }
        Some(frame.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::decode::lz4;
    use alloc::vec::Vec;
    use std::format;

    fn text(bytes: usize) -> Vec<u8> {
        let lines =
            (0u64..).map(|n| format!("{{\"n\":{n},\"random\":{}}}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let mut text: Vec<u8> = lines.flat_map(std::string::String::into_bytes).take(bytes).collect();
        text.truncate(bytes);
        text
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(11);
        (0..bytes).map(|_| random.u8(..)).collect()
    }

    #[test]
    fn frames_read_back_however_the_input_is_cut() {
        let mut compressor = Lz4::new();
        for len in [100, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 65_536, 3 * BLOCK_BYTES, 300_000] {
            let raw = text(len);
            for piece in [1, 17, 300, 4096, BLOCK_BYTES, len] {
                if len / piece > 20_000 {
                    continue;
                }
                let mut out = vec![0; len];
                let made = compressor.compress(&mut raw.chunks(piece), &mut out, len);
                let made =
                    made.unwrap_or_else(|| panic!("{len} bytes in pieces of {piece} do become shorter"));
                assert!(made < len);
                assert!(lz4(&out[..made]) == raw, "{len} bytes in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_frame_made_in_steps_is_the_one_made_at_once() {
        let mut compressor = Lz4::new();
        for len in [1000, BLOCK_BYTES, 2 * BLOCK_BYTES, 5 * BLOCK_BYTES + 777] {
            let raw = text(len);
            let mut whole = vec![0; len];
            let made = compressor.compress(&mut [&raw[..]].into_iter(), &mut whole, len).unwrap();
            for step in 1..=4 {
                let (mut out, mut at) = (vec![0; len], 0);
                let blocks = raw.chunks(step * BLOCK_BYTES);
                let count = blocks.len();
                for (n, piece) in blocks.enumerate() {
                    // The room grows with what came, as in an arena.
                    let room = (n * step * BLOCK_BYTES + piece.len()).min(len);
                    at = compressor.go_on(piece, n + 1 == count, &mut out[..room], at).unwrap();
                }
                assert!(out[..at] == whole[..made], "{len} bytes, {step} blocks at once");
                let mut out = vec![0; made];
                assert_eq!(
                    compressor.go_on(&raw, true, &mut out, 0),
                    None,
                    "the length itself is not below it"
                );
            }
        }
        let chance = noise(2 * BLOCK_BYTES);
        assert_eq!(compressor.go_on(&chance[..BLOCK_BYTES], false, &mut vec![0; BLOCK_BYTES], 0), None);
    }

    #[test]
    fn blocks_that_do_not_become_shorter_are_stored() {
        let mut raw = noise(BLOCK_BYTES);
        raw.extend(text(2 * BLOCK_BYTES));
        for room in [raw.len(), 2 * raw.len()] {
            let mut out = vec![0; room];
            let made = Lz4::new().compress(&mut [&raw[..]].into_iter(), &mut out, raw.len()).unwrap();
            assert!(lz4(&out[..made]) == raw);
            let first = u32::from_le_bytes(out[7..11].try_into().unwrap());
            assert_eq!(first, BLOCK_BYTES as u32 | STORED);
        }
    }

    #[test]
    fn what_would_not_be_shorter_is_refused() {
        let mut compressor = Lz4::new();
        for len in [0, 1, 11, 12, 13, 100, BLOCK_BYTES, 200_000] {
            let raw = noise(len);
            let mut out = vec![0; 2 * len];
            assert_eq!(compressor.compress(&mut [&raw[..]].into_iter(), &mut out, len), None, "{len}");
        }
        let raw = text(150_000);
        let mut out = vec![0; raw.len()];
        let made = compressor.compress(&mut [&raw[..]].into_iter(), &mut out, raw.len()).unwrap();
        for limit in (0..=made + 1).filter(|limit| *limit < 100 || *limit % 997 == 0 || *limit >= made) {
            for room in [limit, raw.len()] {
                let mut out = vec![0; room];
                let again = compressor.compress(&mut [&raw[..]].into_iter(), &mut out, limit);
                assert_eq!(again, (limit > made).then_some(made), "{limit} of {made}");
            }
        }
    }
}
