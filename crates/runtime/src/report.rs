//! What a pass found and did, for people and machines; nothing here decides.

use std::collections::BTreeMap;

use trued_model::body::{Checked, DriftItem, Outcome, RefusedItem};
use trued_model::{Address, Decision, Finding, Plan, Refusal, StackId};

/// One stack after a pass.
#[derive(Clone, Debug)]
pub struct StackReport {
    pub stack: StackId,
    /// As written for people.
    pub name: String,
    /// What is proposed and how it was split; `None` when there was nothing to decide on.
    pub plan: Option<(Plan, Decision)>,
    /// What a change changes beside content, in the driver's words.
    pub differs: BTreeMap<Address, String>,
    /// The run's outcome, if one ran.
    pub outcome: Option<Outcome>,
    /// Changes made on the target.
    pub written: u64,
    pub drift: Vec<DriftItem>,
    pub findings: Vec<Finding>,
    pub refusal: Option<Refusal>,
    /// What the target would not do in the last run.
    pub refused: Vec<RefusedItem>,
    /// What was asked after the changes, and did not pass.
    pub unpassed: Vec<Checked>,
    /// What a person can do about that.
    pub mend: &'static str,
    /// What is in place and not ready yet: why.
    pub waiting: Option<String>,
    /// Whether what was refused lacks something that another stack may bring.
    pub lacks: bool,
    /// What still waits although nothing is wrong.
    pub pending: Vec<Pending>,
    /// What people are told while it happens, in order.
    pub lines: Vec<String>,
    pub revision: Option<String>,
    /// What is written down and never run here: why.
    pub not_run: BTreeMap<Address, String>,
    /// The desired digest walked towards.
    pub desired: Option<trued_model::Digest>,
    /// How well the program that rendered it was confined, if one did.
    pub sandbox: Option<trued_model::Level>,
}

/// Something that stands and waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// A rollback stands.
    RolledBack,
    Suspended,
    Drift,
    Undecided,
}

/// A whole pass.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub stacks: Vec<StackReport>,
    /// Of configuration and sources.
    pub findings: Vec<Finding>,
    /// Whether a source could not be asked.
    pub stale: bool,
}

impl StackReport {
    pub(crate) fn new(stack: StackId, name: String) -> StackReport {
        StackReport {
            stack,
            name,
            plan: None,
            differs: BTreeMap::new(),
            outcome: None,
            written: 0,
            drift: Vec::new(),
            findings: Vec::new(),
            refusal: None,
            refused: Vec::new(),
            unpassed: Vec::new(),
            mend: "",
            waiting: None,
            lacks: false,
            pending: Vec::new(),
            lines: Vec::new(),
            revision: None,
            not_run: BTreeMap::new(),
            desired: None,
            sandbox: None,
        }
    }

    pub fn failed(&self) -> bool {
        self.refusal.is_some() || self.outcome == Some(Outcome::Failed)
    }

    /// Whether anything is held or waits.
    pub fn waits(&self) -> bool {
        !self.pending.is_empty() || self.plan.as_ref().is_some_and(|(_, decision)| !decision.held.is_empty())
    }
}

impl Report {
    /// The exit status: 1 failed, before 2 the input is wrong, before 3 something remains, before 0.
    /// `proposes` counts free changes as remaining: a plan proposes, an apply has made them.
    pub fn status(&self, proposes: bool) -> u8 {
        let free = |stack: &StackReport| stack.plan.as_ref().is_some_and(|(_, decision)| !decision.free.is_empty());
        if self.stale || self.stacks.iter().any(StackReport::failed) {
            1
        } else if !self.findings.is_empty() || self.stacks.iter().any(|stack| !stack.findings.is_empty()) {
            2
        } else if self.stacks.iter().any(|stack| stack.waits() || (proposes && free(stack))) {
            3
        } else {
            0
        }
    }
}
