//! Archives that a render needs from elsewhere: from the cache, or fetched once; what they are is proven by whoever gets them.

use std::collections::BTreeMap;
use std::sync::Arc;

use trued_model::{Code, Digest, Finding, Pull, Refusal, Stack};

use crate::Counters;
use crate::render::NoWish;
use crate::runtime::{Runtime, blocking};

impl Runtime {
    /// The archives that a stack's renderer needs, by their digests. What is wrong with any of them is told of all at once.
    pub(crate) async fn pulled(&self, stack: &Stack) -> Result<BTreeMap<Digest, Arc<[u8]>>, NoWish> {
        let (mut all, mut findings) = (BTreeMap::new(), Vec::new());
        for pull in &stack.render.pulls {
            if all.contains_key(&pull.digest) {
                continue;
            }
            match self.pull(stack, pull).await {
                Ok(bytes) => drop(all.insert(pull.digest, bytes.into())),
                Err(refusal) if matches!(refusal.code, Code::Invalid | Code::Absent | Code::TooLarge | Code::Denied) => {
                    let place = Some(pull.origin.clone());
                    findings.push(Finding { place, ..Finding::new(refusal.message, refusal.help) });
                }
                Err(refusal) => return Err(refusal.into()),
            }
        }
        if findings.is_empty() { Ok(all) } else { Err(NoWish::Findings(findings)) }
    }

    async fn pull(&self, stack: &Stack, pull: &Pull) -> Result<Vec<u8>, Refusal> {
        if let Some(bytes) = blocking(|| self.doors.puller.kept(pull, self.doors.cache.as_ref())) {
            return Ok(bytes);
        }
        let mut secrets = BTreeMap::new();
        for name in self.doors.puller.secrets(pull) {
            let secret = self.secret(&name).await?;
            secrets.insert(name, secret);
        }
        Counters::add(&self.counters.fetches, 1);
        let within = self.sandbox_of(stack).limits.time;
        self.doors.puller.fetch(pull, secrets, self.doors.cache.as_ref(), within).await
    }
}
