//! What the record may say of how well things were: read from its entries alone, and from what was written.

use std::collections::BTreeMap;

use trued_doors::Blobs as _;
use trued_model::body::{Outcome, Rollback, Verdict};
use trued_model::{Digest, Indexed, Kind, StackId};

use crate::books;
use crate::promise::Promise;
use crate::universe::Universe;

/// What was read of one stack so far.
#[derive(Default)]
struct Account {
    /// The newest verdict, while nothing was done since.
    said: Option<Verdict>,
    /// What each release came to when it was tried last, by its desired digest.
    came_to: BTreeMap<Digest, bool>,
    /// Verified verdicts, by index.
    verified: BTreeMap<u64, Digest>,
}

fn unwell(verdict: &Verdict) -> bool {
    verdict.checks.iter().any(|check| check.check == "health" && !check.passed)
}

/// Reads all entries of a world, oldest first, up to where everything was healed.
pub fn check(universe: &Universe, entries: &[Indexed], healed_from: u64) -> Vec<(Promise, String)> {
    let mut accounts: BTreeMap<StackId, Account> = BTreeMap::new();
    let mut found = Vec::new();
    for indexed in entries.iter().filter(|indexed| indexed.index < healed_from) {
        let (at, entry) = (indexed.index, &indexed.entry);
        let Some(id) = entry.stack.clone() else { continue };
        let account = accounts.entry(id.clone()).or_default();
        match entry.kind {
            // Something is done or said: what follows may say the same again.
            Kind::Intent | Kind::Resume | Kind::Answered | Kind::Approval => account.said = None,
            Kind::Verdict => {
                let Ok(verdict) = entry.body::<Verdict>() else { continue };
                let same =
                    |said: &Verdict| (said.desired, said.outcome, &said.checks) == (verdict.desired, verdict.outcome, &verdict.checks);
                if unwell(&verdict) && account.said.as_ref().is_some_and(same) {
                    found.push((Promise::SaidOnce, format!("#{at}: {id:?} is said once more to be unwell, and nothing was done since")));
                }
                if verdict.outcome == Outcome::Landed && unwell(&verdict) {
                    found.push((Promise::Proven, format!("#{at}: {id:?} landed although its health check failed")));
                }
                if verdict.verified && !verdict.awaits.is_empty() {
                    found.push((Promise::Proven, format!("#{at}: {id:?} is verified and still waits for {}", verdict.awaits)));
                }
                if verdict.verified
                    && let Some(why) = never_ready(universe, &id, indexed)
                {
                    found.push((Promise::Proven, format!("#{at}: {id:?} is verified, and {why}")));
                }
                if let Some(desired) = verdict.desired {
                    match verdict.outcome {
                        Outcome::Landed if verdict.verified => {
                            account.came_to.insert(desired, true);
                            account.verified.insert(at, desired);
                        }
                        Outcome::Failed if unwell(&verdict) => drop(account.came_to.insert(desired, false)),
                        _ => {}
                    }
                }
                account.said = Some(verdict);
            }
            Kind::Rollback => {
                let Ok(rollback) = entry.body::<Rollback>() else { continue };
                account.said = None;
                // A person may go where they like.
                if entry.actor.kind == "person" {
                    continue;
                }
                if account.verified.get(&rollback.to) != Some(&rollback.desired) {
                    found.push((Promise::GoesBack, format!("#{at}: {id:?} goes back to #{}, which was never verified", rollback.to)));
                }
                if account.came_to.get(&rollback.desired) == Some(&false) {
                    found.push((Promise::GoesBack, format!("#{at}: {id:?} goes back to what was unwell when it was there last")));
                }
                if rollback.desired == rollback.rejects {
                    found.push((Promise::GoesBack, format!("#{at}: {id:?} goes back to what it leaves")));
                }
            }
            _ => {}
        }
    }
    found
}

/// What of a verified release can never have been ready.
fn never_ready(universe: &Universe, id: &StackId, verdict: &Indexed) -> Option<String> {
    let wellbeing = universe.target(&id.target).wellbeing.clone()?;
    let manifest = books::manifest(&universe.blobs, verdict.entry.blob("desired")?)?;
    let unready = manifest.items.iter().find(|(address, item)| {
        let content = item.content.and_then(|content| universe.blobs.get(&content.digest).ok());
        content.is_some_and(|content| !wellbeing.ever_ready(address, &content))
    });
    unready.map(|(address, _)| format!("{address} was never ready"))
}
