//! From bytes to frames: one folder a protocol, none of them doing I/O.
pub mod http1;
