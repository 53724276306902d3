//! Archives that a render needs from elsewhere: from the cache, or fetched once; what they are is proven by whoever gets them.

use std::sync::Arc;

use trued_model::{Code, Finding, Stack};

use crate::Counters;
use crate::render::NoWish;
use crate::runtime::{Runtime, blocking};

impl Runtime {
    /// The archive that a stack's renderer needs, if it needs one.
    pub(crate) async fn pulled(&self, stack: &Stack) -> Result<Option<Arc<[u8]>>, NoWish> {
        let Some(pull) = &stack.render.pull else { return Ok(None) };
        if let Some(bytes) = blocking(|| self.doors.puller.kept(pull, self.doors.cache.as_ref())) {
            return Ok(Some(bytes.into()));
        }
        let password = match &pull.password {
            Some(name) => Some(self.secret(name).await?),
            None => None,
        };
        Counters::add(&self.counters.fetches, 1);
        let within = self.sandbox_of(stack).limits.time;
        match self.doors.puller.fetch(pull, password, self.doors.cache.as_ref(), within).await {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(refusal) if matches!(refusal.code, Code::Invalid | Code::Absent | Code::TooLarge | Code::Denied) => {
                let finding = Finding::new(refusal.message, refusal.help);
                Err(NoWish::Findings(vec![match pull.origin.line {
                    Some(line) => finding.at(pull.origin.file.clone(), line, 1),
                    None => finding,
                }]))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}
