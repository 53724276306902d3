//! Directions of dependencies, as `rooms` draws them.

use std::collections::BTreeSet;

use super::Remark;
use super::tree::{Dependency, Package, Tree};
use crate::machine;
use crate::rooms::{self, DRIVERS, Room};

/// Finds arrows that point the wrong way, in each crate's own `Cargo.toml`.
pub fn direct(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let drivers: BTreeSet<&str> = tree.packages.iter().filter(|package| package.is_driver()).map(|package| package.name.as_str()).collect();
    let mut remarks = Vec::new();
    for package in &tree.packages {
        let Some(room) = rooms::of(&package.name, package.is_driver()) else {
            remarks.push(Remark::fault(&package.folder, "has no place in xtask/src/rooms.rs and ARCHITECTURE.md"));
            continue;
        };
        for dependency in &package.dependencies {
            let name = if drivers.contains(dependency.name.as_str()) { DRIVERS } else { &dependency.name };
            if !allowed(room, dependency, name) && dependency.name != package.name {
                remarks.push(Remark::fault(format!("{}/Cargo.toml", package.folder), wrong(package, dependency)));
            }
        }
    }
    Ok(remarks)
}

fn allowed(room: &Room, dependency: &Dependency, name: &str) -> bool {
    if dependency.ours {
        room.leans_on.contains(&name) || (dependency.for_tests && room.tests_lean_on.contains(&name))
    } else {
        dependency.for_tests || room.outside.is_none_or(|outside| outside.contains(&name))
    }
}

fn wrong(package: &Package, dependency: &Dependency) -> String {
    let why = if dependency.ours { "must not know" } else { "promises to do without" };
    format!("{} {why} {}", package.name, dependency.name)
}

/// Finds libraries of the world behind crates that must not reach it, however deep.
pub fn unlinked(_: &Tree) -> anyhow::Result<Vec<Remark>> {
    let mut remarks = Vec::new();
    for (package, unlinked) in rooms::UNLINKED {
        let linked = machine::read(machine::cargo().args(["tree", "--package", package, "--edges", "normal", "--prefix", "none"]))?;
        let linked: BTreeSet<&str> = linked.lines().filter_map(|line| line.split_whitespace().next()).collect();
        remarks.extend(unlinked.iter().filter(|name| linked.contains(*name)).map(|name| Remark::fault(*package, format!("links {name}"))));
    }
    Ok(remarks)
}

/// The switches that plant bugs for the simulator are never part of the program.
pub fn nothing_planted(_: &Tree) -> anyhow::Result<Vec<Remark>> {
    let features = machine::read(machine::cargo().args(["tree", "--package", "trued", "--edges", "normal,features", "--prefix", "none"]))?;
    let planted = features.lines().filter(|line| line.contains("feature \"planted\""));
    Ok(planted.map(|line| Remark::fault("trued", format!("links {line}"))).collect())
}
