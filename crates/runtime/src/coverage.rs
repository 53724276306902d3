//! Gathers what coverage is told from: everything on a target, what is ours there by the record, what stacks desire of it.
//! Writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use trued_doors::{Answer, Survey};
use trued_engine::{Coverage, Ground, coverage};
use trued_model::{Address, Code, Extent, Finding, Name, Refusal, StackId, Timestamp};

use crate::render::{BROKE_OFF, NoWish};
use crate::runtime::{Aim, Runtime};

/// How far we reach on one target.
pub struct Reach {
    pub target: Name,
    pub kind: String,
    pub at: Timestamp,
    pub extent: Extent,
    pub coverage: Coverage,
    /// Of what is unmanaged: who else says to manage it.
    pub theirs: BTreeMap<Address, String>,
    /// What could not be seen into, with the coded no.
    pub unseen: BTreeMap<Address, Refusal>,
    /// Stacks of which it is not known what they desire there, with the reason.
    pub unread: BTreeMap<StackId, String>,
}

impl Runtime {
    /// Tells how far we reach on each target, or on the one that is named, below a place (empty: everywhere), and what is wrong
    /// with the configuration.
    pub async fn reach(&self, aim: &Aim, only: Option<&Name>, place: &str) -> Answer<(Vec<Reach>, Vec<Finding>)> {
        let findings = self.refresh(aim).await?;
        let targets: Vec<Name> = self.estate().targets.keys().filter(|name| only.is_none_or(|only| only == *name)).cloned().collect();
        let mut reaches = Vec::new();
        for target in targets {
            reaches.push(self.reach_of(&target, place).await?);
        }
        Ok((reaches, findings))
    }

    async fn reach_of(&self, name: &Name, place: &str) -> Answer<Reach> {
        let target = self.estate().targets[name].clone();
        let (survey, nested) = match self.survey(name, place).await {
            Ok(found) => found,
            Err(refusal) => {
                let at = self.doors.clock.now();
                let seen = trued_model::Observation { at, extent: Extent::Unknown(refusal.message), seen: BTreeMap::new() };
                (Survey::of(seen), false)
            }
        };
        let Survey { seen, aside, mut theirs, unseen } = survey;
        let mut owners = self.owners(name).await?;
        if !place.is_empty() {
            // Elsewhere nobody looked.
            owners.retain(|address, _| seen.seen.contains_key(address));
        }
        let (wanted, unread) = self.wishes(name).await;
        let coverage = coverage(&Ground { seen: &seen, aside: &aside, owners: &owners, wanted: &wanted, ignore: &target.ignore, nested });
        theirs.retain(|address, _| coverage.unmanaged.contains_key(address));
        Ok(Reach { target: target.name, kind: target.kind, at: seen.at, extent: seen.extent, coverage, theirs, unseen, unread })
    }

    /// Everything on a target. What may not be listed as a whole is asked for at the places that stacks have there.
    async fn survey(&self, target: &Name, place: &str) -> Answer<(Survey, bool)> {
        let link = self.link(target).await?;
        let nested = link.facts().await?.nested;
        let mut survey = link.survey(place).await?;
        if !nested && place.is_empty() && survey.unseen.values().any(|refusal| refusal.code == Code::Denied) {
            for place in self.places_on(target) {
                let there = link.survey(&place).await?;
                survey.seen.seen.extend(there.seen.seen);
                survey.aside.extend(there.aside);
                survey.theirs.extend(there.theirs);
            }
        }
        Ok((survey, nested))
    }

    fn places_on(&self, target: &Name) -> BTreeSet<String> {
        let estate = self.estate();
        let there = estate.stacks.values().filter(|stack| stack.id.target == *target && !stack.into.is_empty());
        there.map(|stack| stack.into.clone()).collect()
    }

    /// Whose each address on a target is, by the record.
    pub(crate) async fn owners(&self, target: &Name) -> Answer<BTreeMap<Address, StackId>> {
        let mut owners = BTreeMap::new();
        for cell in self.cells().iter().filter(|cell| cell.id.target == *target) {
            let inventory = cell.inventory(self).await?;
            owners.extend(inventory.items.keys().map(|address| (address.clone(), cell.id.clone())));
        }
        Ok(owners)
    }

    /// What stacks desire on a target, and those of which that is not known.
    pub(crate) async fn wishes(&self, target: &Name) -> (BTreeMap<Address, BTreeSet<StackId>>, BTreeMap<StackId, String>) {
        let estate = self.estate();
        let mut wishes: BTreeMap<Address, BTreeSet<StackId>> = BTreeMap::new();
        let mut unread = BTreeMap::new();
        for stack in estate.stacks.values().filter(|stack| stack.id.target == *target) {
            match self.wanted(&self.cell(&stack.id), stack).await {
                Ok(wanted) => {
                    for address in wanted.desired.all().into_keys() {
                        wishes.entry(address.clone()).or_default().insert(stack.id.clone());
                    }
                }
                Err(no_wish) => drop(unread.insert(stack.id.clone(), why(no_wish))),
            }
        }
        (wishes, unread)
    }
}

fn why(no_wish: NoWish) -> String {
    match no_wish {
        NoWish::Refused(refusal) => refusal.message,
        NoWish::Findings(findings) => findings.first().map_or_else(|| "does not render".to_owned(), |finding| finding.message.clone()),
        NoWish::Panicked => BROKE_OFF.to_owned(),
    }
}
