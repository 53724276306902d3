//! How soon a stack's next commit lands beside others that never come to rest.

use std::time::Duration;

use super::estate::{Estate, until};
use super::{Ground, Row, landed, seconds};
use crate::partners::Partners;

const STACKS: usize = 100;
const STUCK: usize = 10;
/// Odd, so that there is one in the middle.
const COMMITS: usize = 9;

/// A commit that changes one of a hundred stacks: alone, beside ten that wait for replicas nobody starts, and beside two that
/// wait for each other.
pub fn beside(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let partners = Partners::start()?;
    let estate = Estate::of_applications(ground, &partners, "beside", STACKS)?;
    let serving = estate.serve()?;
    until("the first pass", || Ok(estate.folder.join(".trued").exists()))?;
    serving.quiet()?;
    let alone = middle(&estate, 10)?;

    let stuck: Vec<(String, &str)> = (0..STUCK).map(|n| (format!("stuck{n}"), "health: { within: 1h }")).collect();
    stuck.iter().try_for_each(|(name, _)| estate.write_deployment(name, 1))?;
    estate.configure(&stuck)?;
    estate.commit("stuck")?;
    until("ten that wait", || Ok(waiting(&estate)? == STUCK))?;
    let beside_stuck = middle(&estate, 100)?;

    let circle = [("one".to_owned(), "after: [two]"), ("two".to_owned(), "after: [one]")];
    circle.iter().try_for_each(|(name, _)| estate.write_deployment(name, 0))?;
    estate.configure(&circle)?;
    estate.commit("circle")?;
    serving.quiet()?;
    let beside_circle = middle(&estate, 1_000)?;

    let row = |what: &str, took: Duration, bar: &'static str, holds: bool| {
        let ratio = took.as_secs_f64() / alone.as_secs_f64();
        let yardstick = format!("alone {}: {ratio:.2} ×", seconds(alone));
        Row { what: format!("a commit to 1 of {STACKS}, beside {what}"), measured: seconds(took), yardstick, bar, holds }
    };
    Ok(vec![
        row(&format!("{STUCK} never ready"), beside_stuck, "1.5 ×", beside_stuck.as_secs_f64() <= 1.5 * alone.as_secs_f64()),
        row("a circle of two", beside_circle, "1 s", beside_circle <= Duration::from_secs(1)),
    ])
}

/// The middle one of some commits' latencies.
fn middle(estate: &Estate, version: usize) -> anyhow::Result<Duration> {
    let mut took = (0..COMMITS).map(|n| landed(estate, n, version)).collect::<Result<Vec<_>, _>>()?;
    took.sort_unstable();
    Ok(took[COMMITS / 2])
}

/// How many stacks wait for their health.
fn waiting(estate: &Estate) -> anyhow::Result<usize> {
    let shown = estate.status()?;
    let rows = shown["stacks"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(rows.iter().filter(|row| row["health"] == "progressing").count())
}
