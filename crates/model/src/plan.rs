//! The whole proposal for one stack, its steps, and how it is split into what may run and what is held.

use serde::{Deserialize, Serialize};

use crate::{Address, BlobRef, Digest, Fingerprint, Name, StackId, Timestamp, Turn};

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Create,
    Update,
    /// Delete and create anew, where the kind of thing cannot be changed in place (a file becomes a folder).
    Replace,
    Delete,
    /// Takes over an address from another stack; the target's bytes stay unless they differ from what is desired.
    Move,
    /// Takes into the inventory what is there already and is as desired; writes nothing.
    Adopt,
    /// Drops from the inventory; the target is not touched.
    Forget,
}

impl Action {
    /// Whether the target is written. A move writes only when before and after differ.
    pub fn writes(self) -> bool {
        matches!(self, Action::Create | Action::Update | Action::Replace | Action::Delete)
    }

    pub fn word(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Replace => "replace",
            Action::Delete => "delete",
            Action::Move => "move",
            Action::Adopt => "adopt",
            Action::Forget => "forget",
        }
    }
}

/// Why a change is proposed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Reason {
    /// Never applied, and nothing is there.
    New,
    /// The source wants something else than before.
    DesiredChanged,
    /// Somebody else changed it on the target.
    ChangedOutside,
    /// Somebody else removed it from the target.
    RemovedOutside,
    /// No longer desired.
    NotDesired,
    /// No longer desired, and already gone.
    AlreadyGone,
    /// There already, exactly as desired.
    AlreadyThere,
    /// There already, not ours, and different.
    Foreign,
    /// Cannot be changed in place.
    Immutable,
    /// Takes from others what is theirs.
    Conflict,
    /// Carries the mark of another record, or of a stack whose target leads to the same place.
    Marked,
    /// Comes from, or goes to, another stack.
    Claimed { stack: StackId },
    /// Configuration says to keep it.
    Retained,
    /// The stack is no longer configured.
    Orphaned,
    /// A rollback wants it so.
    RolledBack,
    /// A person's answer.
    Answered { index: u64 },
    /// Runs once for this release.
    Errand { called: String },
    /// Ran for this release, and goes as its declaration has it.
    Spent,
}

impl Reason {
    /// The reason as people read it, here and in every listing.
    pub fn words(&self) -> String {
        match self {
            Reason::New => "not there yet".to_owned(),
            Reason::DesiredChanged => "desired state changed".to_owned(),
            Reason::ChangedOutside => "changed from outside".to_owned(),
            Reason::RemovedOutside => "removed from outside".to_owned(),
            Reason::NotDesired => "no longer desired".to_owned(),
            Reason::AlreadyGone => "no longer desired and already gone".to_owned(),
            Reason::AlreadyThere => "already there as desired".to_owned(),
            Reason::Foreign => "exists, differs and is not ours".to_owned(),
            Reason::Immutable => "cannot be changed in place".to_owned(),
            Reason::Conflict => "takes fields from others".to_owned(),
            Reason::Marked => "carries the mark of another".to_owned(),
            Reason::Claimed { stack } => format!("moves between stacks ({})", stack.key()),
            Reason::Retained => "kept on the target as configured".to_owned(),
            Reason::Orphaned => "its stack is no longer configured".to_owned(),
            Reason::RolledBack => "a rollback wants it".to_owned(),
            Reason::Answered { index } => format!("answered in #{index}"),
            Reason::Errand { called } => format!("{called}, once for this release"),
            Reason::Spent => "has run, and is not to stay".to_owned(),
        }
    }
}

/// Why a change is not made although it is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldKind {
    /// More deletes than the limits allow.
    Deletes,
    /// The render is empty and was not before.
    Empty,
    /// First contact with something different.
    Foreign,
    /// Another stack owns or wants the address.
    Claimed,
    /// The address could not be seen.
    Unseen,
    /// A delete waits for other stacks' renders.
    Waiting,
    /// The policy says to hold on drift.
    Drift,
    /// The stack is no longer configured: delete or forget?
    Orphan,
    /// It depends on a change that is held.
    Depends,
    /// A person suspended the stack.
    Suspended,
    /// A rollback stands until the source says something new.
    RolledBack,
    /// A command of ours may have run; a person says whether it did.
    Undecided,
    /// The stack runs after another one, which has not landed.
    Blocked,
    /// The target does not know its kind yet; somebody may bring it.
    Deferred,
    /// It cannot be changed in place, only made anew.
    Immutable,
    /// It would take from others what is theirs.
    Conflict,
    /// It carries the mark of another record, or of a stack whose target leads to the same place.
    Marked,
    /// It comes after something that runs once and is not done.
    Awaits,
    /// The operator does not let the stack manage the address.
    OutOfBounds,
}

impl HoldKind {
    pub fn word(self) -> &'static str {
        match self {
            HoldKind::Deletes => "deletes",
            HoldKind::Empty => "empty",
            HoldKind::Foreign => "foreign",
            HoldKind::Claimed => "claimed",
            HoldKind::Unseen => "unseen",
            HoldKind::Waiting => "waiting",
            HoldKind::Drift => "drift",
            HoldKind::Orphan => "orphan",
            HoldKind::Depends => "depends",
            HoldKind::Suspended => "suspended",
            HoldKind::RolledBack => "rolled-back",
            HoldKind::Undecided => "undecided",
            HoldKind::Blocked => "blocked",
            HoldKind::Deferred => "deferred",
            HoldKind::Immutable => "immutable",
            HoldKind::Conflict => "conflict",
            HoldKind::Marked => "marked",
            HoldKind::Awaits => "awaits",
            HoldKind::OutOfBounds => "out-of-bounds",
        }
    }

    /// Whether `approve` lets it run. The others end when their facts change, or by another verb.
    pub fn approvable(self) -> bool {
        use HoldKind::{Conflict, Deletes, Drift, Empty, Foreign, Immutable, Marked, Orphan};
        matches!(self, Deletes | Empty | Foreign | Drift | Orphan | Immutable | Conflict | Marked)
    }
}

/// One step on one address. `before` and `after` are `None` for absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub address: Address,
    pub action: Action,
    /// What the change expects to find; it is refused when the target shows something else.
    pub before: Option<Fingerprint>,
    pub after: Option<Fingerprint>,
    /// Same name, but this very thing, where the target has such an identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The stack an address is taken over from, or given up to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<StackId>,
    /// Bytes to write. Not in the digest: `after` covers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<BlobRef>,
    /// Whether what is there is not ours and its bytes must be on record before they go. Not in the digest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep: bool,
    /// Why. Not in the digest.
    pub reasons: Vec<Reason>,
    /// Why not now, where the plan itself knows. Not in the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<(HoldKind, String)>,
    /// Its turn, where it runs once and is no lasting part of what is desired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// What it comes after that runs once and is not done: no yes lets it go before. Not in the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<(HoldKind, String)>,
}

impl Change {
    /// Whether it undoes what was done to the target from outside, and is not only what a commit wants.
    pub fn puts_back(&self) -> bool {
        self.reasons.iter().any(|reason| matches!(reason, Reason::ChangedOutside | Reason::RemovedOutside))
    }
}

/// The part of a change that a person approves.
#[derive(Serialize)]
struct Bound<'a> {
    address: &'a Address,
    action: Action,
    before: &'a Option<Fingerprint>,
    after: &'a Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other: &'a Option<StackId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn: &'a Option<Turn>,
}

/// All changes for one stack, in the order they would run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub v: u32,
    pub stack: StackId,
    /// The target's name, as the stack's identity has it.
    pub target: Name,
    /// Digest of the stack's policy as configured.
    pub policy: Digest,
    pub changes: Vec<Change>,
}

impl Plan {
    /// What people approve: covers stack, target, policy and each change; not the clock, ids, revision or wording.
    pub fn digest(&self) -> Digest {
        self.digest_of(self.changes.iter())
    }

    /// The digest of a part of the plan, as if it were the whole.
    pub fn digest_of<'a>(&self, changes: impl Iterator<Item = &'a Change>) -> Digest {
        #[derive(Serialize)]
        struct Whole<'a> {
            v: u32,
            stack: &'a StackId,
            target: &'a Name,
            policy: &'a Digest,
            changes: Vec<Bound<'a>>,
        }
        let changes = changes
            .map(|c| Bound {
                address: &c.address,
                action: c.action,
                before: &c.before,
                after: &c.after,
                uid: &c.uid,
                other: &c.other,
                turn: &c.turn,
            })
            .collect();
        Digest::of_canonical(&Whole { v: self.v, stack: &self.stack, target: &self.target, policy: &self.policy, changes })
    }
}

/// A group of changes that is held for one reason, or free to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub kind: HoldKind,
    pub digest: Digest,
    /// Indices into the plan's changes, ascending.
    pub changes: Vec<usize>,
    pub why: String,
    /// What a person can do about it.
    pub next: String,
}

/// A gate's answer: which changes may run now, and which wait for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The whole plan's digest.
    pub plan: Digest,
    /// Indices of the changes that may run, ascending.
    pub free: Vec<usize>,
    pub held: Vec<Part>,
    /// Ledger indices of the approvals that freed something.
    pub approvals: Vec<u64>,
}

/// A person's yes to one digest, as read from the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub index: u64,
    pub digest: Digest,
    pub by: String,
    pub until: Timestamp,
}
