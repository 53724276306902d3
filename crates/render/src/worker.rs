//! What a render that broke says, and where its blocking work runs.

use trued_doors::Rendered;
use trued_model::Finding;

/// Runs blocking work off the async workers. A panic in it is a finding of this render and of no other.
pub async fn off_the_worker(work: impl FnOnce() -> Result<Rendered, Vec<Finding>> + Send + 'static) -> Result<Rendered, Vec<Finding>> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|mut findings| {
            findings.sort();
            findings.dedup();
            findings
        }),
        Err(_) => Err(vec![broken()]),
    }
}

/// The finding for a fault of our own.
pub fn broken() -> Finding {
    Finding::new("the renderer broke off", "this is a fault of the renderer, not of the tree; report it with the tree that causes it")
}
