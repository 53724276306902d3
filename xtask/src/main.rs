//! `cargo xtask`: what people and CI run while they work on Trued. Nothing of it ships.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::process::ExitCode;

use anyhow::bail;

mod bench;
mod binaries;
mod fuzz;
mod machine;
mod partners;
mod reference;
mod rings;
mod rooms;
mod tally;
mod tidy;

const USAGE: &str = "\
usage: cargo xtask test [RING…] [-- FILTER…]   set up the machine, then run the rings: 1 tidy, 2 check and sim,
                                               3 against the real thing, 4 scripts and crash; all without an argument
       cargo xtask tidy                        ring 1 alone
       cargo xtask docs                        write docs/reference.md from what the program says of itself
       cargo xtask fuzz [PARSER…] [--seconds N]
                                               look for bytes that break a parser, led by coverage
       cargo xtask partners [--run -- COMMAND…]
                                               build the programs of others that tests work with (kept in the cache), or run
                                               a command with them and a Kubernetes control plane at hand
       cargo xtask bench [NAME…]               measure, as ratios where a yardstick exists; built as shipped";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one task; `false` when what it looked at is not in order.
fn run(words: &[String]) -> anyhow::Result<bool> {
    match words.split_first().map(|(verb, rest)| (verb.as_str(), rest)) {
        Some(("test", rest)) => rings::test(rest),
        Some(("tidy", [])) => rings::test(&["1".to_owned()]),
        Some(("docs", [])) => reference::write().map(|()| true),
        Some(("fuzz", rest)) => fuzz::fuzz(rest),
        Some(("partners", rest)) => partners::partners(rest),
        Some(("bench", rest)) => bench::bench(rest).map(|()| true),
        Some(("help" | "--help" | "-h", _)) => {
            println!("{USAGE}");
            Ok(true)
        }
        _ => bail!("no such task\n{USAGE}"),
    }
}
