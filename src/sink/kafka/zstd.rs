//! Zstandard for whole batches, in C: one context a shard, kept and used again.
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, zstd_sys::ZSTD_EndDirective};

use crate::core::kafka::compress::{Codec, Compress};

/// Kafka's own default.
const LEVEL: i32 = 3;
/// 1 MiB: no batch is longer, and the context's memory follows from it.
const WINDOW_LOG: u32 = 20;

/// See the module.
pub struct Zstd(CCtx<'static>);

impl Zstd {
    /// Bytes that a context takes with the first batch, and keeps. From above; measured by a test.
    pub const MEMORY_BYTES: usize = 4 << 20;

    /// A context. `None`: there is no memory for one.
    pub fn new() -> Option<Zstd> {
        let mut context = CCtx::try_create()?;
        for parameter in [CParameter::CompressionLevel(LEVEL), CParameter::WindowLog(WINDOW_LOG)] {
            context.set_parameter(parameter).ok()?;
        }
        Some(Zstd(context))
    }
}

impl Compress for Zstd {
    fn codec(&self) -> Codec {
        Codec::Zstd
    }

    fn compress(
        &mut self,
        pieces: &mut dyn Iterator<Item = &[u8]>,
        out: &mut [u8],
        limit: usize,
    ) -> Option<usize> {
        // What an earlier batch that did not become shorter left behind.
        self.0.reset(ResetDirective::SessionOnly).ok()?;
        let limit = limit.min(out.len());
        let mut output = OutBuffer::around(&mut out[..limit]);
        for piece in pieces {
            let mut input = InBuffer::around(piece);
            while input.pos() < piece.len() {
                let directive = ZSTD_EndDirective::ZSTD_e_continue;
                self.0.compress_stream2(&mut output, &mut input, directive).ok()?;
                if output.pos() == limit {
                    return None;
                }
            }
        }
        let mut nothing = InBuffer::around(&[]);
        let left = self.0.compress_stream2(&mut output, &mut nothing, ZSTD_EndDirective::ZSTD_e_end).ok()?;
        (left == 0 && output.pos() < limit).then_some(output.pos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_makes_is_read_back_and_bounded() {
        let mut zstd = Zstd::new().unwrap();
        let mut text = Vec::new();
        for n in 0..30_000u32 {
            text.extend_from_slice(
                format!("{{\"n\":{n},\"m\":{}}},", n.wrapping_mul(2_654_435_761)).as_bytes(),
            );
        }
        text.truncate(1_000_000);
        let mut out = vec![0; text.len()];
        for piece in [1, 977, 60_000, text.len()] {
            let part = &text[..text.len().min(piece * 5000)];
            let len = zstd.compress(&mut part.chunks(piece), &mut out, part.len()).unwrap();
            assert!(len < part.len());
            let mut back = vec![0; part.len()];
            assert_eq!(zstd_safe::decompress(&mut back[..], &out[..len]), Ok(part.len()));
            assert!(back == part, "pieces of {piece}");
            // One byte less than it takes: refused, and the next one is sound again.
            assert_eq!(zstd.compress(&mut part.chunks(piece), &mut out, len), None);
        }
        let chance = random_bytes(100_000);
        assert_eq!(
            zstd.compress(&mut chance.chunks(999), &mut out, 100_000),
            None,
            "it does not become shorter"
        );
        assert!(zstd.0.sizeof() <= Zstd::MEMORY_BYTES, "{}", zstd.0.sizeof());
    }

    /// Bytes that nothing makes shorter.
    fn random_bytes(len: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        (0..len).map(|_| next()).collect()
    }
}
