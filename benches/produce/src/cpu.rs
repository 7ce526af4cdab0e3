//! CPU time of this process, thread by thread, as the kernel counts it.
use std::collections::BTreeMap;
use std::fs;

/// Nanoseconds that each living thread has run, by the thread's name; threads of one name together. Kernel threads
/// that work for this process (io_uring's) are among them.
pub fn by_thread() -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return found };
    for task in tasks.flatten() {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).ok();
        // A thread may have ended meanwhile.
        let (Some(name), Some(told)) = (read("comm"), read("schedstat")) else { continue };
        let ran = told.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        *found.entry(name.trim().to_owned()).or_default() += ran;
    }
    found
}

/// What ran between two looks, in seconds: each thread, and all together.
pub fn between(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> (BTreeMap<String, f64>, f64) {
    let ran = |(name, ns): (&String, &u64)| {
        let seconds = (ns - before.get(name).copied().unwrap_or(0).min(*ns)) as f64 / 1e9;
        (name.clone(), seconds)
    };
    let threads: BTreeMap<String, f64> = after.iter().map(ran).collect();
    let all = threads.values().sum();
    (threads, all)
}
