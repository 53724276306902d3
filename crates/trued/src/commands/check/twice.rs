//! Renders every stack twice, each time anew and in a folder of its own, and finds where the two differ. The second time is
//! later, and what no render may depend on is otherwise; and so is what programs are promised of their place.

use std::time::{Duration, Instant};

use trued_model::Finding;
use trued_runtime::{Shown, difference};

use crate::acting::Acting;
use crate::commands::Session;
use crate::wire::{self, Hand};

/// How much later than the first a second build begins at least: a clock in seconds tells another time then.
const LATER: Duration = Duration::from_millis(1100);

const HELP: &str = "leave out the time, random numbers and the order of listings; builds find a fixed time in SOURCE_DATE_EPOCH";

const ELSEWHERE: &str = "it is the same here each time, and not with another locale, time zone, dates of its files or name of the machine: \
     name those it needs in its command (`env TZ=UTC LC_ALL=C …`), and take dates from SOURCE_DATE_EPOCH";

/// What two renders of the same inputs gave differently, and why a stack does not render at all.
pub async fn findings(session: &Session<'_>) -> anyhow::Result<Vec<Finding>> {
    let acting = Acting::open(session, Hand::None, "check").await?;
    let aim = acting.aim(&[], None, false).await?;
    acting.runtime.look_up(&aim).await?;
    let (names, estate) = (acting.runtime.names(), acting.runtime.estate());
    let mut findings = Vec::new();
    for (id, stack) in &estate.stacks {
        let name = names.write(id);
        let begun = Instant::now();
        let first = acting.forgetful().show(id, &aim).await?;
        if first.is_ok() && wire::runs_a_program(&stack.render) {
            tokio::time::sleep(LATER.saturating_sub(begun.elapsed())).await;
        }
        let other = acting.forgetful().elsewhere().show(id, &aim).await?;
        let mut found = compared(&first, other)?;
        // Where a program differs elsewhere, once more in the place that it is promised: that tells the one from the other.
        if first.is_ok() && !found.is_empty() && wire::runs_a_program(&stack.render) {
            let there = acting.forgetful().repeating().show(id, &aim).await?;
            let again = compared(&first, there)?;
            found = if again.is_empty() { found.into_iter().map(of_its_place).collect() } else { again };
        }
        findings.extend(found.into_iter().map(|finding| finding.of(&name)));
    }
    Ok(findings)
}

/// What two renders of the same gave differently, or why there is nothing to compare.
fn compared(first: &Result<Shown, Vec<Finding>>, other: Result<Shown, Vec<Finding>>) -> anyhow::Result<Vec<Finding>> {
    Ok(match (first, other) {
        (Ok(one), Ok(other)) => difference(one, &other)?.into_iter().map(|what| Finding::new(what, HELP)).collect(),
        (Err(found), Err(_)) => found.clone(),
        (Ok(_), Err(found)) => once(&found),
        (Err(found), Ok(_)) => once(found),
    })
}

fn once(found: &[Finding]) -> Vec<Finding> {
    [&[Finding::new("it renders once, and not the other time", HELP)], found].concat()
}

/// Builds are the same here each time, and not where locale, zone, dates of files or the machine's name are others.
fn of_its_place(finding: Finding) -> Finding {
    let message = match finding.message.split_once("differ: ") {
        Some((_, what)) => format!("what is rendered depends on where it is rendered: {what}"),
        None => finding.message,
    };
    Finding { message, help: ELSEWHERE.to_owned(), ..finding }
}
