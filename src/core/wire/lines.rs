//! Newline-delimited events over a plain connection: hands out whole runs of complete lines.
//!
//! Callers only ever see complete lines; the unfinished tail stays in the buffer until its end arrives.

/// Bytes that one line may have, its line break included: an event is at most 256 KiB, and `\r\n` ends it.
///
/// A buffer that holds this many bytes without a line break holds a line that no scanner would accept.
pub const LINE_BYTES_MAX: usize = 256 * 1024 + 2;

/// Length of the run of complete lines at the front of `buf`, the last line break included; 0 if there is none.
///
/// `searched` says how many bytes at the front are known to hold no line break, and is kept up to date as if
/// the caller drops the run at once: pass the same variable again with the rest of the buffer and what arrived
/// since. So a peer that sends one byte at a time costs one look at each byte.
///
/// ```text
///   before   line\nline\nli          searched = 0
///            └── the run ──┘└ rest ┘ returns 10
///   after    li                      searched = 2
/// ```
pub fn complete_run(buf: &[u8], searched: &mut usize) -> usize {
    let from = (*searched).min(buf.len());
    let run = memchr::memrchr(b'\n', &buf[from..]).map_or(0, |at| from + at + 1);
    *searched = buf.len() - run;
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::split::every_split;
    use alloc::vec::Vec;

    /// All runs joined, and what stays behind.
    fn feed(pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
        let (mut runs, mut buf, mut searched) = (Vec::new(), Vec::new(), 0);
        for piece in pieces {
            buf.extend_from_slice(piece);
            let run = complete_run(&buf, &mut searched);
            assert!(run == 0 || buf[run - 1] == b'\n', "a run ends with a line break");
            runs.extend(buf.drain(..run));
            assert_eq!(searched, buf.len());
            assert!(!buf.contains(&b'\n'), "no complete line stays behind");
        }
        (runs, buf)
    }

    #[test]
    fn runs_end_at_the_last_line_break_however_they_arrive() {
        let cases: [(&[u8], usize); 6] =
            [(b"", 0), (b"a", 0), (b"\n", 1), (b"a\nb\nc", 4), (b"a\r\n\r\nb\r", 5), (b"{}\n{}\n", 6)];
        for (input, complete) in cases {
            let (runs, rest) = every_split(input, feed);
            assert_eq!((runs.as_slice(), rest.as_slice()), input.split_at(complete));
        }
    }
}
