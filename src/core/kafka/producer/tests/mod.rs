//! Rules, by name.
