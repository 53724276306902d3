//! Two sorted sequences, walked side by side.

use std::cmp::Ordering;
use std::iter::{Peekable, from_fn};

/// Walks two sequences that are sorted by key: each key once, with what either has there.
pub fn beside<K: Ord, A, B>(
    one: impl IntoIterator<Item = (K, A)>,
    other: impl IntoIterator<Item = (K, B)>,
) -> impl Iterator<Item = (K, Option<A>, Option<B>)> {
    let (mut one, mut other) = (one.into_iter().peekable(), other.into_iter().peekable());
    from_fn(move || match first(&mut one, &mut other)? {
        Ordering::Less => one.next().map(|(key, a)| (key, Some(a), None)),
        Ordering::Greater => other.next().map(|(key, b)| (key, None, Some(b))),
        Ordering::Equal => one.next().map(|(key, a)| (key, Some(a), other.next().map(|(_, b)| b))),
    })
}

/// Which of the two is next; `None` at the end of both.
fn first<K: Ord, A, B>(
    one: &mut Peekable<impl Iterator<Item = (K, A)>>,
    other: &mut Peekable<impl Iterator<Item = (K, B)>>,
) -> Option<Ordering> {
    match (one.peek(), other.peek()) {
        (Some((a, _)), Some((b, _))) => Some(a.cmp(b)),
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_comes_once_with_what_either_has() {
        let walked: Vec<_> = beside([(1, 'a'), (2, 'b'), (4, 'd')], [(0, 'z'), (2, 'y'), (5, 'x')]).collect();
        let expected = [(0, None, Some('z')), (1, Some('a'), None), (2, Some('b'), Some('y')), (4, Some('d'), None), (5, None, Some('x'))];
        assert_eq!(walked, expected);
        assert_eq!(beside([(1, 'a')], Vec::<(i32, ())>::new()).count(), 1);
    }
}
