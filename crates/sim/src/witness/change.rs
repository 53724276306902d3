//! One change on its way into its target: whether it may be made, by the rules written down a second time.

use std::collections::BTreeSet;

use trued_doors::{Holder, Order};
use trued_engine::over_limit;
use trued_model::{Action, Address, Change, Digest, DriftPolicy, Extent, Fingerprint, OnExisting, Stack};

use super::{Known, Witness, wishes};
use crate::books::{Account, OpenRun};
use crate::promise::Promise;
use crate::target::{Node, Target};
use crate::universe::Universe;

/// One change on its way into its target, with all that is needed to judge it.
pub(super) struct Scene<'a> {
    pub witness: &'a Witness,
    pub universe: &'a Universe,
    pub by: &'a Holder,
    pub target: &'a Target,
    pub order: &'a Order,
    pub change: &'a Change,
    pub there: Option<&'a Node>,
    pub account: &'a Account,
    pub open: &'a OpenRun,
}

impl Scene<'_> {
    pub fn check(&self) -> Vec<(Promise, String)> {
        let mut found = Vec::new();
        // What is not as expected is refused by the target itself.
        let as_expected = self.there.map(|node| &node.fingerprint) == self.change.before.as_ref();
        if as_expected && self.change.before != self.change.after {
            found.extend(self.kept());
            found.extend(self.first_contact());
            found.extend(self.drift());
        }
        found.extend(self.bounds());
        if self.change.action == Action::Delete {
            found.extend(
                self.delete()
                    .into_iter()
                    .map(|why| (Promise::Deletes, format!("{:?} deletes {}: {why}", self.order.stack, self.change.address))),
            );
        }
        found
    }

    /// Nothing is written outside of what the operator lets the stack manage. Worlds write such bounds as `FOLDER/**`.
    fn bounds(&self) -> Option<(Promise, String)> {
        let (stack, address) = (&self.order.stack, self.change.address.as_str());
        let known = [&self.witness.known, &self.witness.earlier].into_iter().take(1 + usize::from(self.witness.lenient));
        let inside = |known: &Known| {
            let globs = known.estate.stacks.get(stack).and_then(|stack| stack.policy.manage.as_ref());
            globs.is_none_or(|globs| globs.iter().any(|glob| address.starts_with(glob.trim_end_matches("**"))))
        };
        let refused = known.filter_map(|known| known.get(&self.by.pid)).all(|known| !inside(known));
        let sentence = format!("{stack:?} {} {address}, which it may not manage", self.change.action.word());
        (refused && self.change.action != Action::Forget).then_some((Promise::Bounds, sentence))
    }

    fn ours(&self) -> Option<&Fingerprint> {
        let address = &self.change.address;
        self.account.inventory.get(address).or_else(|| {
            let stack = self.universe.estate().stacks.get(&self.order.stack).cloned()?;
            stack.previously.iter().find_map(|old| self.witness.accounts.get(old)?.inventory.get(address))
        })
    }

    /// Whoever's it is, if it is any stack's.
    fn anybodys(&self) -> Option<&Fingerprint> {
        let same = self.witness.accounts.iter().filter(|(id, _)| id.target == self.target.name);
        self.ours().or_else(|| same.into_iter().find_map(|(_, account)| account.inventory.get(&self.change.address)))
    }

    /// Bytes of strangers are on record before they go.
    fn kept(&self) -> Option<(Promise, String)> {
        let node = self.there.filter(|node| node.foreign)?;
        let bytes = node.content.as_ref()?;
        let known = self.anybodys() == Some(&node.fingerprint);
        let kept = self.witness.accounts.values().any(|account| account.kept.contains(&Digest::of(bytes)));
        (!known && !kept).then(|| {
            (
                Promise::Kept,
                format!("{:?} overwrites {} of a stranger, and no entry names the bytes", self.order.stack, self.change.address),
            )
        })
    }

    fn first_contact(&self) -> Option<(Promise, String)> {
        self.there.filter(|node| node.foreign && node.content.is_some())?;
        if self.anybodys().is_some() || self.policy()?.on_existing == OnExisting::TakeOver {
            return None;
        }
        let alone = BTreeSet::from([&self.change.address]);
        (!self.account.approved(self.open, &alone))
            .then(|| (Promise::FirstContact, format!("{:?} overwrites {}, which was never ours", self.order.stack, self.change.address)))
    }

    fn policy(&self) -> Option<trued_model::Policy> {
        self.universe.estate().stacks.get(&self.order.stack).map(|stack| stack.policy.clone())
    }

    fn drift(&self) -> Option<(Promise, String)> {
        let policy = self.policy()?;
        let address = &self.change.address;
        let answered = self.account.drift.as_ref().is_none_or(|open| open.answered);
        let approved = self.account.approved(self.open, &BTreeSet::from([address]));
        let ours = self.account.inventory.get(address);
        let drifted = ours.is_some() && ours != self.change.before.as_ref();
        let goes_back = drifted && ours == self.change.after.as_ref();
        let broken = match policy.drift {
            DriftPolicy::Revert => false,
            DriftPolicy::Alert => goes_back && !answered && !approved,
            DriftPolicy::Hold => (self.account.drift.is_some() || drifted) && !answered && !approved && !self.witness.lenient,
        };
        broken.then(|| (Promise::DriftWaits, format!("{:?} changes {address} while drift waits for an answer", self.order.stack)))
    }

    /// Why a delete has not the evidence it needs: the rule, written down a second time.
    fn delete(&self) -> Option<String> {
        let address = &self.change.address;
        let id = &self.order.stack;
        if self.ours().is_none() {
            return Some("it is not in the inventory".to_owned());
        }
        let key = (self.by.pid, self.target.name.clone(), address.clone());
        let Some(glance) = self.witness.glances.get(&key) else { return Some("nobody looked".to_owned()) };
        if glance.extent != Extent::Complete {
            return Some("the look was not complete".to_owned());
        }
        if glance.seen.fingerprint() != self.change.before.as_ref() {
            return Some("it was seen to be something else".to_owned());
        }
        let now = self.witness.known.get(&self.by.pid).cloned().unwrap_or_default();
        let claims = [&glance.earlier, &glance.known, &now].map(|known| self.claimed(known));
        if let [Some(_), Some(then), Some(now)] = claims {
            return Some(format!("{then}; {now}"));
        }
        let plan = self.open.plan.as_ref()?;
        let deletes: BTreeSet<&Address> =
            plan.changes.iter().filter(|change| change.action == Action::Delete).map(|change| &change.address).collect();
        let Some(stack) = glance.known.estate.stacks.get(id).or_else(|| now.estate.stacks.get(id)) else {
            let word = self.account.orphan_word.as_deref() == Some("delete");
            return (!word && !self.account.approved(self.open, &deletes))
                .then(|| "its stack is not configured, and nobody said delete".to_owned());
        };
        let approved = self.account.approved(self.open, &deletes);
        let standing = self.standing(stack);
        if over_limit(&stack.policy.deletes, deletes.len(), standing) && !approved {
            return Some(format!("{} of {standing} are too many, and nobody said yes", deletes.len()));
        }
        let wished = |known: &Known| known.accepted.as_deref().and_then(|revision| wishes(self.universe, stack, revision));
        if self.account.rolled.is_none()
            && let (Some(before), Some(then), Some(now)) = (wished(&glance.earlier), wished(&glance.known), wished(&now))
        {
            if [&before, &then, &now].iter().all(|wishes| wishes.contains_key(address)) {
                return Some("it is desired".to_owned());
            }
            if [&before, &then, &now].iter().all(|wishes| wishes.is_empty()) && !approved {
                return Some("the render is empty, and nobody said yes".to_owned());
            }
        }
        None
    }

    /// How many resources the stack had when the run began.
    fn standing(&self, stack: &Stack) -> usize {
        let inherited = stack.previously.iter().filter_map(|old| self.witness.accounts.get(old)).flat_map(|old| old.inventory.keys());
        let all: BTreeSet<&Address> = self.account.inventory.keys().chain(inherited).collect();
        let run = self.open.plan.as_ref();
        let gone =
            run.iter().flat_map(|plan| &plan.changes).filter(|change| change.action == Action::Delete && !all.contains(&change.address));
        all.len() + gone.count()
    }

    /// Who else desires the address, or might.
    fn claimed(&self, known: &Known) -> Option<String> {
        if known.estate.incomplete || !known.estate.unreadable.is_empty() {
            return Some("a part of the configuration cannot be read".to_owned());
        }
        let revision = known.accepted.as_deref()?;
        let orphan = !known.estate.stacks.contains_key(&self.order.stack);
        known.estate.stacks.values().filter(|other| other.id.target == self.target.name && other.id != self.order.stack).find_map(|other| {
            match wishes(self.universe, other, revision) {
                None if orphan => None,
                None => Some(format!("{:?} does not render", other.id)),
                Some(wishes) if wishes.contains_key(&self.change.address) => Some(format!("{:?} desires it", other.id)),
                Some(_) => None,
            }
        })
    }
}
