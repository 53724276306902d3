//! Benches of whole runs over trees of small files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::measure::{Took, median, middle, processor_time, run};
use super::{Ground, Row};

const ROUNDS: usize = 5;

/// One target and a folder as the source: the scratch folder may lie in somebody's repository.
pub const OPERATOR: &str = "\
sources: { here: { folder: { path: source } } }
environments: { default: {} }
targets: { web: { files: { root: www }, allow: [\"here//*\", \"here//**\"] } }
apps: [\"here//app.yaml\"]
";

const APP: &str = "\
app: web
render: { plain: { path: site } }
stacks: { default: { target: web } }
";

/// A cold process looks at 1,000 files that are all as they should be.
pub fn no_op(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let place = Place::new(ground, "no-op", 1_000)?;
    run(place.trued(&["apply"]))?;
    let ours = median(ROUNDS, || run(place.trued(&["apply"])))?;
    let hashing = median(ROUNDS, || run(place.sh("find www -type f -not -path '*/.trued/*' -print0 | xargs -0 sha256sum")))?;
    let peak = ours.peak as f64 / 1024.0;
    Ok(vec![
        Row {
            what: "no-op check of 1,000 files, cold process".to_owned(),
            measured: seconds(ours),
            yardstick: against("sha256sum of the same", hashing, ours),
            bar: "0.15 s",
            holds: ours.wall <= Duration::from_millis(150),
        },
        Row {
            what: "  its peak memory".to_owned(),
            measured: format!("{peak:.1} MB"),
            yardstick: String::new(),
            bar: "24 MB",
            holds: peak <= 24.0,
        },
    ])
}

/// 10,000 files onto an empty target, ledger included, against a copy that is made durable.
pub fn cold(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let place = Place::new(ground, "cold", 10_000)?;
    let (mut ours, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        run(place.sh("rm -rf copy www .trued && mkdir www && sync"))?;
        copies.push(run(place.sh("cp -r source/site copy && sync"))?);
        ours.push(run(place.trued(&["apply"]))?);
    }
    let (ours, copy) = (middle(&ours), middle(&copies));
    let ratio = ours.wall.as_secs_f64() / copy.wall.as_secs_f64();
    Ok(vec![Row {
        what: "cold apply of 10,000 files, with ledger".to_owned(),
        measured: seconds(ours),
        yardstick: against("cp -r and sync", copy, ours),
        bar: "3 ×",
        holds: ratio <= 3.0,
    }])
}

/// A tree of 100,000 files, from nothing and unchanged: does its cost follow its size, and no more?
pub fn large(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let place = Place::new(ground, "large", 100_000)?;
    let first = run(place.trued(&["apply"]))?;
    let copy = run(place.sh("cp -r source/site copy && sync"))?;
    let idle = median(3, || run(place.trued(&["apply"])))?;
    let hashing = run(place.sh("find www -type f -not -path '*/.trued/*' -print0 | xargs -0 sha256sum"))?;
    let row = |what: &str, took: Took, yardstick: String, most: u64| Row {
        what: format!("{what}, {:.0} MB", took.peak as f64 / 1024.0),
        measured: seconds(took),
        yardstick,
        bar: "120 s; 20 s unchanged",
        holds: took.wall <= Duration::from_secs(most),
    };
    Ok(vec![
        row("apply of 100,000 files", first, against("cp -r and sync", copy, first), 120),
        row("  the same, unchanged", idle, against("sha256sum of the same", hashing, idle), 20),
    ])
}

/// One file of 10,000 changed in the source.
pub fn one_change(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let place = Place::new(ground, "one", 10_000)?;
    run(place.trued(&["apply"]))?;
    let idle = median(ROUNDS, || run(place.trued(&["apply"])))?;
    let mut round = 0;
    let one = median(ROUNDS, || {
        round += 1;
        std::fs::write(place.folder.join("source/site/d1/f1.txt"), format!("changed {round}\n"))?;
        run(place.trued(&["apply"]))
    })?;
    let copy = run(place.sh("cp -r source/site copy && sync"))?;
    Ok(vec![
        Row {
            what: "no-op check of 10,000 files, cold process".to_owned(),
            measured: seconds(idle),
            yardstick: against("cp -r and sync", copy, idle),
            bar: "1.0 s",
            holds: idle.wall <= Duration::from_secs(1),
        },
        Row {
            what: "one changed file of 10,000, cold process".to_owned(),
            measured: seconds(one),
            yardstick: against("nothing changed", idle, one),
            bar: "",
            holds: true,
        },
    ])
}

/// One file of 10,000 changed by a commit, beside a running `serve`: from the wake to the durable receipt, by its own log; and all
/// the processor time it takes until that is at rest again, the fetch, the verdict and what follows included.
pub fn warm(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    const BOUND: Duration = Duration::from_secs(60);
    const CHANGES: u32 = 20;
    let place = Place::new(ground, "warm", 10_000)?;
    std::fs::write(place.folder.join("trued.yaml"), "stacks: { web: { path: source/site, target: { files: { root: www } } } }\n")?;
    let commit = || run(place.sh("git add -A source trued.yaml && git -c user.name=a -c user.email=a@b commit -q -m change"));
    run(place.sh("git init -q -b main"))?;
    commit()?;
    run(place.trued(&["apply"]))?;
    let log = place.folder.join("log");
    let mut serve = place.trued(&["serve", "--poll", "200ms"]);
    serve.env("TRUED_LOG", "trued_runtime=debug").stdout(Stdio::null()).stderr(std::fs::File::create(&log)?);
    let mut serve = serve.spawn().context("failed to start serve")?;
    std::thread::sleep(Duration::from_secs(5));
    let change = |round: u32| -> anyhow::Result<()> {
        let text = format!("changed {round}\n");
        std::fs::write(place.folder.join(format!("source/site/d{round}/f{round}.txt")), &text)?;
        commit()?;
        let begun = Instant::now();
        while std::fs::read_to_string(place.folder.join(format!("www/d{round}/f{round}.txt"))).ok().as_ref() != Some(&text) {
            ensure!(begun.elapsed() < BOUND, "a commit did not arrive within a minute");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_secs(1));
        Ok(())
    };
    let measured = || -> anyhow::Result<(Duration, Duration)> {
        // What the first change has to find out is not counted.
        change(0)?;
        let (begun, before) = (Instant::now(), processor_time(serve.id())?);
        (1..=CHANGES).try_for_each(change)?;
        let (took, busy) = (begun.elapsed(), processor_time(serve.id())?.saturating_sub(before));
        let before = processor_time(serve.id())?;
        std::thread::sleep(took);
        Ok((busy, processor_time(serve.id())?.saturating_sub(before)))
    };
    let measured = measured();
    serve.kill()?;
    serve.wait()?;
    let (busy, idle) = measured?;
    let each = busy.saturating_sub(idle) / CHANGES;
    let mut receipts = from_wake_to_receipt(&std::fs::read_to_string(&log)?);
    ensure!(receipts.len() >= CHANGES as usize, "the log tells of {} receipts", receipts.len());
    receipts.sort_by(f64::total_cmp);
    let (middle, most) = (receipts[receipts.len() / 2], receipts[receipts.len() - 1]);
    Ok(vec![Row {
        what: "one changed file of 10,000, warm, to its receipt".to_owned(),
        measured: format!("{middle:.1} ms"),
        yardstick: format!("at most {most:.1} ms; processor, all told {:.1} ms", each.as_secs_f64() * 1000.0),
        bar: "20 ms",
        holds: middle <= 20.0,
    }])
}

/// Milliseconds from each wake to the step after the receipt that followed it, as a log tells.
fn from_wake_to_receipt(log: &str) -> Vec<f64> {
    // `2026-01-31T10:20:30.123456Z`: the time of day will do.
    let millis = |line: &str| {
        let mut parts = line.split_once('T')?.1.split_once('Z')?.0.split(':').map(|part| part.parse::<f64>().ok());
        Some(((parts.next()?? * 60.0 + parts.next()??) * 60.0 + parts.next()??) * 1000.0)
    };
    let (mut woken, mut all) = (None, Vec::new());
    for line in log.lines() {
        if line.contains(": woken ") {
            woken = millis(line);
        } else if line.contains("phase=Receipting")
            && let (Some(began), Some(now)) = (woken.take(), millis(line))
        {
            all.push(now - began);
        }
    }
    all
}

/// A hand edit beside a running `serve`, until the declared bytes are back.
pub fn seen(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    const BOUND: Duration = Duration::from_secs(60);
    let place = Place::new(ground, "seen", 100)?;
    run(place.trued(&["apply"]))?;
    let mut serve = place.trued(&["serve", "--poll", "1h"]).stdout(Stdio::null()).spawn().context("failed to start serve")?;
    std::thread::sleep(Duration::from_secs(2));
    let mut round = 0;
    let edit = || -> anyhow::Result<Took> {
        // Another file each time: what is changed again and again is a fight, and held.
        round += 1;
        let file = place.folder.join(format!("www/d{round}/f{round}.txt"));
        let declared = std::fs::read(place.folder.join(format!("source/site/d{round}/f{round}.txt")))?;
        std::fs::write(&file, "by hand\n")?;
        let edited = Instant::now();
        while std::fs::read(&file).ok().as_ref() != Some(&declared) {
            ensure!(edited.elapsed() < BOUND, "a hand edit was not put back within a minute");
            std::thread::sleep(Duration::from_millis(1));
        }
        let wall = edited.elapsed();
        std::thread::sleep(Duration::from_secs(1));
        Ok(Took { wall, peak: 0 })
    };
    let took = median(ROUNDS, edit);
    serve.kill()?;
    serve.wait()?;
    let took = took?;
    Ok(vec![Row {
        what: "hand edit seen and put back, through the watch".to_owned(),
        measured: seconds(took),
        yardstick: String::new(),
        bar: "1 s to be seen",
        holds: took.wall <= Duration::from_secs(1),
    }])
}

/// A configuration with a `folder` source of small files and an empty target. The source is named: the build folder may
/// lie in a repository, which would be the source otherwise.
pub struct Place {
    pub folder: PathBuf,
    program: PathBuf,
}

impl Place {
    /// A folder to run in, with nothing in it.
    pub fn empty(ground: &Ground, name: &str) -> anyhow::Result<Place> {
        Ok(Place { folder: ground.fresh(name)?, program: ground.program.clone() })
    }

    pub fn new(ground: &Ground, name: &str, files: usize) -> anyhow::Result<Place> {
        let folder = ground.fresh(name)?;
        for at in 0..files {
            let file = folder.join(format!("source/site/d{}/f{at}.txt", at % 100));
            if at < 100 {
                std::fs::create_dir_all(file.parent().unwrap_or(Path::new("")))?;
            }
            std::fs::write(&file, format!("{at}: {}\n", "some text. ".repeat(at % 90)))?;
        }
        std::fs::create_dir(folder.join("www"))?;
        std::fs::write(folder.join("trued.yaml"), OPERATOR)?;
        std::fs::write(folder.join("source/app.yaml"), APP)?;
        Ok(Place { folder, program: ground.program.clone() })
    }

    pub fn trued(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(&self.folder).stderr(Stdio::null());
        for name in ["TRUED_CONFIG", "TRUED_STATE", "TRUED_COUNTERS"] {
            command.env_remove(name);
        }
        command
    }

    pub fn sh(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&self.folder);
        command
    }
}

fn seconds(took: Took) -> String {
    format!("{:.3} s", took.wall.as_secs_f64())
}

fn against(what: &str, yardstick: Took, ours: Took) -> String {
    let ratio = ours.wall.as_secs_f64() / yardstick.wall.as_secs_f64();
    format!("{what} {:.3} s: {ratio:.1} ×", yardstick.wall.as_secs_f64())
}
