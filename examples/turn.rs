//! How a task that never ends gives glommio its turn: what a turn costs, and how soon a file operation of another
//! task gets on beside it. The `uring` driver takes the way whose figures hold up (`Turns` in its file).
//!
//! `cargo run --release --example turn`
use glommio::io::{DmaFile, OpenOptions};
use glommio::{LocalExecutorBuilder, Placement};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Turns whose mean is taken.
const TURNS: u32 = 20_000;
/// File operations whose mean is taken.
const SYNCS: u32 = 20;
/// What the driver does between two turns.
const SPIN: Duration = Duration::from_micros(100);
/// Given up after this.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
enum Way {
    /// Says that it could go on, and is called again.
    Yield,
    /// Waits for a timer, so that the executor has nothing to run and polls its rings.
    Sleep(Duration),
}

impl Way {
    async fn give(self) {
        match self {
            Way::Yield => glommio::executor().yield_task_queue_now().await,
            Way::Sleep(time) => glommio::timer::sleep(time).await,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("ringmill-turn-{}", std::process::id()));
    let file = path.clone();
    let result = LocalExecutorBuilder::new(Placement::Fixed(0)).spawn(move || measure(file))?.join();
    let _ = std::fs::remove_file(&path);
    result??;
    Ok(())
}

async fn measure(path: PathBuf) -> Result<(), std::io::Error> {
    println!("| way | a turn | a write and fdatasync beside it |\n|-|-|-|");
    println!("| nothing beside it | – | {} |", told(alone(&path).await?));
    let sleep = |ns| Way::Sleep(Duration::from_nanos(ns));
    for (name, way) in [
        ("yield_task_queue_now", Way::Yield),
        ("sleep of 1 ns", sleep(1)),
        ("sleep of 1 µs", sleep(1_000)),
        ("sleep of 5 µs", sleep(5_000)),
    ] {
        let started = Instant::now();
        for _ in 0..TURNS {
            way.give().await;
        }
        let turn = started.elapsed() / TURNS;
        println!("| {name} | {turn:?} | {} |", told(beside(&path, way).await?));
    }
    Ok(())
}

fn told(mean: Option<Duration>) -> String {
    mean.map_or_else(|| format!("not within {PATIENCE:?}"), |mean| format!("{mean:?}"))
}

async fn alone(path: &Path) -> std::io::Result<Option<Duration>> {
    sync_often(path, Rc::new(Cell::new(0))).await.map(Some)
}

/// The mean time of an operation of another task while this one spins and gives turns.
async fn beside(path: &Path, way: Way) -> std::io::Result<Option<Duration>> {
    let (done, path) = (Rc::new(Cell::new(0)), path.to_path_buf());
    let counter = done.clone();
    let task = glommio::spawn_local(async move { sync_often(&path, counter).await }).detach();
    let started = Instant::now();
    while done.get() < SYNCS && started.elapsed() < PATIENCE {
        let spun = Instant::now();
        while spun.elapsed() < SPIN {
            std::hint::spin_loop();
        }
        way.give().await;
    }
    if done.get() < SYNCS {
        task.cancel();
        return Ok((done.get() > 0).then(|| started.elapsed() / done.get()));
    }
    task.await.transpose()
}

async fn sync_often(path: &Path, done: Rc<Cell<u32>>) -> std::io::Result<Duration> {
    let file: DmaFile = OpenOptions::new().create(true).write(true).dma_open(path).await?;
    let started = Instant::now();
    for n in 0..SYNCS {
        file.write_at(file.alloc_dma_buffer(4096), u64::from(n) * 4096).await?;
        file.fdatasync().await?;
        done.set(n + 1);
    }
    let mean = started.elapsed() / SYNCS;
    file.close().await?;
    Ok(mean)
}
