//! Renders every stack twice, each time anew and in a folder of its own, and finds where the two differ. The second time is
//! later, and what no render may depend on is otherwise.

use std::time::{Duration, Instant};

use trued_model::Finding;
use trued_runtime::difference;

use crate::acting::Acting;
use crate::commands::Session;
use crate::wire::{self, Hand};

/// How much later than the first a second build begins at least: a clock in seconds tells another time then.
const LATER: Duration = Duration::from_millis(1100);

const HELP: &str = "leave out the time, random numbers and the order of listings; builds find a fixed time in SOURCE_DATE_EPOCH";

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
        match (first, acting.forgetful().repeating().show(id, &aim).await?) {
            (Ok(one), Ok(other)) => findings.extend(difference(&one, &other)?.map(|what| Finding::new(what, HELP).of(name))),
            (Err(found), Err(_)) => findings.extend(found.into_iter().map(|finding| finding.of(&name))),
            (Ok(_), Err(found)) | (Err(found), Ok(_)) => {
                findings.push(Finding::new("it renders once, and not the other time", HELP).of(&name));
                findings.extend(found.into_iter().map(|finding| finding.of(&name)));
            }
        }
    }
    Ok(findings)
}
