//! Reads along in a pack while it arrives, before anybody keeps or resolves it: how many objects, how large each says it
//! is and really is, and how much memory it takes to make one from those it is a difference to. Pack format version 2.

use gix::ObjectId;
use gix::zlib::{Decompress, FlushDecompress, Status};

/// How much of a pack is too much.
#[derive(Clone, Copy)]
pub(super) struct Most {
    pub(super) objects: u64,
    /// In one object.
    pub(super) object: u64,
    /// In all objects together.
    pub(super) inflated: u64,
}

/// Objects that one is made from, with itself, may hold this many times as much as one may: all of them can be in memory
/// at once while a pack is resolved.
const CHAIN: u64 = 8;

/// What is wrong with a pack.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    Objects(u64),
    Object(u64),
    Inflated,
    Chain,
    /// It is not one; whoever resolves it would say so too.
    Malformed,
}

/// A pack, as far as it was seen.
pub(super) struct Pack {
    most: Most,
    /// Whether an object is in the store already: then a difference to it is one to a whole object.
    is_here: Box<dyn Fn(&ObjectId) -> bool + Send>,
    at: Part,
    /// Bytes of the part in hand that is not compressed.
    head: Vec<u8>,
    /// The bytes that came before the next one.
    offset: u64,
    left: u32,
    inflate: Decompress,
    scratch: Box<[u8]>,
    /// Bytes that lead to each object, itself included, by where it starts; in order.
    chains: Vec<(u64, u64)>,
    inflated: u64,
    differences: u64,
}

enum Part {
    Header,
    Entry { start: u64 },
    Content(Content),
    Over,
}

struct Content {
    start: u64,
    size: u64,
    /// What it is a difference to; `None` for a whole object.
    base: Option<Base>,
    /// The first bytes of a difference, which say how large its base and its result are.
    sizes: Vec<u8>,
    judged: bool,
}

#[derive(Clone, Copy)]
enum Base {
    /// An object before it in this pack, by where it starts.
    Before(u64),
    /// An object in the store.
    Here,
    /// One that may come anywhere in this pack.
    Somewhere,
}

/// Two numbers of at most ten bytes each.
const SIZES: usize = 20;

impl Pack {
    pub(super) fn new(most: Most, is_here: Box<dyn Fn(&ObjectId) -> bool + Send>) -> Pack {
        Pack {
            most,
            is_here,
            at: Part::Header,
            head: Vec::new(),
            offset: 0,
            left: 0,
            inflate: Decompress::new(),
            scratch: vec![0; 32 << 10].into_boxed_slice(),
            chains: Vec::new(),
            inflated: 0,
            differences: 0,
        }
    }

    /// Looks at the next bytes.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> Result<(), Beyond> {
        while !bytes.is_empty() {
            match &mut self.at {
                Part::Over => return Ok(()),
                Part::Content(_) => bytes = self.content(bytes)?,
                Part::Header | Part::Entry { .. } => {
                    self.head.push(bytes[0]);
                    self.offset += 1;
                    bytes = &bytes[1..];
                    self.head()?;
                }
            }
        }
        Ok(())
    }

    /// Objects it remembers, and bytes of the part in hand.
    pub(super) fn held(&self) -> usize {
        let sizes = if let Part::Content(content) = &self.at { content.sizes.len() } else { 0 };
        self.chains.len() + self.head.len() + sizes
    }

    /// Reads the head in hand, if it is whole.
    fn head(&mut self) -> Result<(), Beyond> {
        let Part::Entry { start } = self.at else {
            let Ok(header) = <[u8; 12]>::try_from(self.head.as_slice()) else { return Ok(()) };
            let [b'P', b'A', b'C', b'K', _, _, _, _, count @ ..] = header else { return Err(Beyond::Malformed) };
            self.left = u32::from_be_bytes(count);
            if u64::from(self.left) > self.most.objects {
                return Err(Beyond::Objects(self.left.into()));
            }
            return self.next();
        };
        let Some((size, used)) = entry_size(&self.head)? else { return Ok(()) };
        let base = match ((self.head[0] >> 4) & 7, &self.head[used..]) {
            (1..=4, _) => None,
            (6, rest) => match distance(rest)? {
                None => return Ok(()),
                Some(distance) => Some(Base::Before(start.checked_sub(distance).ok_or(Beyond::Malformed)?)),
            },
            (7, rest) if rest.len() < 20 => return Ok(()),
            (7, rest) => {
                let id = ObjectId::try_from(rest).map_err(|_| Beyond::Malformed)?;
                Some(if (self.is_here)(&id) { Base::Here } else { Base::Somewhere })
            }
            _ => return Err(Beyond::Malformed),
        };
        if size > self.most.object {
            return Err(Beyond::Object(size));
        }
        self.inflate.reset();
        self.at = Part::Content(Content { start, size, base, sizes: Vec::new(), judged: false });
        if base.is_none() {
            self.judge(size, size)?;
        }
        Ok(())
    }

    /// Inflates what is at hand; gives the bytes behind the object.
    fn content<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Beyond> {
        let Part::Content(content) = &mut self.at else { return Ok(bytes) };
        let (taken_before, made_before) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(bytes, &mut self.scratch, FlushDecompress::None).map_err(|_| Beyond::Malformed)?;
        let taken = usize::try_from(self.inflate.total_in() - taken_before).map_err(|_| Beyond::Malformed)?;
        let made = usize::try_from(self.inflate.total_out() - made_before).map_err(|_| Beyond::Malformed)?;
        if taken == 0 && made == 0 && status != Status::StreamEnd {
            return Err(Beyond::Malformed);
        }
        // Whoever says less than comes after it is no Git.
        if self.inflate.total_out() > content.size {
            return Err(Beyond::Malformed);
        }
        if content.base.is_some() && !content.judged {
            let more = SIZES.saturating_sub(content.sizes.len()).min(made);
            content.sizes.extend_from_slice(&self.scratch[..more]);
            let ended = status == Status::StreamEnd;
            if content.sizes.len() == SIZES || ended {
                let (base, used) = size(&content.sizes).ok_or(Beyond::Malformed)?;
                let (result, _) = size(&content.sizes[used..]).ok_or(Beyond::Malformed)?;
                self.judge(base, result)?;
            }
        }
        self.offset += taken as u64;
        if status == Status::StreamEnd {
            self.left -= 1;
            self.next()?;
        }
        Ok(&bytes[taken..])
    }

    /// Weighs an object whose size is known now.
    fn judge(&mut self, base_size: u64, size: u64) -> Result<(), Beyond> {
        let Part::Content(content) = &mut self.at else { return Ok(()) };
        content.judged = true;
        if size.max(base_size) > self.most.object {
            return Err(Beyond::Object(size.max(base_size)));
        }
        self.inflated = self.inflated.saturating_add(size);
        if self.inflated > self.most.inflated {
            return Err(Beyond::Inflated);
        }
        self.differences = self.differences.saturating_add(if content.base.is_some() { size } else { 0 });
        let chain = match content.base {
            None => size,
            Some(Base::Here) => base_size + size,
            // Where its base is nobody knows yet: then all of them could be on the way.
            Some(Base::Somewhere) => base_size + self.differences,
            Some(Base::Before(start)) => {
                let before = self.chains.binary_search_by_key(&start, |(start, _)| *start).map_err(|_| Beyond::Malformed)?;
                self.chains[before].1 + size
            }
        };
        if chain > self.most.object.saturating_mul(CHAIN) {
            return Err(Beyond::Chain);
        }
        self.chains.push((content.start, chain));
        Ok(())
    }

    fn next(&mut self) -> Result<(), Beyond> {
        self.head.clear();
        self.at = if self.left == 0 { Part::Over } else { Part::Entry { start: self.offset } };
        Ok(())
    }
}

/// Reads an entry's size: four bits, then seven at a time. `None` while there is more to come.
fn entry_size(head: &[u8]) -> Result<Option<(u64, usize)>, Beyond> {
    let mut value = u64::from(head[0] & 15);
    for (place, byte) in head.iter().enumerate() {
        if place > 0 {
            let shift = 4 + 7 * (place - 1);
            if shift > 60 {
                return Err(Beyond::Malformed);
            }
            value |= u64::from(byte & 127) << shift;
        }
        if byte & 128 == 0 {
            return Ok(Some((value, place + 1)));
        }
    }
    Ok(None)
}

/// Reads how far before an entry its base starts: seven bits at a time, the highest first, each step adding one.
fn distance(bytes: &[u8]) -> Result<Option<u64>, Beyond> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().enumerate() {
        if place > 8 {
            return Err(Beyond::Malformed);
        }
        value = if place == 0 { u64::from(byte & 127) } else { ((value + 1) << 7) | u64::from(byte & 127) };
        if byte & 128 == 0 {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Reads a size at the beginning of a difference: seven bits at a time, the lowest first.
fn size(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 127) << (7 * place);
        if byte & 128 == 0 {
            return Some((value, place + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn zip(bytes: &[u8]) -> Vec<u8> {
        let mut out = gix::zlib::stream::deflate::Write::new(Vec::new(), gix::zlib::Compression::DEFAULT);
        out.write_all(bytes).unwrap();
        out.flush().unwrap();
        out.into_inner()
    }

    fn entry(kind: u8, size: u64, base: &[u8], content: &[u8]) -> Vec<u8> {
        let mut head = vec![(kind << 4) | (size & 15) as u8];
        let mut rest = size >> 4;
        while rest > 0 {
            *head.last_mut().unwrap() |= 128;
            head.push((rest & 127) as u8);
            rest >>= 7;
        }
        [head, base.to_vec(), zip(content)].concat()
    }

    fn number(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let more = value > 127;
            bytes.push((value & 127) as u8 | if more { 128 } else { 0 });
            value >>= 7;
            if !more {
                return bytes;
            }
        }
    }

    /// How far back, as packs write it.
    fn back(distance: u64) -> Vec<u8> {
        let mut bytes = vec![(distance & 127) as u8];
        let mut rest = distance >> 7;
        while rest > 0 {
            rest -= 1;
            bytes.insert(0, 128 | (rest & 127) as u8);
            rest >>= 7;
        }
        bytes
    }

    /// A difference that only says how large things are.
    fn difference(base: u64, result: u64) -> Vec<u8> {
        [number(base), number(result), vec![0; 3]].concat()
    }

    fn pack(entries: &[Vec<u8>]) -> Vec<u8> {
        let head = [b"PACK\0\0\0\x02".as_slice(), &(entries.len() as u32).to_be_bytes()].concat();
        [head, entries.concat(), vec![7; 20]].concat()
    }

    const MOST: Most = Most { objects: 1000, object: 10_000, inflated: 100_000 };

    fn see(bytes: &[u8]) -> Result<(), Beyond> {
        let mut results = [1, 2, 7, 100, 1 << 20].map(|step| {
            let mut pack = Pack::new(MOST, Box::new(|id| id.as_slice() == [9; 20]));
            bytes.chunks(step).try_for_each(|bytes| pack.see(bytes))
        });
        let [first, rest @ ..] = &mut results;
        assert!(rest.iter().all(|other| other == first), "in whatever steps it comes: {first:?} {rest:?}");
        std::mem::replace(first, Ok(()))
    }

    #[test]
    fn a_pack_within_its_bounds_passes_to_its_end() {
        let base = entry(3, 300, &[], &[1; 300]);
        let there = base.len() as u64;
        let changed = difference(300, 310);
        let bytes = pack(&[
            base,
            entry(6, changed.len() as u64, &back(there), &changed),
            entry(7, changed.len() as u64, &[9; 20], &changed),
            entry(7, changed.len() as u64, &[1; 20], &changed),
            entry(1, 0, &[], &[]),
        ]);
        assert_eq!(see(&bytes), Ok(()));
    }

    #[test]
    fn fault_10_each_bound_of_a_pack_is_kept() {
        let zeros = |count: usize| entry(3, count as u64, &[], &vec![0; count]);
        let count = [b"PACK\0\0\0\x02".as_slice(), &(1_u32 << 31).to_be_bytes()].concat();
        assert_eq!(see(&count), Err(Beyond::Objects(1 << 31)), "at its header");
        assert_eq!(see(&pack(&[entry(3, 5 << 30, &[], &[])])), Err(Beyond::Object(5 << 30)), "before its content comes");
        assert_eq!(see(&pack(&[zeros(10_001)])), Err(Beyond::Object(10_001)));
        assert_eq!(see(&pack(&vec![zeros(10_000); 11])), Err(Beyond::Inflated));
        assert_eq!(see(&pack(&[entry(3, 10, &[], &[0; 9000])])), Err(Beyond::Malformed), "more comes than it says");
        let bomb = difference(10_000, 9_000_000);
        let there = zeros(10_000);
        let distance = back(there.len() as u64);
        assert_eq!(see(&pack(&[there, entry(6, bomb.len() as u64, &distance, &bomb)])), Err(Beyond::Object(9_000_000)));
    }

    #[test]
    fn fault_10_a_chain_of_differences_is_bounded_whatever_it_is_linked_by() {
        let link = difference(9_000, 9_000);
        let mut entries = vec![entry(3, 9_000, &[], &[0; 9_000])];
        for _ in 0..9 {
            let distance = back(entries.last().unwrap().len() as u64);
            entries.push(entry(6, link.len() as u64, &distance, &link));
        }
        assert_eq!(see(&pack(&entries[..8])), Ok(()));
        assert_eq!(see(&pack(&entries)), Err(Beyond::Chain));
        let somewhere = entry(7, link.len() as u64, &[1; 20], &link);
        assert_eq!(see(&pack(&vec![somewhere; 9])), Err(Beyond::Chain), "each may be the next one's base");
        let here = entry(7, link.len() as u64, &[9; 20], &link);
        assert_eq!(see(&pack(&vec![here; 9])), Ok(()), "those are all made from what is whole");
    }

    #[test]
    fn fault_10_nonsense_is_refused_and_nothing_else_happens() {
        let good = pack(&[entry(3, 300, &[], &[1; 300]), entry(6, 5, &back(3), &difference(300, 310))]);
        assert_eq!(see(&good), Err(Beyond::Malformed), "a base that is not where it should be");
        assert_eq!(see(&pack(&[entry(5, 1, &[], &[1])])), Err(Beyond::Malformed));
        assert_eq!(see(b"PUCK\0\0\0\x02\0\0\0\x01"), Err(Beyond::Malformed));
        assert_eq!(see(&pack(&[vec![0xff; 40]])), Err(Beyond::Malformed));
        assert_eq!(see(&pack(&[entry(7, 3, &[9; 20], &[255; 3])])), Err(Beyond::Malformed));
        let whole = pack(&[entry(3, 300, &[], &[1; 300])]);
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x41;
            let _ = see(&damaged);
        }
    }
}
