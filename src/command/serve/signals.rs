//! What ends a server: a signal, or a shard that ended by itself.
use crate::log;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

/// Why it ends.
#[derive(Clone, Copy, Debug)]
pub enum Ended {
    /// A signal of that name.
    Signal(&'static str),
    /// That shard.
    Shard(u32),
}

/// The place where the main thread waits.
pub struct Wake {
    signals: (Sender<&'static str>, Receiver<&'static str>),
    shards: (Sender<u32>, Receiver<u32>),
}

impl Wake {
    /// Nothing has ended yet.
    pub fn new() -> Wake {
        Wake { signals: mpsc::channel(), shards: mpsc::channel() }
    }

    /// For a shard, to say that it ends.
    pub fn shard_ends(&self) -> Sender<u32> {
        self.shards.0.clone()
    }

    /// SIGTERM and SIGINT wake; a second one ends the process at once.
    pub fn watch_signals(&self) -> io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let wake = self.signals.0.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for (count, signal) in signals.forever().enumerate() {
                if count > 0 {
                    log::warn!("second signal: ending at once");
                    std::process::exit(1);
                }
                let _ = wake.send(if signal == SIGTERM { "SIGTERM" } else { "SIGINT" });
            }
        })?;
        Ok(())
    }

    /// Waits for the first of them.
    pub fn wait(&self) -> Ended {
        loop {
            if let Ok(name) = self.signals.1.recv_timeout(Duration::from_millis(100)) {
                return Ended::Signal(name);
            }
            if let Ok(shard) = self.shards.1.try_recv() {
                return Ended::Shard(shard);
            }
        }
    }
}

/// Ends the process if draining takes longer than `limit`.
pub fn exit_after(limit: Duration) {
    let watch = move || {
        std::thread::sleep(limit);
        log::error!("draining took longer than {limit:?}: ending with requests unanswered");
        std::process::exit(1);
    };
    // Without a thread for it the drain has no limit, which harms less than not draining.
    let _ = std::thread::Builder::new().name("drain-limit".into()).spawn(watch);
}
