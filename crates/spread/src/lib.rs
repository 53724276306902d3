//! The same work over many items, on a few threads that end with it. Blocks.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Works on runs of up to `run` neighbouring items, each run in order on one thread, so many `threads` at once. Results stand
/// in the items' order.
pub fn spread<T: Sync, R: Send>(items: &[T], run: usize, threads: usize, work: impl Fn(&[T]) -> Vec<R> + Sync) -> Vec<R> {
    let Ok(all) = try_spread(items, run, threads, |run| Ok::<_, Infallible>(work(run)));
    all
}

/// The same with work that may fail: the first failure in the items' order is given, and what nobody has begun by then is left.
pub fn try_spread<T: Sync, R: Send, E: Send>(
    items: &[T],
    run: usize,
    threads: usize,
    work: impl Fn(&[T]) -> Result<Vec<R>, E> + Sync,
) -> Result<Vec<R>, E> {
    let runs: Vec<&[T]> = items.chunks(run.max(1)).collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(runs.len()));
    let some = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(run) = runs.get(at) else { break };
            let results = work(run);
            if results.is_err() {
                next.fetch_max(runs.len(), Ordering::Relaxed);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, results));
        }
    };
    std::thread::scope(|scope| {
        // This thread works too: where no other can be had, it does it all.
        let others = 1..threads.min(runs.len());
        let _others: Vec<_> = others.map_while(|_| std::thread::Builder::new().spawn_scoped(scope, some).ok()).collect();
        some();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    let mut all = Vec::with_capacity(items.len());
    for (_, results) in done {
        all.extend(results?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_order_whoever_made_them() {
        for count in [0, 1, 2, 63, 64, 65, 1000] {
            let items: Vec<usize> = (0..count).collect();
            for run in [0, 1, 7, 64, 2000] {
                for threads in [0, 1, 2, 9] {
                    let all = spread(&items, run, threads, |run| run.iter().map(|item| item * 2).collect());
                    assert_eq!(all, items.iter().map(|item| item * 2).collect::<Vec<_>>(), "{count} in runs of {run} on {threads}");
                }
            }
        }
    }

    #[test]
    fn the_first_failure_in_order_is_given_and_what_comes_later_is_left() {
        let items: Vec<usize> = (0..10_000).collect();
        for threads in [1, 2, 8] {
            let begun = AtomicUsize::new(0);
            let failed = try_spread(&items, 10, threads, |run| {
                begun.fetch_add(1, Ordering::Relaxed);
                run.iter().map(|item| if item % 100 == 55 { Err(*item) } else { Ok(()) }).collect::<Result<Vec<()>, usize>>()
            });
            assert_eq!(failed, Err(55));
            if threads == 1 {
                assert_eq!(begun.load(Ordering::Relaxed), 6);
            }
        }
    }
}
