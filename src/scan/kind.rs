//! What can be wrong with an event.

/// Why an event is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It is another value, or none.
    NotAnObject,
    /// U+FEFF stands before it.
    ByteOrderMark,
    /// Bytes that are no UTF-8 (Unicode, table 3-7).
    InvalidUtf8,
    /// A surrogate escape without its other half.
    LoneSurrogate,
    /// Nested deeper than [`crate::MAX_DEPTH`].
    TooDeep,
    /// Longer than [`crate::MAX_EVENT_BYTES`].
    TooLarge,
    /// More than white space follows it.
    TrailingData,
    /// It ends before it is complete.
    CutShort,
    /// A string without its closing quote.
    UnclosedString,
    /// A control character in a string.
    ControlCharacter,
    /// An escape that JSON does not know.
    BadEscape,
    /// Not four hexadecimal digits in an escape.
    BadHex,
    /// No value where one is due.
    ExpectedValue,
    /// No key behind a comma.
    ExpectedKey,
    /// Neither key nor end behind `{`.
    ExpectedKeyOrBrace,
    /// No colon behind a key.
    ExpectedColon,
    /// Neither comma nor end behind an object's value.
    ExpectedCommaOrBrace,
    /// Neither comma nor end behind an array's value.
    ExpectedCommaOrBracket,
    /// No digit where a number needs one.
    ExpectedDigit,
    /// A number that begins with a needless zero.
    LeadingZero,
    /// A word that is not `true`, `false` or `null`.
    BadLiteral,
    /// The array of events has no end.
    UnclosedArray,
    /// More than white space follows the array of events.
    AfterArray,
    /// Neither comma nor end behind an event of an array.
    BetweenEvents,
}
