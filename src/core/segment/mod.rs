//! The file format of segments and quarantine: write a header, walk a file, tell damage from an unfinished end.
//!
//! `docs/segment-format.md` is the contract; what stands there is checked here and nowhere else.
//! [`header`] is one line, [`key`] what a spill adds to it, [`walk`] is one file, [`quarantine`] is the file of what was refused.
//!
//! No event can pass for a header, whoever wrote it: a header ends in a space and a newline, a stored event
//! ends in `}` and a newline and holds no newline, and a reader looks only where a header must stand.
pub mod header;
pub mod key;
pub mod quarantine;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod walk;

pub use header::{BLOCK_BYTES, HEADER_BYTES, Hash, Header, HeaderError, StreamName, crc32c};
pub use key::RunKey;
pub use quarantine::{QUARANTINE_HEADER_BYTES, QuarantineStep, QuarantineWalker};
pub use walk::{Chain, Commit, Damage, Depth, Front, ReadAt, Step, Walker, Why, front};
