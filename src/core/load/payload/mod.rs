//! Requests to send: valid and malformed classes, prebuilt and seeded.
