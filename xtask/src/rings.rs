//! `cargo xtask test`: the rings in order, each with its seconds and counts.
#![expect(clippy::print_stdout, reason = "a report for people and CI")]

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, anyhow};

use crate::binaries::{self, TestBinary};
use crate::machine;
use crate::partners::Partners;
use crate::reference;
use crate::rooms::{self, Ring};
use crate::tally::Tally;
use crate::tidy;

/// Runs the named rings, or all; words after `--` choose tests by name. True when nothing failed.
pub fn test(words: &[String]) -> anyhow::Result<bool> {
    let mut parts = words.splitn(2, |word| word == "--");
    let named = parts.next().unwrap_or_default();
    let filters = parts.next().unwrap_or_default();
    let named: BTreeSet<Ring> =
        named.iter().map(|word| Ring::parse(word).with_context(|| format!("there is no ring {word}"))).collect::<Result<_, _>>()?;
    let rings = if named.is_empty() { Ring::ALL.into() } else { named };
    let mut sum = Tally::default();
    let mut unshown = Vec::new();
    let mut built: Option<Vec<TestBinary>> = None;
    let mut partners: Option<Partners> = None;
    for ring in rings {
        let started = Instant::now();
        let mut tally = Tally::default();
        if ring == Ring::Tidy {
            machine::need_components()?;
            tally += tidy::tidy()?;
        } else {
            if built.is_none() {
                built = Some(prepare(ring, &mut tally)?);
            }
            if ring >= Ring::RealThing && partners.is_none() {
                partners = Some(start_partners()?);
            }
            tally += run(ring, built.as_deref().unwrap_or_default(), partners.as_ref(), filters, &mut unshown)?;
        }
        println!("ring {} ({}): {tally}{}, {:.1} s", ring as u8, ring.title(), ignored(tally), started.elapsed().as_secs_f64());
        sum += tally;
    }
    unshown.iter().for_each(|what| println!("not shown here: {what}"));
    println!("{sum}");
    Ok(sum.failed == 0)
}

/// Lints (with ring 2) and builds everything that rings from 2 on run.
fn prepare(ring: Ring, tally: &mut Tally) -> anyhow::Result<Vec<TestBinary>> {
    machine::need(&[("cc", "build-essential"), ("git", "git"), ("strace", "strace"), ("setpriv", "util-linux"), ("python3", "python3")])?;
    machine::need(&[("faketime", "faketime"), ("ssh-keygen", "openssh-client"), ("gpg", "gnupg"), ("sshd", "openssh-server")])?;
    machine::need(&[("age", "age"), ("age-keygen", "age"), ("validlocale", "locales")])?;
    machine::need_locale()?;
    if ring == Ring::CheckAndSim {
        let started = Instant::now();
        let lint = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        let clean = machine::cargo().args(lint).status().context("failed to start cargo")?.success();
        *tally += if clean { Tally::PASS } else { Tally::FAIL };
        println!("  {:<34} {} {:.1} s", "clippy", if clean { "clean" } else { "FAILED" }, started.elapsed().as_secs_f64());
    }
    let started = Instant::now();
    let built = binaries::build()?;
    println!("  {:<34} {} binaries {:.1} s", "build", built.len(), started.elapsed().as_secs_f64());
    Ok(built)
}

/// Brings up what tests of the later rings talk to, once for all of them.
fn start_partners() -> anyhow::Result<Partners> {
    let started = Instant::now();
    let partners = Partners::start()?;
    println!("  {:<34} up {:.1} s", "partners", started.elapsed().as_secs_f64());
    Ok(partners)
}

fn run(
    ring: Ring,
    built: &[TestBinary],
    partners: Option<&Partners>,
    filters: &[String],
    unshown: &mut Vec<String>,
) -> anyhow::Result<Tally> {
    let mut sum = Tally::default();
    for binary in built {
        let room =
            rooms::of(&binary.package, binary.is_driver).ok_or_else(|| anyhow!("{} has no place in xtask/src/rooms.rs", binary.package))?;
        if room.ring == ring {
            let name = format!("{} {}", binary.package, binary.target);
            sum += report(&name, || binaries::run(binary, partners, filters, unshown))?;
        }
    }
    if ring == Ring::ScriptsAndCrash && filters.is_empty() {
        sum += report("reference page", || reference::is_current().map(|()| Tally::PASS))?;
    }
    if ring == Ring::CheckAndSim && filters.is_empty() {
        sum += report("documentation tests", binaries::run_doc_tests)?;
    }
    Ok(sum)
}

fn report(name: &str, run: impl FnOnce() -> anyhow::Result<Tally>) -> anyhow::Result<Tally> {
    let started = Instant::now();
    let tally = run().unwrap_or_else(|error| {
        println!("{error:#}");
        Tally::FAIL
    });
    if tally != Tally::default() {
        println!("  {name:<34} {tally}{} {:.1} s", ignored(tally), started.elapsed().as_secs_f64());
    }
    Ok(tally)
}

fn ignored(tally: Tally) -> String {
    if tally.ignored == 0 { String::new() } else { format!(", {} ignored", tally.ignored) }
}
