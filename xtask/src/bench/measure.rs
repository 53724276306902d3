//! Running a program and measuring what it took.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::machine;

/// What one run of a program took.
#[derive(Clone, Copy)]
pub struct Took {
    pub wall: Duration,
    /// The highest resident memory that was seen, in KiB.
    pub peak: u64,
}

/// Runs a program to its end. Peak memory is read from the kernel's own high-water mark while the program runs; it only
/// grows, so the last reading misses no more than what the last fraction of a millisecond added.
pub fn run(mut command: Command) -> anyhow::Result<Took> {
    let words = machine::spelled(&command);
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().with_context(|| format!("failed to start {words}"))?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let exit = loop {
        if let Some(exit) = child.try_wait()? {
            break exit;
        }
        peak = high_water(&status).unwrap_or(0).max(peak);
        std::thread::sleep(Duration::from_micros(200));
    };
    let wall = started.elapsed();
    ensure!(exit.success(), "{words} failed ({exit})");
    Ok(Took { wall, peak })
}

/// Runs a program several times; see [`middle`].
pub fn median(rounds: usize, mut run: impl FnMut() -> anyhow::Result<Took>) -> anyhow::Result<Took> {
    let took = (0..rounds.max(1)).map(|_| run()).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(middle(&took))
}

/// The median of the times, and the highest peak, of at least one run.
pub fn middle(took: &[Took]) -> Took {
    let mut walls: Vec<Duration> = took.iter().map(|took| took.wall).collect();
    walls.sort_unstable();
    Took { wall: walls[walls.len() / 2], peak: took.iter().map(|took| took.peak).max().unwrap_or(0) }
}

/// The processor time that a process has taken so far, threads that have ended included; in hundredths of a second, as proc(5)
/// counts it.
pub fn processor_time(process: u32) -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn high_water(status: &str) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
}
