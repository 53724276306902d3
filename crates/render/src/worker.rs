//! Where the blocking work of a render runs, and what one that broke says.

use trued_doors::Rendered;
use trued_model::Finding;

/// Runs blocking work off the async workers. A panic in it is a finding of this render and of no other.
pub async fn off_the_worker(work: impl FnOnce() -> Result<Rendered, Vec<Finding>> + Send + 'static) -> Result<Rendered, Vec<Finding>> {
    sorted(blocking(work)).await
}

/// Puts findings in order, each once.
pub async fn sorted(render: impl Future<Output = Result<Rendered, Vec<Finding>>>) -> Result<Rendered, Vec<Finding>> {
    render.await.map_err(|mut findings| {
        findings.sort();
        findings.dedup();
        findings
    })
}

/// Does blocking work off the async workers. A panic in it is a finding.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Vec<Finding>> + Send + 'static) -> Result<T, Vec<Finding>> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(vec![broken()]))
}

/// The finding for a fault of our own.
pub fn broken() -> Finding {
    Finding::new("the renderer broke off", "this is a fault of the renderer, not of the tree; report it with the tree that causes it")
}
