//! What an earlier process began and did not end: closed by looking.

use trued_doors::Asked;
use trued_engine::{Event, OpenIntent};
use trued_model::body::{Outcome, Verdict};
use trued_model::{Address, Change, Code, Kind, Manifest, Plan, Refusal};

use super::Walk;
use super::errands::begun_by;
use super::inventory::{disown_what_went, in_place, own, own_what_gives_way};
use crate::record::{Drafting, draft};
use crate::runtime::blocking;

impl Walk<'_> {
    /// Closes what an earlier process began and did not end: reads its plan, looks, and writes down how far it came.
    pub(super) async fn recover(&mut self) -> Result<Event, Refusal> {
        let link = self.runtime.link(&self.stack.id.target).await?;
        self.facts = link.facts().await?;
        let nested = self.facts.nested;
        let intents: Vec<(u64, OpenIntent)> = self.memory.intents.iter().map(|(index, open)| (*index, open.clone())).collect();
        for (index, open) in intents.into_iter().filter(|(_, open)| open.intent.command.is_none()) {
            let epoch = self.runtime.lease(self.cell, link.as_ref()).await?;
            let changes = self.intended(&open)?;
            let mut made = (*self.cell.inventory(self.runtime).await?).clone();
            let seen = self.see(self.addresses(&changes, &made)).await?;
            let look = |address: &Address| seen.get(address);
            let mut found = 0;
            let mut errands = Vec::new();
            for change in &changes {
                let seen = look(&change.address);
                if !seen.decided() {
                    let why = format!("run #{index} was interrupted, and {} cannot be seen to close it", change.address);
                    return Err(Refusal::new(Code::Unknown, why).help("make the target reachable; the run is closed then"));
                }
                let made_so = in_place(change, &changes, nested, &look);
                if self.memory.errands.get(&change.address).is_none_or(|ran| Some(ran.of) != open.intent.desired) {
                    errands.extend(begun_by(change, open.intent.desired, made_so, self.now()));
                }
                if made_so {
                    found += 1;
                    own(&mut made, change);
                } else if seen.fingerprint() == change.before.as_ref() {
                    own_what_gives_way(&mut made, change);
                }
                disown_what_went(&mut made, change, &seen);
            }
            let of = open.intent.changes;
            let why = format!("{} on record, {found} in place", open.received);
            self.report.lines.push(format!("run #{index} stopped after {} of {of}; looked; closed: {why}", open.received));
            let inventory = self.runtime.store_manifest(&made)?;
            self.runtime.flush().await?;
            let verdict = Verdict {
                outcome: Outcome::Interrupted,
                done: found,
                of,
                verified: false,
                desired: open.intent.desired,
                inputs: None,
                deletes: None,
                checks: Vec::new(),
                why,
                awaits: String::new(),
                epoch: Some(epoch),
                errands,
            };
            let draft = draft(Kind::Verdict, Some(&self.stack.id), self.now(), "recovery", &verdict)
                .run(open.run.as_deref().unwrap_or(&self.run))
                .revision(open.revision.clone())
                .link("outcome-of", Some(index))
                .blob("inventory", Some(inventory));
            self.runtime.record(self.cell, vec![draft], self.runtime.fence(self.cell, epoch)).await?;
        }
        self.memory = self.cell.memory(self.runtime).await?;
        Ok(Event::Done)
    }

    fn intended(&self, open: &OpenIntent) -> Result<Vec<Change>, Refusal> {
        let blob = open.plan.ok_or_else(|| Refusal::new(Code::Broken, "an intent names no plan"))?;
        let bytes = blocking(|| self.runtime.doors.blobs.get(&blob.digest))?;
        let plan: Plan = serde_json::from_slice(&bytes)
            .map_err(|error| Refusal::new(Code::Invalid, format!("a stored plan cannot be read: {error}")))?;
        Ok(plan.changes)
    }

    fn addresses(&self, changes: &[Change], made: &Manifest) -> Vec<Asked> {
        let sealed = |change: &Change| {
            let before = made.items.get(&change.address).and_then(|item| item.content);
            change.content.or(before).is_some_and(|content| content.sealed)
        };
        changes.iter().map(|change| self.asked(change, sealed(change))).collect()
    }
}
