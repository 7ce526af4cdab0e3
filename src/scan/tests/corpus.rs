//! The kept corpora of the fuzz targets (`fuzz/corpus`), each input as it is and with a few bytes changed.
mod common;
use common::*;
use std::{fs, path::Path};

/// Changed copies of each input; `RINGMILL_MUTANTS` for more.
fn mutants() -> usize {
    std::env::var("RINGMILL_MUTANTS").ok().and_then(|n| n.parse().ok()).unwrap_or(20)
}

fn each_input(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{}: the corpus is gone", folder.display());
    let mut random = Random(seed());
    for file in files {
        let input = fs::read(&file).unwrap();
        check(&input);
        for _ in 0..mutants() {
            let mut mutant = input.clone();
            (0..=random.below(3)).for_each(|_| mutate(&mut random, &mut mutant));
            check(&mutant);
        }
    }
}

#[test]
fn lines() {
    each_input("lines", inputs::lines);
}

#[test]
fn json() {
    each_input("json", inputs::json);
}

#[test]
fn sniff() {
    each_input("sniff", inputs::sniff);
}

#[test]
fn exact_judge() {
    each_input("exact", inputs::exact);
}

#[test]
fn chunked() {
    each_input("chunked", inputs::chunked);
}
