//! Ring 1: rules that no compiler knows. Fast enough to run after every edit.
#![expect(clippy::print_stdout, reason = "a report for people and CI")]

use std::time::Instant;

use crate::tally::Tally;

mod arrows;
mod bans;
mod papers;
mod programs;
mod rust_text;
mod tree;

use tree::Tree;

/// What a rule has found.
pub struct Remark {
    /// `crates/engine/src/plan.rs:12`, or a crate's name.
    place: String,
    what: String,
    /// Whether it breaks the rule or is only worth a look.
    fails: bool,
}

impl Remark {
    fn fault(place: impl Into<String>, what: impl Into<String>) -> Remark {
        Remark { place: place.into(), what: what.into(), fails: true }
    }

    fn advice(place: impl Into<String>, what: impl Into<String>) -> Remark {
        Remark { place: place.into(), what: what.into(), fails: false }
    }
}

type Rule = fn(&Tree) -> anyhow::Result<Vec<Remark>>;

/// All rules, by the sentence that is true when they pass.
const RULES: &[(&str, Rule)] = &[
    ("the code is formatted", programs::formatted),
    ("arrows point towards the model", arrows::direct),
    ("decisions link nothing of the world", arrows::unlinked),
    ("what ships has no planted bugs", arrows::nothing_planted),
    ("decisions read no clock, environment or disk", bans::pure),
    ("one crate starts programs", bans::processes),
    ("libraries do not print", bans::prints),
    ("no driver is named outside its folder", bans::driver_words),
    ("lints are expected with a reason", bans::suppressions),
    ("files are short enough to read", bans::lengths),
    ("decision records are numbered", papers::decisions),
    ("the changelog has a place for what comes next", papers::changelog),
    ("links lead somewhere", papers::links),
    ("every room is on the map", papers::map),
    ("licences, bans and sources", programs::denied),
    ("no advisory is open", programs::advisories),
];

/// Checks all rules; each counts as one test.
pub fn tidy() -> anyhow::Result<Tally> {
    let tree = Tree::read()?;
    let mut sum = Tally::default();
    for (sentence, rule) in RULES {
        let started = Instant::now();
        let remarks = rule(&tree).unwrap_or_else(|error| vec![Remark::fault("tidy", format!("{error:#}"))]);
        let failed = remarks.iter().any(|remark| remark.fails);
        sum += if failed { Tally::FAIL } else { Tally::PASS };
        println!("  {sentence:<46} {} {:.1} s", if failed { "NO" } else { "yes" }, started.elapsed().as_secs_f64());
        for remark in remarks {
            println!("    {}{}: {}", if remark.fails { "" } else { "(advice) " }, remark.place, remark.what);
        }
    }
    Ok(sum)
}
