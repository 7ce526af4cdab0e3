//! From bytes to frames: one folder or file a protocol, none of them doing I/O.
pub mod http1;
pub mod lines;
