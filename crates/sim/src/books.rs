//! What the record says, read by the checkers on their own: not by the engine's fold, so that a mistake there shows.

use std::collections::{BTreeMap, BTreeSet};

use trued_doors::Blobs;
use trued_model::body::{Answered, Approved, Drift, Held, Intent, Landed, Receipt, Rollback, Verdict};
use trued_model::{Action, Address, Digest, Fingerprint, Indexed, Kind, Manifest, Plan, StackId, Timestamp};

use crate::blobs::SimBlobs;

/// One stack's entries, summed up.
#[derive(Default)]
pub struct Account {
    /// What is ours, by the newest statement and the receipts since.
    pub inventory: BTreeMap<Address, Fingerprint>,
    /// Runs whose intent has no end, by the intent's index.
    pub open: BTreeMap<u64, OpenRun>,
    pub epoch: u64,
    /// Since when, and by which entry.
    pub suspended: Option<(u64, Timestamp)>,
    pub drift: Option<DriftOpen>,
    /// Rendered digests that were left by a rollback and not taken up since.
    pub rejected: BTreeMap<Digest, Timestamp>,
    /// What a standing rollback goes back to.
    pub rolled: Option<Manifest>,
    pub held: Vec<(u64, Held)>,
    pub yes: Vec<Yes>,
    /// Digests of bytes that an entry names as kept.
    pub kept: BTreeSet<Digest>,
    pub revision: Option<String>,
    /// Whether a person's word since the last run lets the revision go anywhere.
    pub word: bool,
    /// Whether a person accepted a rewound source, which every stack may follow once.
    pub follows_anything: bool,
    /// `delete` or `forget`, said of an orphan.
    pub orphan_word: Option<String>,
    pub incidents: BTreeMap<String, u64>,
    pub landed: Option<Digest>,
}

/// A run that was begun.
pub struct OpenRun {
    pub run: String,
    pub intent: Intent,
    pub at: Timestamp,
    pub plan: Option<Plan>,
    pub authorised_by: Vec<u64>,
    pub receipts: u64,
}

pub struct DriftOpen {
    pub index: u64,
    pub answered: bool,
    pub items: BTreeSet<(Address, Option<Fingerprint>)>,
}

/// A person's yes.
pub struct Yes {
    pub index: u64,
    pub digest: Digest,
    pub until: Timestamp,
}

impl Account {
    /// The open run of an order's key.
    pub fn run(&self, run: &str) -> Option<&OpenRun> {
        self.open.values().find(|open| open.run == run && open.intent.command.is_none())
    }

    /// Whether a person said yes to just these changes of a plan, as a held part that was on record.
    pub fn approved(&self, open: &OpenRun, of: &BTreeSet<&Address>) -> bool {
        let Some(plan) = &open.plan else { return false };
        let good = self.yes.iter().filter(|yes| yes.until > open.at && open.authorised_by.contains(&yes.index));
        good.into_iter().any(|yes| {
            let parts = self.held.iter().flat_map(|(_, held)| &held.parts).filter(|part| part.digest == yes.digest);
            parts.into_iter().any(|part| {
                let named: BTreeSet<&Address> = part.addresses.iter().collect();
                let subset = plan.changes.iter().filter(|change| named.contains(&change.address));
                of.is_subset(&named) && plan.digest_of(subset) == yes.digest
            })
        })
    }
}

/// A landed receipt to compare with what the target saw.
pub struct Claimed {
    pub run: String,
    pub address: Address,
}

/// Takes one entry in. Gives what a receipt claims to have happened.
pub fn take(account: &mut Account, blobs: &SimBlobs, indexed: &Indexed) -> Vec<Claimed> {
    let Indexed { index, entry } = indexed;
    let mut claimed = Vec::new();
    for note in &entry.blobs {
        if note.role.starts_with("kept:") {
            account.kept.insert(note.blob.digest);
        }
        if note.role == "kept"
            && let Some(manifest) = manifest(blobs, &note.blob)
        {
            account.kept.extend(manifest.items.values().filter_map(|item| item.content.map(|content| content.digest)));
        }
    }
    if let Some(stated) = entry.blob("inventory").and_then(|blob| manifest(blobs, blob)) {
        account.inventory = stated.items.into_iter().map(|(address, item)| (address, item.fingerprint)).collect();
    }
    match entry.kind {
        Kind::Intent => {
            let Ok(intent) = entry.body::<Intent>() else { return claimed };
            let plan =
                entry.blob("plan").and_then(|blob| blobs.get(&blob.digest).ok()).and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let authorised_by = entry.links.iter().filter(|link| link.rel == "authorised-by").map(|link| link.index).collect();
            account.epoch = account.epoch.max(intent.epoch);
            let run = entry.run.clone().unwrap_or_default();
            account.open.insert(*index, OpenRun { run, intent, at: entry.valid_from, plan, authorised_by, receipts: 0 });
        }
        Kind::Receipt => {
            let of = entry.link("receipt-of");
            if let Some(open) = of.and_then(|of| account.open.get_mut(&of)) {
                open.receipts += 1;
                if open.intent.command.is_some() {
                    account.open.remove(&of.unwrap_or_default());
                }
            }
            let landed: Vec<Landed> = entry
                .blob("changes")
                .and_then(|blob| blobs.get(&blob.digest).ok())
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or_default();
            debug_assert!(entry.body::<Receipt>().is_ok());
            for change in landed {
                match (&change.after, change.action) {
                    (None, _) | (_, Action::Delete) => account.inventory.remove(&change.address),
                    (Some(after), _) => account.inventory.insert(change.address.clone(), after.clone()),
                };
                claimed.push(Claimed { run: entry.run.clone().unwrap_or_default(), address: change.address });
            }
        }
        Kind::Verdict => {
            if let Some(of) = entry.link("outcome-of") {
                account.open.remove(&of);
            }
            if let Ok(verdict) = entry.body::<Verdict>() {
                account.epoch = account.epoch.max(verdict.epoch.unwrap_or(0));
                account.landed = if entry.blob("desired").is_some() { verdict.desired } else { account.landed };
                settle_rejection(account, verdict.desired, &entry.cause);
            }
        }
        Kind::Held => account.held.extend(entry.body::<Held>().ok().map(|held| (*index, held))),
        Kind::Approval => {
            let yes = entry.body::<Approved>().ok();
            account.yes.extend(yes.map(|yes| Yes { index: *index, digest: yes.digest, until: yes.until }));
        }
        Kind::Answered => answered(account, indexed),
        Kind::DriftOpened | Kind::DriftUpdated => {
            let stated = entry.body::<Drift>().map(|drift| drift.items).unwrap_or_default();
            let items: BTreeSet<_> = stated.into_iter().map(|item| (item.address, item.found)).collect();
            let at = if entry.kind == Kind::DriftOpened { *index } else { account.drift.as_ref().map_or(*index, |open| open.index) };
            // A word on what was stated covers no more than that.
            let answered = account.drift.as_ref().is_some_and(|open| open.answered && items.is_subset(&open.items));
            account.drift = Some(DriftOpen { index: at, answered, items });
        }
        Kind::DriftClosed => account.drift = None,
        Kind::Rollback => {
            if let Ok(rollback) = entry.body::<Rollback>() {
                account.rejected.remove(&rollback.desired);
                account.rejected.insert(rollback.rejects, entry.recorded_at);
                account.rolled = entry.blob("desired").and_then(|blob| manifest(blobs, blob));
                account.word = true;
            }
        }
        Kind::Suspend => account.suspended = Some((*index, entry.recorded_at)),
        Kind::Resume => {
            account.rolled = None;
            account.word = true;
            if entry.actor.kind == "person" {
                account.suspended = None;
                account.rejected.clear();
            }
        }
        _ => {}
    }
    claimed
}

fn answered(account: &mut Account, indexed: &Indexed) {
    let Ok(answer) = indexed.entry.body::<Answered>() else { return };
    let of = indexed.entry.link("answers");
    account.word = true;
    if let Some(open) = account.drift.as_mut().filter(|open| Some(open.index) == of) {
        open.answered = true;
    }
    if matches!(answer.word.as_str(), "done" | "not-done") {
        account.open.retain(|index, open| Some(*index) != of || open.intent.command.is_none());
    }
    if matches!(answer.word.as_str(), "delete" | "forget") {
        account.orphan_word = Some(answer.word.clone());
    }
    if matches!(answer.word.as_str(), "take-over" | "revert") {
        let until = answer.until.unwrap_or(Timestamp(i64::MAX));
        let parts = account.held.iter().filter(|(index, _)| Some(*index) == of).flat_map(|(_, held)| &held.parts);
        let yes: Vec<Yes> = parts.map(|part| Yes { index: indexed.index, digest: part.digest, until }).collect();
        account.yes.extend(yes);
    }
}

/// Once the source's wish for something else was taken, what was rejected before may be wished for again.
pub fn settle_rejection(account: &mut Account, desired: Option<Digest>, cause: &str) {
    if let Some(desired) = desired
        && !account.rejected.contains_key(&desired)
        && cause != "rollback"
        && cause != "recovery"
        && account.rolled.is_none()
    {
        account.rejected.clear();
    }
}

pub fn manifest(blobs: &SimBlobs, root: &trued_model::BlobRef) -> Option<Manifest> {
    struct Unread;
    impl From<trued_model::BadManifest> for Unread {
        fn from(_: trued_model::BadManifest) -> Unread {
            Unread
        }
    }
    Manifest::unpack(root, |blob| blobs.get(&blob.digest).map_err(|_| Unread)).ok()
}

/// All stacks' accounts.
pub type Accounts = BTreeMap<StackId, Account>;
