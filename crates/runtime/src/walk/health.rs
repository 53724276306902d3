//! How well what is in place is: asked once the run has written, remembered from whoever follows it, and put on record when it
//! changes. Waits for nothing: a walk ends, and the next one begins when there is something new.

use futures::StreamExt;
use trued_doors::HealthAsk;
use trued_engine::{Wellness, wellness};
use trued_model::{Draft, Refusal};

use super::Walk;
use crate::incidents::{self, Trouble};

/// What the check is called that every stack has whose target tells of health.
pub(crate) const HEALTH: &str = "health";

impl Walk<'_> {
    /// What was seen by whoever follows the stack, if that is about what is in place and wanted now.
    pub(super) fn seen_health(&self) -> Option<Wellness> {
        let judged = self.cell.kept().judged.take()?;
        (self.wanted.as_ref().map(|wanted| wanted.digest) == Some(judged.desired)).then_some(judged.wellness)
    }

    /// Whether all that is desired is ready. Asks the target for nothing that it has not told already.
    pub(super) async fn wellness(&mut self) -> Result<Wellness, Refusal> {
        if !self.facts.health || self.orphan {
            return Ok(Wellness::Ready);
        }
        if let Some(judged) = self.judged.take().filter(|_| self.landed.is_empty()) {
            return Ok(judged);
        }
        let link = self.runtime.link(&self.stack.id.target).await?;
        let ask =
            HealthAsk { addresses: self.desired.resources.keys().cloned().collect(), rules: self.stack.health.rules.clone(), read: false };
        let told = tokio::time::timeout(super::look::LOOK_DEADLINE.to_std(), link.health(ask).next()).await;
        let Ok(Some(conditions)) = told else { return Ok(Wellness::Waits("the target does not tell".to_owned())) };
        let now = self.now();
        let waited = self.memory.unready.filter(|_| {
            let landed = self.memory.landed.as_ref().map(|landed| landed.desired);
            self.landed.is_empty() && landed == self.wanted.as_ref().map(|wanted| wanted.digest)
        });
        Ok(wellness(&conditions, waited.unwrap_or(now), self.stack.health.within, now))
    }

    /// What was ready and is not any more, and what is again: an incident, while the release stays the verified one.
    pub(super) fn note_health(&self, drafts: &mut Vec<Draft>) {
        let proven = self.memory.landed.as_ref().is_some_and(|landed| landed.verified);
        let (id, now) = (&self.stack.id, self.now());
        match self.judged.as_ref().filter(|_| proven) {
            Some(Wellness::Failed(why)) => {
                let next = "look at what runs there; a commit that mends it is applied at once";
                drafts.extend(incidents::open(&self.memory, id, now, Trouble { kind: HEALTH, message: why.clone(), next, words: &[] }));
            }
            Some(Wellness::Ready) => drafts.extend(incidents::close(&self.memory, id, now, HEALTH, "recovered")),
            _ => {}
        }
    }

    /// Has the target say when it knows the kinds of what cannot be made yet.
    pub(super) fn expect(&self) {
        if let (Some(wanted), Some(link)) = (&self.wanted, &self.link)
            && !wanted.deferred.is_empty()
        {
            link.expect(&wanted.deferred.keys().cloned().collect());
        }
    }
}
