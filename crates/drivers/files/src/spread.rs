//! The same work over many items, on a few threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Items one thread takes at a time: enough that neighbours share an open folder, few enough that one large file
/// holds up little else.
const RUN: usize = 32;

/// More threads than this wait for the disk, not for each other; each costs a stack and a buffer.
const THREADS: usize = 8;

/// Works on runs of neighbouring items, each run in order on one thread. Results stand in the items' order.
pub(crate) fn spread<T: Sync, R: Send>(items: &[T], work: impl Fn(&[T]) -> Vec<R> + Sync) -> Vec<R> {
    let runs: Vec<&[T]> = items.chunks(RUN).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS).min(runs.len());
    if threads <= 1 {
        return runs.into_iter().flat_map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Vec<R>)>> = Mutex::new(Vec::with_capacity(runs.len()));
    let some = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(run) = runs.get(at) else { break };
            let results = work(run);
            done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((at, results));
        }
    };
    std::thread::scope(|scope| {
        // This thread works too: where no other can be had, it does it all.
        let _others: Vec<_> = (1..threads).map_while(|_| std::thread::Builder::new().spawn_scoped(scope, some).ok()).collect();
        some();
    });
    let mut done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().flat_map(|(_, results)| results).collect()
}
