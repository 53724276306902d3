//! What was done, in numbers: the cost of a run is asserted in these, not in seconds.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

/// Counts since the process began.
#[derive(Debug, Default)]
pub struct Counters {
    /// Renders that ran; a render answered from the cache is none.
    pub renders: AtomicU64,
    /// Times a remote source was asked.
    pub fetches: AtomicU64,
    /// Looks at a target: calls, not addresses.
    pub target_reads: AtomicU64,
    /// Resources changed on targets.
    pub target_writes: AtomicU64,
    /// Entries appended to the ledger.
    pub ledger_rows: AtomicU64,
    /// Documents that renders gave; what they took over from the render before is none.
    pub rendered: AtomicU64,
    /// Times the inputs of a render were named, to see whether there is anything to render: a digest of what is known already.
    pub render_keys: AtomicU64,
    /// Times a stack that was woken was asked whether that is worth a walk.
    pub weighed: AtomicU64,
    /// Addresses looked at for a plan: not those that were known to be as they were seen last.
    pub looked_at: AtomicU64,
    /// Renders repeated to see whether they give the same; none of `renders`.
    pub repeats: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// The counts as one JSON object; what only a long life has, only where there was any.
    pub fn report(&self) -> Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut counts = json!({
            "renders": read(&self.renders),
            "fetches": read(&self.fetches),
            "target_reads": read(&self.target_reads),
            "target_writes": read(&self.target_writes),
            "ledger_rows": read(&self.ledger_rows),
        });
        let long = [
            ("render_keys", &self.render_keys),
            ("weighed", &self.weighed),
            ("rendered", &self.rendered),
            ("looked_at", &self.looked_at),
            ("repeats", &self.repeats),
        ];
        for (name, count) in long {
            if let (count @ 1.., Some(counts)) = (read(count), counts.as_object_mut()) {
                counts.insert(name.to_owned(), json!(count));
            }
        }
        counts
    }
}
