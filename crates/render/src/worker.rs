//! Where the blocking work of a render runs, on how many threads, and what one that broke says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

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

/// Does the same with each of these, on so many threads; the results in their order.
pub fn on_threads<T: Sync, R: Send>(all: &[T], threads: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(all.len()));
    let some = || {
        while let Some((at, one)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, all.get(at)?))) {
            let result = work(one);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    std::thread::scope(|scope| {
        // Where no more threads can be had, this one does it all.
        let _others: Vec<_> = (1..threads).map_while(|_| std::thread::Builder::new().spawn_scoped(scope, some).ok()).collect();
        some();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The finding for a fault of our own.
pub fn broken() -> Finding {
    Finding::new("the renderer broke off", "this is a fault of the renderer, not of the tree; report it with the tree that causes it")
}
