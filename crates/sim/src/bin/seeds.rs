//! Runs a range of seeds and says how fast that went: `seeds FROM COUNT [unwell]`. Ends at the first world that breaks a promise.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let run = if std::env::args().any(|word| word == "unwell") { trued_sim::run_unwell } else { trued_sim::run };
    let [from, count] = numbers[..] else {
        let _ = writeln!(std::io::stderr(), "usage: seeds FROM COUNT [unwell]");
        return ExitCode::from(2);
    };
    // A panic inside a world is told as that world's broken promise.
    let began = Instant::now();
    let (mut entries, mut orders) = (0, 0);
    for seed in from..from.saturating_add(count) {
        match run(seed) {
            Ok(seen) => {
                entries += seen.entries;
                orders += seen.orders;
            }
            Err(failure) => {
                let _ = writeln!(std::io::stdout(), "{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = count as f64 / seconds;
    let _ = writeln!(std::io::stdout(), "{count} seeds in {seconds:.1} s: {rate:.0} seeds/s, {entries} entries, {orders} orders");
    ExitCode::SUCCESS
}
