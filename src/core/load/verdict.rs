//! Who limited the run: server, generator or platform.
