//! Clusters: many small stacks in one repository, and one large stack, beside a client that writes the same objects and does
//! nothing else.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::measure::{Took, run};
use super::{Ground, Row};
use crate::machine;
use crate::partners::Partners;

mod beside;
mod estate;

use estate::{Estate, children, until};

const SIZES: [usize; 3] = [100, 500, 1_000];
const MAPS: usize = 5_000;

/// All of it. `TRUED_BENCH_STACKS` names other sizes: `100,1000`.
pub fn kubernetes(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let built =
        machine::cargo().args(["build", "--profile", "dist", "--quiet", "-p", "trued-kubernetes", "--example", "bare_apply"]).status()?;
    ensure!(built.success(), "the bare client does not build");
    let named = std::env::var("TRUED_BENCH_STACKS").ok();
    let sizes: Vec<usize> = match &named {
        Some(named) => named.split(',').map(|size| size.trim().parse()).collect::<Result<_, _>>().context("TRUED_BENCH_STACKS")?,
        None => SIZES.to_vec(),
    };
    for stacks in sizes {
        many(ground, stacks)?;
    }
    one_large(ground)?.iter().for_each(Row::show);
    beside::beside(ground)?.iter().for_each(Row::show);
    Ok(Vec::new())
}

/// What the bare client takes, in a new cluster of its own: what is in a cluster beside the estate is watched too.
fn bare(prepared: impl FnOnce(&Partners) -> anyhow::Result<Command>) -> anyhow::Result<Took> {
    let partners = Partners::start()?;
    Ok(measured(prepared(&partners)?)?.0)
}

fn many(ground: &Ground, stacks: usize) -> anyhow::Result<()> {
    let show = |what: &str, measured: String, yardstick: String, bar: &'static str, holds: bool| {
        Row { what: format!("{stacks} stacks: {what}"), measured, yardstick, bar, holds }.show();
    };
    let each = stacks as f64;

    let bare = bare(|partners| Estate::of_applications(ground, partners, &format!("bare-{stacks}"), stacks)?.bare_command())?;
    let partners = Partners::start()?;
    let estate = Estate::of_applications(ground, &partners, &format!("many-{stacks}"), stacks)?;
    let before = estate.audited()?;
    let (first, used) = measured(estate.trued(&["apply", "--no-wait"]))?;
    let requests = estate.requests_since(before)? as f64 / each;
    let ratio = first.wall.as_secs_f64() / bare.wall.as_secs_f64();
    show("first apply", seconds(first.wall), format!("bare client {}: {ratio:.2} ×", seconds(bare.wall)), "1.3 ×", ratio <= 1.3);
    show("  requests per stack", format!("{requests:.2}"), "4 objects each".to_owned(), "4.5", requests <= 4.5);
    let own = used.as_secs_f64() / each;
    show("  own processor time per stack", format!("{own:.4} s"), format!("{:.0} MiB at most", mib(&first)), "0.01 s", own <= 0.01);

    let changed = stacks.min(100);
    let plan = planned(&estate, changed)?;
    show(
        &format!("plan of a commit that touches {changed}"),
        seconds(plan.wall),
        String::new(),
        "5 s",
        plan.wall <= Duration::from_secs(5),
    );
    run(estate.trued(&["apply", "--no-wait"]))?;

    let serving = estate.serve()?;
    until("the first pass", || Ok(estate.folder.join(".trued").exists()))?;
    serving.quiet()?;
    let (memory, peak) = serving.memory()?;
    show("  memory of serve", format!("{memory:.0} MiB"), format!("{peak:.0} MiB at most"), "100 MiB", peak <= 100.0);

    let (place, counted, used) = (estate.audited()?, serving.count(&estate)?, serving.used()?);
    std::fs::write(estate.folder.join("README"), "nothing that any stack reads\n")?;
    estate.commit("unrelated")?;
    serving.quiet()?;
    // What it uses while nothing happens is taken off: the same time once more.
    let pass = serving.used()?.saturating_sub(used);
    let after = serving.count(&estate)?;
    let requests = estate.requests_since(place)?;
    let news = |name: &str| -> u64 { number(&after, name).saturating_sub(number(&counted, name)) };
    let nothing = requests == 0 && news("renders") == 0 && news("ledger_rows") <= 1;
    show(
        "no-op pass in serve, own processor time",
        seconds(pass),
        format!("{requests} requests, {} renders, {} rows", news("renders"), news("ledger_rows")),
        "0.5 s, nothing else",
        nothing && pass <= Duration::from_millis(500),
    );

    let counted = serving.count(&estate)?;
    let took = landed(&estate, stacks / 2, 7)?;
    serving.quiet()?;
    let after = serving.count(&estate)?;
    let news = |name: &str| -> u64 { number(&after, name).saturating_sub(number(&counted, name)) };
    show(
        "a commit that changes one, to its receipt",
        seconds(took),
        format!("asked for every 0.1 s; {} renders, {} writes", news("renders"), news("target_writes")),
        "0.5 s, 1, 1",
        took <= Duration::from_millis(500) && news("renders") == 1 && news("target_writes") == 1,
    );

    let touched = stacks.min(100);
    let drifts = estate.entries("drift.opened")?.len();
    let began = Instant::now();
    estate.scale_by_hand(touched, 1)?;
    let by_hand = began.elapsed();
    let edited = now()?;
    until("the drift", || Ok(estate.entries("drift.opened")?.len() >= drifts + touched))?;
    let seen = instant(estate.entries("drift.opened")?.last())?.saturating_sub(edited);
    show(
        &format!("drift of {touched}, all seen after the last edit"),
        seconds(seen),
        format!("the edits took {}", seconds(by_hand)),
        "2 s",
        seen <= Duration::from_secs(2),
    );
    Ok(())
}

/// Commits an application's next version, and says how long after that its receipt was written.
fn landed(estate: &Estate, at: usize, version: usize) -> anyhow::Result<Duration> {
    let receipts = estate.entries("receipt")?.len();
    estate.write_application(at, version)?;
    estate.commit("one")?;
    let committed = now()?;
    until("the receipt", || Ok(estate.entries("receipt")?.len() > receipts))?;
    Ok(instant(estate.entries("receipt")?.last())?.saturating_sub(committed))
}

/// A plan in a process of its own, after a commit that touches so many stacks.
fn planned(estate: &Estate, changed: usize) -> anyhow::Result<Took> {
    for at in 0..changed {
        estate.write_application(at, 2)?;
    }
    estate.commit("many")?;
    let mut plan = estate.trued(&["plan"]);
    plan.stdout(std::process::Stdio::null());
    let began = Instant::now();
    let status = plan.status()?;
    // That there is something to do is told by the exit code.
    ensure!(matches!(status.code(), Some(0 | 3)), "the plan failed ({status})");
    Ok(Took { wall: began.elapsed(), peak: 0 })
}

fn one_large(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let bare = bare(|partners| Estate::of_one(ground, partners, "bare-large", MAPS)?.bare_maps(MAPS, 8))?;
    let partners = Partners::start()?;
    let estate = Estate::of_one(ground, &partners, "one-large", MAPS)?;
    let before = estate.audited()?;
    let (first, used) = measured(estate.trued(&["apply", "--no-wait"]))?;
    let requests = estate.requests_since(before)?;
    let (again, _) = measured(estate.trued(&["apply", "--no-wait"]))?;
    let ratio = first.wall.as_secs_f64() / bare.wall.as_secs_f64();
    Ok(vec![
        Row {
            what: format!("1 stack of {MAPS} ConfigMaps: first apply"),
            measured: seconds(first.wall),
            yardstick: format!("bare client, 8 at once, {}: {ratio:.2} ×", seconds(bare.wall)),
            bar: "1.3 ×",
            holds: ratio <= 1.3,
        },
        Row {
            what: "  requests; own processor time".to_owned(),
            measured: format!("{requests}; {}", seconds(used)),
            yardstick: format!("{:.0} MiB at most; unchanged {}, {:.0} MiB", mib(&first), seconds(again.wall), mib(&again)),
            bar: "100 MiB",
            holds: mib(&first) <= 100.0,
        },
    ])
}

/// Runs a program, and says what processor time it used besides.
fn measured(command: Command) -> anyhow::Result<(Took, Duration)> {
    let before = children()?;
    let took = run(command)?;
    Ok((took, children()?.saturating_sub(before)))
}

fn number(counters: &Value, name: &str) -> u64 {
    counters[name].as_u64().unwrap_or(0)
}

fn now() -> anyhow::Result<Duration> {
    since_1970("now")
}

/// When an entry was written.
fn instant(entry: Option<&Value>) -> anyhow::Result<Duration> {
    since_1970(entry.context("no entry")?["recorded_at"].as_str().context("an entry without a time")?)
}

fn since_1970(text: &str) -> anyhow::Result<Duration> {
    let said = machine::read(Command::new("date").args(["--utc", "--date", text, "+%s%N"]))?;
    Ok(Duration::from_nanos(said.trim().parse()?))
}

fn seconds(span: Duration) -> String {
    format!("{:.2} s", span.as_secs_f64())
}

fn mib(took: &Took) -> f64 {
    took.peak as f64 / 1024.0
}
