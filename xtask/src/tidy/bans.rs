//! What must not stand in certain rooms, found in the text of the code. Clippy bans the same where it can see types.

use super::Remark;
use super::tree::{RustFile, Tree};

/// A file with more lines than this (tests not counted) is a question.
const LONG: usize = 450;

/// Engine and model: values in, values out.
pub fn pure(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    const BANNED: &[&str] = &[
        "SystemTime",
        "Instant",
        "Timestamp::now",
        "Zoned::now",
        "std::env",
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "HashMap",
        "HashSet",
    ];
    Ok(find(tree, |file| file.package == "trued-engine" || file.package == "trued-model", BANNED, "has no place in a decision"))
}

/// Nothing but the sandbox starts a program. The demonstration plays a person at a terminal, and may.
pub fn processes(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let bound = |file: &RustFile| {
        let exempt = ["trued-sandbox", "xtask"].contains(&file.package.as_str()) || file.path.starts_with("crates/trued/src/commands/demo");
        !exempt
    };
    Ok(find(tree, bound, &["Command::new", "process::Command"], "only the sandbox starts programs"))
}

/// Standard output is for results, and only the program knows them.
pub fn prints(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let library = |file: &RustFile| !["trued", "xtask"].contains(&file.package.as_str());
    Ok(find(tree, library, &["println!", "print!", "eprintln!", "eprint!", "dbg!"], "a library does not print"))
}

/// The core knows targets by their facts; a driver's name in it is the first crack of the seam.
pub fn driver_words(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let core = ["trued-model", "trued-engine", "trued-doors", "trued-runtime", "trued-sim"];
    let mut remarks = Vec::new();
    for driver in tree.packages.iter().filter(|package| package.is_driver()) {
        let kind = driver.folder.rsplit('/').next().unwrap_or_default();
        let words = [format!("\"{kind}\""), driver.name.replace('-', "_")];
        for file in tree.files.iter().filter(|file| core.contains(&file.package.as_str()) && !file.is_test) {
            for word in &words {
                remarks.extend(file.places(&file.with_strings, word).map(|place| Remark::fault(place, format!("names the driver {kind}"))));
            }
        }
    }
    Ok(remarks)
}

/// A lint that is silenced says why, and is noticed when it no longer fires. Only what several test binaries share may
/// be silenced without notice: each uses another part of it.
pub fn suppressions(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let mut remarks = Vec::new();
    for file in &tree.files {
        let excused = |line: &str| file.is_test && line.contains("dead_code, reason =");
        for (at, line) in file.code.lines().enumerate().filter(|(_, line)| !excused(line)) {
            if line.contains("#[allow(") || line.contains("#![allow(") {
                remarks.push(Remark::fault(format!("{}:{}", file.path, at + 1), "write #[expect(…, reason = \"…\")]"));
            }
        }
    }
    Ok(remarks)
}

/// Remarks on long files.
pub fn lengths(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let lines = |file: &RustFile| file.production.lines().filter(|line| !line.trim().is_empty()).count();
    let long = tree.files.iter().map(|file| (file, lines(file))).filter(|(_, lines)| *lines > LONG);
    Ok(long.map(|(file, lines)| Remark::advice(&file.path, format!("{lines} lines of code: is it one thing?"))).collect())
}

fn find(tree: &Tree, bound: impl Fn(&RustFile) -> bool, banned: &[&str], why: &str) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for file in tree.files.iter().filter(|file| bound(file)) {
        for piece in banned {
            remarks.extend(file.places(&file.production, piece).map(|place| Remark::fault(place, format!("{piece}: {why}"))));
        }
    }
    remarks
}
