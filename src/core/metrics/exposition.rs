//! The figures of all shards as Prometheus text.
