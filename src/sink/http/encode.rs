//! Bodies compressed: one context a shard, kept and used again.

use flate2::{Compress, Compression, FlushCompress, Status};
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, zstd_sys::ZSTD_EndDirective};

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// Not at all: bodies are sent from where they lie.
    #[default]
    Identity,
    /// What everything understands.
    Gzip,
    /// What compresses better in less time.
    Zstd,
}

impl Coding {
    /// The names in settings.
    pub const NAMES: [&'static str; 3] = ["none", "gzip", "zstd"];

    /// The coding of that name.
    pub fn from_name(name: &str) -> Option<Coding> {
        const ALL: [Coding; 3] = [Coding::Identity, Coding::Gzip, Coding::Zstd];
        Self::NAMES.iter().position(|known| *known == name).map(|at| ALL[at])
    }

    /// Its name in settings.
    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Bytes that a context takes and keeps. From above; measured by a test.
    pub const fn memory_bytes(self) -> usize {
        match self {
            Coding::Identity => 0,
            Coding::Gzip => 512 << 10,
            Coding::Zstd => 8 << 20,
        }
    }
}

/// zlib's own default costs twice the time for a few per cent.
const GZIP_LEVEL: u32 = 4;
/// 32 KiB of window, which every reader of gzip has.
const GZIP_WINDOW_BITS: u8 = 15;
const ZSTD_LEVEL: i32 = 3;
/// 2 MiB of window: less than every reader of zstd allows, and the context's memory follows from it.
const ZSTD_WINDOW_LOG: u32 = 21;
/// By which the output grows when it does not become shorter.
const ROOM_BYTES: usize = 64 << 10;

/// A context.
pub enum Encoder {
    /// See [`Coding::Gzip`].
    Gzip(Compress),
    /// See [`Coding::Zstd`].
    Zstd(CCtx<'static>),
}

impl Encoder {
    /// A context for that coding, `None` for none.
    ///
    /// # Errors
    /// When there is no memory for one.
    pub fn new(coding: Coding) -> Result<Option<Encoder>, &'static str> {
        const NO_MEMORY: &str = "there is no memory for zstd";
        Ok(match coding {
            Coding::Identity => None,
            Coding::Gzip => {
                Some(Encoder::Gzip(Compress::new_gzip(Compression::new(GZIP_LEVEL), GZIP_WINDOW_BITS)))
            }
            Coding::Zstd => {
                let mut context = CCtx::try_create().ok_or(NO_MEMORY)?;
                for parameter in
                    [CParameter::CompressionLevel(ZSTD_LEVEL), CParameter::WindowLog(ZSTD_WINDOW_LOG)]
                {
                    context.set_parameter(parameter).map_err(|_| NO_MEMORY)?;
                }
                Some(Encoder::Zstd(context))
            }
        })
    }

    /// Appends the compressed pieces to `out`, which grows only if it has to. False: it could not be done.
    pub fn encode<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> bool {
        match self {
            Encoder::Gzip(gzip) => gzip_all(gzip, pieces, out).is_some(),
            Encoder::Zstd(zstd) => zstd_all(zstd, pieces, out).is_some(),
        }
    }
}

fn make_room(out: &mut Vec<u8>) {
    if out.capacity() - out.len() < 1024 {
        out.reserve(ROOM_BYTES);
    }
}

fn gzip_all<'a>(
    gzip: &mut Compress,
    pieces: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Option<()> {
    gzip.reset();
    for mut piece in pieces {
        while !piece.is_empty() {
            make_room(out);
            let before = gzip.total_in();
            gzip.compress_vec(piece, out, FlushCompress::None).ok()?;
            piece = &piece[(gzip.total_in() - before) as usize..];
        }
    }
    loop {
        make_room(out);
        if gzip.compress_vec(&[], out, FlushCompress::Finish).ok()? == Status::StreamEnd {
            return Some(());
        }
    }
}

fn zstd_all<'a>(
    zstd: &mut CCtx<'_>,
    pieces: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Option<()> {
    zstd.reset(ResetDirective::SessionOnly).ok()?;
    for piece in pieces {
        let mut input = InBuffer::around(piece);
        while input.pos() < piece.len() {
            zstd_step(zstd, &mut input, out, ZSTD_EndDirective::ZSTD_e_continue)?;
        }
    }
    while zstd_step(zstd, &mut InBuffer::around(&[]), out, ZSTD_EndDirective::ZSTD_e_end)? > 0 {}
    Some(())
}

fn zstd_step(
    zstd: &mut CCtx<'_>,
    input: &mut InBuffer<'_>,
    out: &mut Vec<u8>,
    directive: ZSTD_EndDirective,
) -> Option<usize> {
    make_room(out);
    let at = out.len();
    let mut output = OutBuffer::around_pos(out, at);
    zstd.compress_stream2(&mut output, input, directive).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn lines(count: u32) -> Vec<u8> {
        let line = |n: u32| format!("{{\"n\":{n},\"m\":{}}}\n", n.wrapping_mul(2_654_435_761));
        (0..count).flat_map(|n| line(n).into_bytes()).collect()
    }

    fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Identity => out.extend_from_slice(bytes),
            Coding::Gzip => {
                flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
            }
            Coding::Zstd => {
                out.reserve(64 << 20);
                zstd_safe::decompress(&mut out, bytes).unwrap();
            }
        }
        out
    }

    #[test]
    fn what_it_makes_is_read_back_whatever_the_pieces() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let mut encoder = Encoder::new(coding).unwrap().unwrap();
            for text in
                [lines(0), lines(1), lines(100_000), (0..200_000u32).flat_map(|n| n.to_le_bytes()).collect()]
            {
                for piece in [7, 4096, usize::MAX] {
                    let mut out = Vec::new();
                    assert!(encoder.encode(text.chunks(piece.min(text.len().max(1))), &mut out));
                    assert!(decode(coding, &out) == text, "{coding:?} {}", text.len());
                }
            }
        }
        assert!(Encoder::new(Coding::Identity).unwrap().is_none());
    }

    #[test]
    fn names_are_read_back() {
        for name in Coding::NAMES {
            assert_eq!(Coding::from_name(name).unwrap().as_str(), name);
        }
        assert_eq!(Coding::from_name("brotli"), None);
    }
}
