//! Trying again until something works or its time is over.

use std::time::Duration as Span;

use tokio::time::{Instant, sleep};
use trued_model::Duration;

/// The shortest pause between two tries, whatever the settings say.
const MIN_EVERY: Span = Span::from_millis(10);

/// What the last try gets even if its time is almost over: cut to nothing it would only say that nobody answered.
const LAST_TRY: Span = Span::from_secs(1);

/// How long to try, how often, and how long one try may take.
pub struct Patience {
    /// Nothing: one try.
    pub within: Duration,
    pub every: Duration,
    pub timeout: Duration,
}

/// One try that did not pass.
pub struct Failed {
    pub why: String,
    /// Whether another try could pass without anybody changing the settings.
    pub again: bool,
}

/// Tries under way.
pub struct Tries {
    patience: Patience,
    start: Instant,
    failed: u32,
}

impl Patience {
    pub fn start(self) -> Tries {
        Tries { patience: self, start: Instant::now(), failed: 0 }
    }
}

impl Tries {
    /// How long the next try may take.
    pub fn limit(&self) -> Duration {
        let Patience { within, timeout, .. } = self.patience;
        if within == Duration::default() {
            return timeout;
        }
        let left = within.to_std().saturating_sub(self.start.elapsed()).max(LAST_TRY).as_millis();
        timeout.min(Duration(u64::try_from(left).unwrap_or(u64::MAX)))
    }

    /// Waits for the next try's turn; the words of failure when there is none.
    pub async fn after(&mut self, failed: Failed) -> Result<(), String> {
        self.failed += 1;
        let every = self.patience.every.to_std().max(MIN_EVERY);
        if failed.again && self.start.elapsed() + every < self.patience.within.to_std() {
            sleep(every).await;
            return Ok(());
        }
        Err(match self.failed {
            1 => failed.why,
            tries => format!("{}, {tries} tries in {}", failed.why, self.patience.within),
        })
    }
}
