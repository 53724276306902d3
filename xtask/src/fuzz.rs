//! `cargo xtask fuzz`: looks for bytes that break a parser, led by coverage.
//!
//! libFuzzer needs the counters of LLVM's SanitizerCoverage pass; asking the compiler for that pass works with a stable
//! toolchain. Everything is built a second time for it, in a folder of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::machine;

/// Where coverage is counted, and what comparisons were made with.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions";

/// How long each parser is tried when nothing is said.
const SECONDS: u64 = 60;

/// Tries the named parsers, or all that have a corpus; `--seconds N` says how long each.
pub fn fuzz(words: &[String]) -> anyhow::Result<bool> {
    machine::need(&[("c++", "build-essential")])?;
    let (names, seconds) = read(words)?;
    let corpus = machine::root().join("crates/fuzz/corpus");
    let names = if names.is_empty() { kept(&corpus)? } else { names };
    let program = build()?;
    let mut sound = true;
    for name in &names {
        let folder = corpus.join(name);
        ensure!(folder.is_dir(), "no parser {name}; there are {}", kept(&corpus)?.join(", "));
        let found = machine::target()?.join("fuzz/found").join(name);
        fs::create_dir_all(&found).with_context(|| format!("failed to make {}", found.display()))?;
        let status = Command::new(&program)
            .env("TRUED_FUZZ", name)
            .arg(&found)
            .arg(&folder)
            .args([format!("-max_total_time={seconds}"), format!("-artifact_prefix={}/broken-", found.display())])
            .args(["-max_len=4096", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1", "-close_fd_mask=1"])
            .status()
            .context("failed to start the fuzzer")?;
        if !status.success() {
            sound = false;
            println!("{name}: BROKEN: what broke it is in {}; put it into crates/fuzz/corpus/{name}", found.display());
        }
    }
    Ok(sound)
}

fn read(words: &[String]) -> anyhow::Result<(Vec<String>, u64)> {
    let (mut names, mut seconds) = (Vec::new(), SECONDS);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let span = words.next().context("--seconds needs a number")?;
                seconds = span.parse().with_context(|| format!("--seconds {span}: not a number"))?;
            }
            flag if flag.starts_with('-') => bail!("no such flag: {flag}"),
            name => names.push(name.to_owned()),
        }
    }
    Ok((names, seconds))
}

/// The parsers that have a corpus, sorted.
fn kept(corpus: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(corpus).with_context(|| format!("failed to list {}", corpus.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn build() -> anyhow::Result<std::path::PathBuf> {
    let version = machine::read(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?.to_owned();
    let target = machine::target()?.join("fuzz");
    // Naming the target keeps the flags away from build scripts and macros.
    let built = machine::cargo()
        .env("RUSTFLAGS", COVERAGE)
        .args(["build", "--package", "trued-fuzz", "--features", "guided", "--bin", "guided", "--release", "--target", &host])
        .arg("--target-dir")
        .arg(&target)
        .status()
        .context("failed to start cargo")?;
    ensure!(built.success(), "the fuzzer was not built");
    Ok(target.join(&host).join("release/guided"))
}
