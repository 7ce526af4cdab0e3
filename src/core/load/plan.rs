//! Intended times of requests.
