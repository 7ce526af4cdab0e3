//! Past what is known to be sound: blanks and strings of a good event.
//!
//! No judge: on bytes that are no JSON it ends somewhere, within them.

/// Behind JSON's white space, of which there may be none.
#[inline(always)]
pub fn skip_blank(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\r' | b'\n') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Behind the closing quote of the string whose opening one is at `at`; `None` if it has none.
pub fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}
