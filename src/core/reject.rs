//! What the peer did wrong, in the peer's words: a status, a short code, and how to mend it.

/// A refusal that the peer must act on. Counted, never logged per event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// HTTP status of the reply.
    pub status: u16,
    /// Short machine-readable code (`snake_case`), the reply's `error`.
    pub code: &'static str,
    /// What, where, how to mend it: the reply's `reason`. Plain ASCII without `"` or `\`.
    pub reason: &'static str,
}

impl Reject {
    /// A refusal; `reason` must hold neither `"` nor `\` for it is put into JSON as it is.
    pub const fn new(status: u16, code: &'static str, reason: &'static str) -> Reject {
        Reject { status, code, reason }
    }
}
