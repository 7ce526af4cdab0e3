//! One shard's whole logic without I/O: what a driver tells it and asks of it.

/// Index of a connection in a slab of fixed size.
pub type ConnId = u32;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// One event a line.
    Lines,
}

/// What the driver is to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take no more bytes from the socket until told to.
    PauseReading,
    /// Take bytes again.
    ResumeReading,
    /// End our side (`shutdown(SHUT_WR)`) and go on receiving.
    EndWriting,
    /// Close the socket, then call `released`.
    Close,
}

/// Bytes for a file.
#[derive(Debug)]
pub struct Io<'a> {
    /// Which of the operations that may be in flight: 0 segment, 1 quarantine.
    pub slot: u8,
    /// Descriptor, open for direct writing.
    pub file: i32,
    /// Where in the file, a multiple of 4096.
    pub offset: u64,
    /// What to write: page aligned, a multiple of 4096, in place until both steps were reported.
    pub bytes: &'a [u8],
    /// Whether an fdatasync follows.
    pub sync: bool,
}

/// The two steps of an [`Io`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoStep {
    /// The write.
    Write,
    /// The fdatasync after it.
    Sync,
}
