//! Who goes before whom, among things of which some wait for others.

use std::collections::{BTreeMap, BTreeSet};

/// All in an order in which each comes after what it waits for, and where that is not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns<K> {
    /// Everything, those of a circle somewhere beside each other.
    pub order: Vec<K>,
    /// Those that wait for each other: one way round for every group, from its smallest, which does not stand there twice.
    pub circles: Vec<Vec<K>>,
}

/// Puts things in order. What is waited for and is no key itself is left out. Time and memory grow with the number of
/// things and of waits alone, and no depth of waits is too much (Tarjan 1972, without recursion).
pub fn turns<K: Ord + Clone>(waits: &BTreeMap<K, BTreeSet<K>>) -> Turns<K> {
    let keys: Vec<&K> = waits.keys().collect();
    let place: BTreeMap<&K, usize> = keys.iter().enumerate().map(|(place, key)| (*key, place)).collect();
    let edges: Vec<Vec<usize>> = waits.values().map(|before| before.iter().filter_map(|key| place.get(key).copied()).collect()).collect();
    let mut turns = Turns { order: Vec::with_capacity(keys.len()), circles: Vec::new() };
    for group in groups(&edges) {
        if let [_, _, ..] = group[..] {
            turns.circles.push(round(&group, &edges).into_iter().map(|key| keys[key].clone()).collect());
        } else if edges[group[0]].contains(&group[0]) {
            turns.circles.push(vec![keys[group[0]].clone()]);
        }
        turns.order.extend(group.into_iter().map(|key| keys[key].clone()));
    }
    turns
}

/// The strongly connected groups, sorted within; one that another waits for comes first.
fn groups(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let mut groups = Vec::new();
    // When each was first met, and the earliest of what it leads to that is still open.
    let (mut met, mut earliest) = (vec![NEW; edges.len()], vec![NEW; edges.len()]);
    let mut open: Vec<usize> = Vec::new();
    let mut is_open = vec![false; edges.len()];
    let mut count = 0;
    for start in 0..edges.len() {
        let mut way: Vec<(usize, usize)> = if met[start] == NEW { vec![(start, 0)] } else { Vec::new() };
        while let Some((at, next)) = way.last_mut().map(|(at, next)| {
            *next += 1;
            (*at, *next - 1)
        }) {
            if next == 0 {
                (met[at], earliest[at], is_open[at]) = (count, count, true);
                open.push(at);
                count += 1;
            }
            match edges[at].get(next) {
                Some(&to) if met[to] == NEW => way.push((to, 0)),
                Some(&to) if is_open[to] => earliest[at] = earliest[at].min(met[to]),
                Some(_) => {}
                None => {
                    way.pop();
                    if let Some((before, _)) = way.last() {
                        earliest[*before] = earliest[*before].min(earliest[at]);
                    }
                    if earliest[at] == met[at] {
                        let from = open.iter().rposition(|key| *key == at).unwrap_or(0);
                        let mut group = open.split_off(from);
                        group.iter().for_each(|key| is_open[*key] = false);
                        group.sort_unstable();
                        groups.push(group);
                    }
                }
            }
        }
    }
    groups
}

/// One way round within a group, from a member that lies on it; the smallest it meets stands first.
fn round(group: &[usize], edges: &[Vec<usize>]) -> Vec<usize> {
    let inside: BTreeSet<usize> = group.iter().copied().collect();
    let mut way: Vec<usize> = Vec::new();
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    let mut at = group[0];
    let from = loop {
        if let Some(from) = seen.get(&at) {
            break *from;
        }
        seen.insert(at, way.len());
        way.push(at);
        // Within a group everybody leads on to somebody.
        at = edges[at].iter().copied().find(|to| inside.contains(to)).unwrap_or(at);
    };
    let mut round = way.split_off(from);
    let smallest = round.iter().enumerate().min_by_key(|(_, key)| **key).map_or(0, |(place, _)| place);
    round.rotate_left(smallest);
    round
}
