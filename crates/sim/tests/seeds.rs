//! Many worlds, each from a seed; every world that ever failed; and the same seed twice.

/// So many worlds when nobody says otherwise.
const WORLDS: u64 = 2_000;

fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs a share of the worlds; two of them run side by side.
fn share(part: u64, parts: u64) {
    let count = asked("TRUED_SIM_SEEDS", WORLDS);
    let from = asked("TRUED_SIM_FROM", 0);
    for seed in (from..from + count).filter(|seed| seed % parts == part) {
        if let Err(failure) = trued_sim::run(seed) {
            panic!("{failure}");
        }
    }
}

#[test]
fn worlds_keep_their_promises_first_half() {
    share(0, 2);
}

#[test]
fn worlds_keep_their_promises_second_half() {
    share(1, 2);
}

#[test]
fn worlds_that_once_failed_keep_their_promises() {
    let corpus = include_str!("../corpus/seeds.txt");
    let seeds = corpus.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let mut count = 0;
    for line in seeds {
        let seed = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a line begins with its seed");
        if let Err(failure) = trued_sim::run(seed) {
            panic!("once: {line}\n{failure}");
        }
        count += 1;
    }
    assert!(count > 0, "the corpus holds seeds");
}

#[test]
fn p12_the_same_seed_gives_the_same_history() {
    for seed in 0..60 {
        let (once, again) = (trued_sim::record(seed), trued_sim::record(seed));
        assert_eq!(once, again, "seed {seed}");
    }
}
