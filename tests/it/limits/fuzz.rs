//! The fuzz target of `fuzz/` without a fuzzer: it runs over the corpus and over mutations of it. The seed is printed;
//! `FUZZ_SEED` replays one, and `FUZZ_SECONDS` sets the duration.

#[path = "../../../fuzz/fuzz_targets/target.rs"]
mod target;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/client");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a file")).collect()
}

#[test]
fn the_corpus_passes_the_fuzz_target() {
    let corpus = corpus();
    assert!(corpus.len() > 20, "{} inputs", corpus.len());
    for input in corpus {
        target::run(&input);
    }
}

#[test]
fn mutations_of_the_corpus_pass_the_fuzz_target() {
    let seed = variable("FUZZ_SEED").unwrap_or_else(rand::random);
    let until = Instant::now() + Duration::from_secs(variable("FUZZ_SECONDS").unwrap_or(3));
    let mut random = StdRng::seed_from_u64(seed);
    let corpus = corpus();
    let mut runs = 0_u64;
    while Instant::now() < until {
        let mut input = corpus[random.random_range(0..corpus.len())].clone();
        for _ in 0..random.random_range(1..6) {
            mutate(&mut input, &corpus, &mut random);
        }
        let kept = input.clone();
        let passed = std::panic::catch_unwind(move || target::run(&input));
        assert!(passed.is_ok(), "FUZZ_SEED={seed}, after {runs} runs: {kept:x?}");
        runs += 1;
    }
    assert!(runs > 500, "{runs} runs");
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut StdRng) {
    if input.is_empty() {
        input.push(random.random());
    }
    let at = random.random_range(0..input.len());
    match random.random_range(0..7) {
        0 => input[at] ^= 1 << random.random_range(0..8),
        1 => input[at] = random.random(),
        2 => drop(input.remove(at)),
        3 => input.insert(at, random.random()),
        4 => input.truncate(at),
        5 => {
            let other = &corpus[random.random_range(0..corpus.len())];
            let from = random.random_range(0..other.len());
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            let to = random.random_range(at..input.len().min(at + 32));
            let part = input[at..=to].to_vec();
            input.splice(at..at, part);
        }
    }
    input.truncate(64 * 1024);
}
