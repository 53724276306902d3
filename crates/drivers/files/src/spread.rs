//! How work on a tree is spread over threads.

/// Items one thread takes at a time: enough that neighbours share an open folder, few enough that one large file
/// holds up little else.
const RUN: usize = 32;

/// More threads than this wait for the disk, not for each other; each costs a stack and a buffer.
const THREADS: usize = 8;

/// Works on runs of neighbouring items, each run in order on one thread. Results stand in the items' order.
pub(crate) fn spread<T: Sync, R: Send>(items: &[T], work: impl Fn(&[T]) -> Vec<R> + Sync) -> Vec<R> {
    // How many cores there are is asked of the system, which reads files for it.
    let threads = if items.len() <= RUN { 1 } else { std::thread::available_parallelism().map_or(1, usize::from).min(THREADS) };
    trued_spread::spread(items, RUN, threads, work)
}
