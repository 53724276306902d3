//! One order from beginning to end: admitted, staged, made durable, put in place, made durable again, answered.
//!
//! The order of the steps is what makes a crash harmless: until a change is put in place nothing of it is in sight,
//! and what is put in place is durable already, so that each target is old or new and never torn.

use std::collections::BTreeSet;
use std::time::Instant;

use tokio::sync::mpsc::Sender;
use trued_doors::{Done, Order};
use trued_model::{Change, Code, Fingerprint, Refusal, Shape};

use crate::below::Below;
use crate::fingerprint;
use crate::folders::Folders;
use crate::own::{Admission, OwnFolder, Stage};
use crate::place::Placing;
use crate::probe::Moment;
use crate::root::{Root, refusal};
use crate::stage::{self, Making, Staged, lost};
use crate::tree::{Standing, Tree};

type Ended = Result<Option<Fingerprint>, Refusal>;

/// Runs an order. Every change gets one answer; all are given at the end, when what they say is durable.
pub(crate) fn apply(tree: &Tree, order: &Order, answers: &Sender<Done>) {
    let mut ended: Vec<Option<Ended>> = order.changes.iter().map(|_| None).collect();
    let outcome = Batch::run(tree, order, answers, &mut ended);
    for (change, result) in ended.into_iter().enumerate() {
        let result = match (result, &outcome) {
            (Some(result), _) => result,
            (None, Err(refusal)) => Err(refusal.clone()),
            (None, Ok(())) => Err(Refusal::new(Code::Broken, "apply: the change was passed over")),
        };
        // Nobody listens any more, or the one place for each change is taken: neither is ours to mend.
        let _ = answers.try_send(Done { change, result });
    }
}

/// One change of the order, read.
struct Step<'a> {
    at: usize,
    change: &'a Change,
    below: Below,
    /// What it makes; `None` where it removes something or writes nothing.
    shape: Option<Shape>,
}

impl<'a> Step<'a> {
    fn read(at: usize, change: &'a Change) -> Result<Step<'a>, Refusal> {
        let below = Below::read(&change.address)?;
        let shape = match &change.after {
            Some(after) if change.before.as_ref() != Some(after) => {
                let unknown = || Refusal::new(Code::Unsupported, format!("make {}: this driver cannot make {after}", change.address));
                Some(fingerprint::shape(after).ok_or_else(unknown)?)
            }
            _ => None,
        };
        Ok(Step { at, change, below, shape })
    }

    /// Whether it only gives a folder that stays another owner, group or mode: nothing need be staged for that.
    fn only_dresses(&self) -> bool {
        let folder = |fingerprint: &Option<Fingerprint>| fingerprint.as_ref().is_some_and(fingerprint::is_folder);
        folder(&self.change.before) && folder(&self.change.after)
    }

    fn writes(&self) -> bool {
        self.change.before != self.change.after
    }
}

/// What a batch works with between its first write and its last.
struct Batch<'a> {
    tree: &'a Tree,
    answers: &'a Sender<Done>,
    until: Instant,
    root: &'a Root,
    own: &'a OwnFolder,
    stage: &'a Stage,
    admission: &'a Admission<'a>,
}

impl Batch<'_> {
    /// `Err` is the answer of every change that has none of its own.
    fn run(tree: &Tree, order: &Order, answers: &Sender<Done>, ended: &mut [Option<Ended>]) -> Result<(), Refusal> {
        let until = Instant::now() + order.deadline.to_std();
        if order.changes.is_empty() {
            return clear_up(tree, order, answers, until);
        }
        let mut steps = Vec::with_capacity(order.changes.len());
        for (at, change) in order.changes.iter().enumerate() {
            match Step::read(at, change) {
                Ok(step) => steps.push(step),
                Err(refusal) => ended[at] = Some(Err(refusal)),
            }
        }
        if !steps.iter().any(Step::writes) {
            return look_only(tree, order, &steps, ended);
        }
        let root = tree.stand_to_write()?;
        let own = OwnFolder::enter(&root)?;
        tree.expect_mark();
        let listens = || !answers.is_closed();
        tree.probe.at(Moment::Marking).map_err(|errno| refusal(errno, "write .trued/mark at the root"))?;
        let admission = own.announce((&tree.ledger, &order.stack, order.epoch), until, listens);
        let admission = admission.inspect_err(|refusal| tree.give_up_if_lost(refusal))?;
        let _lock = own.lock(until, listens)?;
        admission.check()?;
        let (stage, interrupted) = own.stage()?;
        let batch = Batch { tree, answers, until, root: &root, own: &own, stage: &stage, admission: &admission };
        let written = batch.write(&steps, ended, interrupted);
        tree.probe.at(Moment::Sweeping).map_err(|errno| refusal(errno, "clear the stage"))?;
        if let Err(errno) = stage.clear(&own) {
            tracing::warn!(%errno, "the stage could not be cleared; the next batch does it");
        }
        written
    }

    fn write(&self, steps: &[Step<'_>], ended: &mut [Option<Ended>], interrupted: bool) -> Result<(), Refusal> {
        let staged = self.stage(steps, ended)?;
        let wanted: BTreeSet<&[u8]> = steps.iter().filter(|step| step.change.after.is_some()).map(|step| step.below.bytes()).collect();
        let mut placing = Placing::new(self.tree, self.root, self.own, self.stage, wanted);
        let mut stopped = Ok(());
        for (step, staged) in steps.iter().zip(staged) {
            if ended[step.at].is_some() {
                continue;
            }
            if let Err(refusal) = self.may_go_on() {
                stopped = Err(refusal);
                break;
            }
            let result = placing.place(step.change, &step.below, staged, step.at);
            let fatal = result.as_ref().err().filter(|refusal| matches!(refusal.code, Code::Full | Code::Broken)).cloned();
            ended[step.at] = Some(result);
            if let Some(refusal) = fatal {
                stopped = Err(refusal);
                break;
            }
        }
        placing.folders.remove_empty(interrupted);
        if let Err(errno) = self.tree.probe.at(Moment::Closing).and_then(|()| placing.folders.settle()) {
            let lost = lost(self.tree, errno);
            ended.iter_mut().filter(|ended| matches!(ended, Some(Ok(_)))).for_each(|ended| *ended = Some(Err(lost.clone())));
            return Err(lost);
        }
        stopped
    }

    /// Stages what the changes make, and makes it durable. What cannot be staged is refused by itself, but a full or
    /// failing disk ends the batch before anything is in place.
    fn stage(&self, steps: &[Step<'_>], ended: &mut [Option<Ended>]) -> Result<Vec<Option<Staged>>, Refusal> {
        let makings: Vec<(usize, Making<'_>)> = steps
            .iter()
            .enumerate()
            .filter(|(_, step)| !step.only_dresses())
            .filter_map(|(place, step)| {
                let (shape, after) = (step.shape?, step.change.after.as_ref()?);
                Some((place, Making { change: step.change, below: &step.below, shape, after, name: step.at.to_string() }))
            })
            .collect();
        let (places, makings): (Vec<usize>, Vec<Making<'_>>) = makings.into_iter().unzip();
        let results = stage::stage(self.tree, self.root, self.stage, &makings);
        let mut staged = vec![None; steps.len()];
        for (place, result) in places.into_iter().zip(results) {
            match result {
                Ok(one) => staged[place] = Some(one),
                Err(refusal) if matches!(refusal.code, Code::Full | Code::Broken) => return Err(refusal),
                Err(refusal) => ended[steps[place].at] = Some(Err(refusal)),
            }
        }
        stage::settle(self.tree, self.own, &makings).map_err(|errno| lost(self.tree, errno))?;
        Ok(staged)
    }

    fn may_go_on(&self) -> Result<(), Refusal> {
        if self.answers.is_closed() {
            return Err(Refusal::new(Code::Cancelled, "apply: stopped before this change"));
        }
        if Instant::now() >= self.until {
            return Err(Refusal::new(Code::TimedOut, "apply: the deadline passed before this change"));
        }
        self.admission.check()
    }
}

/// An order without changes clears away what an interrupted one left: its stage, and the folders it emptied.
fn clear_up(tree: &Tree, order: &Order, answers: &Sender<Done>, until: Instant) -> Result<(), Refusal> {
    let Standing::Here(root) = tree.stand()? else { return Ok(()) };
    let Some(own) = OwnFolder::find(&root)? else { return Ok(()) };
    let listens = || !answers.is_closed();
    let admission = own.announce((&tree.ledger, &order.stack, order.epoch), until, listens)?;
    let _lock = own.lock(until, listens)?;
    admission.check()?;
    if let (stage, true) = own.stage()? {
        let mut folders = Folders::new(tree, &root, &own, &stage, BTreeSet::new());
        folders.remove_empty(true);
        folders.settle().map_err(|errno| lost(tree, errno))?;
    }
    Ok(())
}

/// An order that writes nothing is only compared with what is there. It leaves no mark.
fn look_only(tree: &Tree, order: &Order, steps: &[Step<'_>], ended: &mut [Option<Ended>]) -> Result<(), Refusal> {
    let root = match tree.stand()? {
        Standing::Here(root) => Some(root),
        Standing::Unmade => None,
    };
    if let Some(own) = root.as_ref().map(OwnFolder::find).transpose()?.flatten() {
        own.admit(&tree.ledger, &order.stack, order.epoch, false)?;
    }
    for step in steps {
        ended[step.at] = Some(match &root {
            Some(root) => crate::place::confirm(tree, root, step.change, &step.below),
            None if step.change.before.is_none() => Ok(None),
            None => Err(Refusal::new(Code::Changed, format!("confirm {}: it is gone", step.change.address))),
        });
    }
    Ok(())
}
