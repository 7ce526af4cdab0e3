//! Every bound of the decoder, each with the reason for its number. Timeouts are the session's.

/// Bytes of a head, from the request line to the empty line, both included; above: 431.
///
/// Node's bound too. Heads of real clients have 100 to 800 bytes, with a large cookie or token 4 KiB to 8 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header lines of a head; above: 431. Browsers send about 20, proxies add a handful.
pub const HEADERS_MAX: usize = 64;

/// Bytes of a request target; above: 414. RFC 9112 asks for at least 8,000.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a method; above: 501. The longest registered one (`UPDATEREDIRECTREF`) has 17.
pub const METHOD_BYTES_MAX: usize = 32;

/// Bytes of a request line, its line break included: method, target, version, two spaces and `\r\n`.
pub const REQUEST_LINE_BYTES_MAX: usize = METHOD_BYTES_MAX + 1 + TARGET_BYTES_MAX + 1 + 8 + 2;

/// Bytes of a decoded body; above: 413, with Content-Length before any of it is read.
///
/// 32 of the largest events or 20,000 of the usual ones: larger bodies gain nothing and hold memory for longer.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a body read only to be thrown away, so that a refused request keeps its connection; above, the
/// refusal is sent at once and the connection closed: a new connection costs less than reading on.
pub const REFUSED_BODY_BYTES_MAX: usize = 64 * 1024;

/// Hexadecimal digits of a chunk size, leading zeros included: as many as 64 bits have.
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 16;

/// Bytes of all chunk extensions of a body. Nobody uses them but those who want a server to read in vain.
pub const CHUNK_EXTENSION_BYTES_MAX: u16 = 4 * 1024;

/// Bytes of a body's trailer section, which is checked and ignored; above: 431.
pub const TRAILER_BYTES_MAX: u16 = 4 * 1024;

/// Bytes of empty lines skipped before a request line. RFC 9112 asks for one; some old clients sent two.
pub const LEADING_BREAK_BYTES_MAX: usize = 8;

/// Bytes of a stream's name.
pub const STREAM_BYTES_MAX: usize = 64;
