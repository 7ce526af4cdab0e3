//! Integers as records hold them: zigzag, then seven bits a byte, the lowest first.
//!
//! The unsigned form, without zigzag, is what the flexible versions of requests use for lengths and counts.

/// Longest 32-bit one.
pub const BYTES_MAX: usize = 5;
/// Longest 64-bit one.
pub const LONG_BYTES_MAX: usize = 10;

/// `n` with its sign in the lowest bit, so that small numbers of either sign are short.
pub const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

/// The number that [`zigzag`] made `z` of.
pub const fn unzigzag(z: u64) -> i64 {
    (z >> 1) as i64 ^ -((z & 1) as i64)
}

/// Bytes that [`put_unsigned`] writes for `n`: 1 to 10.
#[inline]
pub const fn unsigned_len(n: u64) -> usize {
    // 9/64 is close enough to 1/7 for every bit count up to 64; zero has one byte too.
    let bits = 64 - (n | 1).leading_zeros();
    ((bits * 9 + 64) / 64) as usize
}

/// Bytes that [`put`] writes for `n`: 1 to 10.
#[inline]
pub const fn len(n: i64) -> usize {
    unsigned_len(zigzag(n))
}

/// Writes `n` at the start of `out`, which is long enough; returns how many bytes that took.
#[inline]
pub fn put_unsigned(out: &mut [u8], mut n: u64) -> usize {
    // Nearly all are short, and of one length each time, so these branches are foreseen.
    if n < 1 << 7 {
        out[0] = n as u8;
        return 1;
    }
    if n < 1 << 14 {
        out[..2].copy_from_slice(&[n as u8 | 0x80, (n >> 7) as u8]);
        return 2;
    }
    let mut at = 0;
    while n >= 0x80 {
        out[at] = n as u8 | 0x80;
        n >>= 7;
        at += 1;
    }
    out[at] = n as u8;
    at + 1
}

/// Writes `n` zigzagged at the start of `out`, which is long enough; returns how many bytes that took.
#[inline]
pub fn put(out: &mut [u8], n: i64) -> usize {
    put_unsigned(out, zigzag(n))
}

/// Reads an unsigned one from the start of `bytes`, and how many bytes it took. `None` if it is cut off or does
/// not fit 64 bits.
pub fn get_unsigned(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut n = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(LONG_BYTES_MAX) {
        let bits = u64::from(byte & 0x7f);
        if at == LONG_BYTES_MAX - 1 && *byte > 1 {
            return None;
        }
        n |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Some((n, at + 1));
        }
    }
    None
}

/// Reads a zigzagged one from the start of `bytes`, and how many bytes it took; `None` as [`get_unsigned`].
pub fn get(bytes: &[u8]) -> Option<(i64, usize)> {
    get_unsigned(bytes).map(|(n, len)| (unzigzag(n), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_own_examples() {
        let cases: [(i64, &[u8]); 13] = [
            (0, &[0]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
            (-65, &[0x81, 1]),
            (8191, &[0xfe, 0x7f]),
            (8192, &[0x80, 0x80, 1]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ];
        for (n, bytes) in cases {
            let mut out = [0xaa; LONG_BYTES_MAX];
            assert_eq!(put(&mut out, n), bytes.len(), "{n}");
            assert_eq!((&out[..bytes.len()], len(n)), (bytes, bytes.len()), "{n}");
            assert_eq!(get(bytes), Some((n, bytes.len())));
            (0..bytes.len()).for_each(|cut| assert_eq!(get(&bytes[..cut]), None));
        }
    }

    #[test]
    fn every_power_of_two_and_its_neighbours() {
        for bit in 0..64 {
            for n in [(1u64 << bit) - 1, 1 << bit, (1 << bit) | 1, u64::MAX >> bit] {
                let mut out = [0; LONG_BYTES_MAX];
                let written = put_unsigned(&mut out, n);
                assert_eq!(written, unsigned_len(n), "{n}");
                assert_eq!(get_unsigned(&out), Some((n, written)));
                assert_eq!(zigzag(unzigzag(n)), n);
            }
        }
    }

    #[test]
    fn too_long_is_refused() {
        assert_eq!(get_unsigned(&[0xff; 11]), None);
        assert_eq!(get_unsigned(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]), None);
        assert_eq!(get_unsigned(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]), None);
    }
}
