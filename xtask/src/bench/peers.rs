//! The same trees of files by Trued and by the programs that people use for it today, in one run: a first time, with
//! nothing to do, with one change, and with one drift. Writes `docs/benchmarks.md` and `docs/benchmarks.svg`.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::chart;
use super::files::Place;
use super::measure::{Took, middle, run};
use super::{Ground, Row};
use crate::machine;

const SIZES: [usize; 3] = [100, 1_000, 10_000];

/// Runs of each; the median counts. What takes longer than [`SLOW`] runs once.
const ROUNDS: usize = 3;
const SLOW: Duration = Duration::from_secs(3);

/// What is measured of each program, in this order.
pub const TASKS: [&str; 4] = ["first apply", "nothing to do", "one change", "one drift"];

/// A program, and the folder it keeps like `source/site`.
struct Peer {
    name: &'static str,
    folder: &'static str,
    command: fn(&Place) -> Command,
}

const PEERS: [Peer; 5] = [
    Peer { name: "trued", folder: "www", command: |place| place.trued(&["apply"]) },
    Peer { name: "cfengine", folder: "cfengine", command: |place| place.sh("cf-agent --no-lock --file \"$PWD/tree.cf\"") },
    Peer { name: "puppet", folder: "puppet", command: |place| place.sh("puppet apply --log_level err tree.pp 2>/dev/null") },
    Peer {
        name: "rsync",
        folder: "rsync",
        command: |place| place.sh("rsync --archive --checksum --delete source/site/ rsync/ && sync rsync"),
    },
    Peer { name: "cp", folder: "cp", command: |place| place.sh("cp -r source/site/. cp/ && sync cp") },
];

/// What one program took at one size, by task.
pub struct Measured {
    pub files: usize,
    pub peer: &'static str,
    pub took: [Took; 4],
}

/// Measures, writes the documents, and holds the bars.
pub fn peers(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    machine::need(&[("cf-agent", "cfengine3"), ("puppet", "puppet"), ("rsync", "rsync")])?;
    let mut all = Vec::new();
    for files in SIZES {
        let place = Place::new(ground, "peers", files)?;
        policies(&place)?;
        for peer in &PEERS {
            all.push(Measured { files, peer: peer.name, took: measure(&place, peer, files).with_context(|| peer.name.to_owned())? });
        }
    }
    let docs = machine::root().join("docs");
    fs::write(docs.join("benchmarks.md"), page(&all)?)?;
    fs::write(docs.join("benchmarks.svg"), chart::svg(&all)?)?;
    let of = |files: usize, peer: &str, task: usize| {
        let found = all.iter().find(|measured| measured.files == files && measured.peer == peer);
        found.map_or(f64::NAN, |measured| measured.took[task].wall.as_secs_f64())
    };
    let mut rows = Vec::new();
    for files in SIZES {
        for (task, what) in TASKS.iter().enumerate() {
            let (ours, cfengine, puppet) = (of(files, "trued", task), of(files, "cfengine", task), of(files, "puppet", task));
            let bar = if task == 1 && files >= 1_000 { "3 × cfengine, 20 × puppet" } else { "" };
            rows.push(Row {
                what: format!("{what}, {files} files"),
                measured: format!("{ours:.3} s"),
                yardstick: format!(
                    "cfengine {:.1} ×, puppet {:.0} ×, rsync {:.1} ×",
                    cfengine / ours,
                    puppet / ours,
                    of(files, "rsync", task) / ours
                ),
                bar,
                holds: bar.is_empty() || (cfengine / ours >= 3.0 && puppet / ours >= 20.0),
            });
        }
    }
    Ok(rows)
}

/// The same tree as each program wants it told.
fn policies(place: &Place) -> anyhow::Result<()> {
    let here = place.folder.display();
    let cfengine = format!(
        "body common control {{ bundlesequence => {{ \"tree\" }}; }}\n\
         bundle agent tree {{ files: \"{here}/cfengine/.\" copy_from => source, depth_search => all; }}\n\
         body copy_from source {{ source => \"{here}/source/site\"; compare => \"digest\"; copy_backup => \"false\"; }}\n\
         body depth_search all {{ depth => \"inf\"; include_basedir => \"true\"; }}\n"
    );
    let policy = place.folder.join("tree.cf");
    fs::write(&policy, cfengine)?;
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o600))?;
    let puppet = format!("file {{ '{here}/puppet': ensure => directory, recurse => true, source => '{here}/source/site' }}\n");
    fs::write(place.folder.join("tree.pp"), puppet)?;
    for peer in &PEERS {
        fs::create_dir_all(place.folder.join(peer.folder))?;
    }
    // It wants a key of this machine before it does anything.
    run(place.sh("test -e /var/lib/cfengine3/ppkeys/localhost.priv || cf-key >/dev/null"))?;
    Ok(())
}

fn measure(place: &Place, peer: &Peer, files: usize) -> anyhow::Result<[Took; 4]> {
    let target = place.folder.join(peer.folder);
    let (declared, kept) = (place.folder.join("source/site/d1/f1.txt"), target.join("d1/f1.txt"));
    let like = |what: &str| -> anyhow::Result<()> {
        let (wanted, found) = (fs::read(&declared)?, fs::read(&kept).with_context(|| format!("after {what}"))?);
        ensure!(wanted == found, "after {what} the file is not as declared");
        Ok(())
    };
    let empty = || run(place.sh(&format!("rm -rf {0} .trued && mkdir {0} && sync", peer.folder)));
    let first = rounds(|| {
        empty()?;
        let took = run((peer.command)(place))?;
        like(TASKS[0])?;
        Ok(took)
    })?;
    let count = run(place.sh(&format!("test $(find {} -type f -not -path '*/.trued/*' | wc -l) -eq {files}", peer.folder)));
    count.context("not all files were written")?;
    let idle = rounds(|| run((peer.command)(place)))?;
    let mut round = 0;
    let change = rounds(|| {
        round += 1;
        fs::write(&declared, format!("{} changed {round}\n", peer.name))?;
        let took = run((peer.command)(place))?;
        like(TASKS[2])?;
        Ok(took)
    })?;
    // Another file each time: what is changed again and again is a fight, and held.
    let drift = rounds(|| {
        round += 1;
        let file = format!("d{round}/f{round}.txt");
        fs::write(target.join(&file), "by hand\n")?;
        let took = run((peer.command)(place))?;
        let (wanted, found) = (fs::read(place.folder.join("source/site").join(&file))?, fs::read(target.join(&file))?);
        ensure!(wanted == found, "after {} {file} is not as declared", TASKS[3]);
        Ok(took)
    })?;
    Ok([first, idle, change, drift])
}

fn rounds(mut once: impl FnMut() -> anyhow::Result<Took>) -> anyhow::Result<Took> {
    let mut took = vec![once()?];
    while took.len() < ROUNDS && took[0].wall < SLOW {
        took.push(once()?);
    }
    Ok(middle(&took))
}

fn page(all: &[Measured]) -> anyhow::Result<String> {
    let mut text = String::from(
        "# Benchmarks\n\n\
         The same trees of small files by Trued and by programs that are used for it today, as Debian ships them, one after the\n\
         other on one machine: median seconds of wall time. All compare contents, but `cp`, which copies again. Trued's times\n\
         include its durable record; `rsync` and `cp` are followed by `sync`. In brackets: how many times as long as Trued takes\n\
         for the same. `cargo xtask bench peers` measures anew and writes this page and the drawing.\n\n\
         ![times by program, task and number of files](benchmarks.svg)\n\n",
    );
    let machine = machine::read(Command::new("uname").arg("-srm"))?;
    let cores = std::thread::available_parallelism()?;
    writeln!(text, "Measured on {}, {cores} cores.\n", machine.trim())?;
    writeln!(text, "| Files | Program | {} |", TASKS.join(" | "))?;
    writeln!(text, "|---:|---|---:|---:|---:|---:|")?;
    for Measured { files, peer, took } in all {
        let ours = all.iter().find(|other| (other.files, other.peer) == (*files, PEERS[0].name));
        let seconds = took.iter().enumerate().map(|(task, took)| {
            let seconds = took.wall.as_secs_f64();
            match ours.filter(|_| *peer != PEERS[0].name) {
                Some(ours) => format!("{seconds:.3} ({:.1} ×)", seconds / ours.took[task].wall.as_secs_f64()),
                None => format!("{seconds:.3}"),
            }
        });
        let seconds: Vec<String> = seconds.collect();
        writeln!(text, "| {files} | {peer} | {} |", seconds.join(" | "))?;
    }
    Ok(text)
}
