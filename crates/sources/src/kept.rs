//! The last few things of a kind, newest first: what a revision that lives only in memory can be read from.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// How many are kept: the one in use, and those that slower stacks still read.
const KEPT: usize = 4;

/// A short list behind a lock.
pub(crate) struct Kept<T> {
    newest_first: Mutex<VecDeque<Arc<T>>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept { newest_first: Mutex::new(VecDeque::new()) }
    }
}

impl<T> Kept<T> {
    /// Keeps one more; what `same` says is the same thing is replaced.
    pub(crate) fn keep(&self, thing: Arc<T>, same: impl Fn(&T) -> bool) {
        let mut list = self.newest_first.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|kept| !same(kept));
        list.push_front(thing);
        list.truncate(KEPT);
    }

    pub(crate) fn find(&self, is: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        self.newest_first.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|kept| is(kept)).cloned()
    }

    pub(crate) fn newest(&self) -> Option<Arc<T>> {
        self.find(|_| true)
    }
}
