//! Every signed head there is, and whether the record is what it says: those in the file, the one this folder has seen
//! last, and one that was kept elsewhere.

use std::collections::VecDeque;
use std::path::Path;

use rusqlite::Connection;
use trued_doors::{Answer, TreeHead};

use super::Flaw;
use crate::checkpoint;
use crate::keys::{self, Purpose};
use crate::note::{Signer, VerifierKey};
use crate::sqlite::{meta, refused};
use crate::tree::Frontier;

pub(super) struct Heads {
    /// By size, smallest first, with the words that name each.
    ahead: VecDeque<(TreeHead, &'static str)>,
    /// The sizes of the two largest heads that the record agrees with so far, the smaller first.
    proven: [u64; 2],
    /// The size of the largest such head that is stored with the record.
    covered: u64,
    /// What is wrong with the heads themselves; told when the entries are found whole.
    flaw: Option<Flaw>,
    /// Checkpoints in the file.
    pub count: u64,
    pub remarks: Vec<String>,
}

const STORED: &str = "the checkpoint";

impl Heads {
    pub fn read(file: &Connection, keys: &Path, seen: Option<&str>, against: Option<&str>) -> Answer<Heads> {
        let mut heads = Heads { ahead: VecDeque::new(), proven: [0, 0], covered: 0, flaw: None, count: 0, remarks: Vec::new() };
        let key = heads.key(meta(file, "origin")?, meta(file, "key")?, keys);
        let stored = || -> rusqlite::Result<Vec<(i64, String)>> {
            file.prepare("SELECT size, note FROM checkpoints ORDER BY size")?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let stored = stored().map_err(|error| refused("read the checkpoints", error))?;
        heads.count = stored.len() as u64;
        let Some(key) = key else {
            if !stored.is_empty() || against.is_some() {
                heads.wrong("there is no key to check signatures with".to_owned());
            }
            return Ok(heads);
        };
        for (size, note) in stored {
            match checkpoint::open(&note, &key) {
                Ok(head) if head.size as i64 == size => heads.ahead.push_back((head, STORED)),
                Ok(_) => heads.wrong(format!("the checkpoint stored for {size} entries is for another number")),
                Err(error) => heads.wrong(format!("the checkpoint over {size} entries is {error}")),
            }
        }
        match against.map(|note| checkpoint::open(note, &key)) {
            Some(Ok(head)) => heads.ahead.push_back((head, "the checkpoint given")),
            Some(Err(error)) => heads.wrong(format!("the checkpoint given is {error}")),
            None => {}
        }
        match seen.map(|note| checkpoint::open(note, &key)) {
            Some(Ok(head)) => heads.ahead.push_back((head, "the checkpoint seen last here")),
            Some(Err(error)) => heads.remarks.push(format!("keys/last-checkpoint is {error}; the next append writes it anew")),
            None => {}
        }
        heads.ahead.make_contiguous().sort_by_key(|(head, _)| head.size);
        Ok(heads)
    }

    /// The key to check with: the one in the folder of keys, where it is there, else the one in the file.
    fn key(&mut self, origin: Option<String>, stored: Option<String>, keys: &Path) -> Option<VerifierKey> {
        let (origin, stored) = (origin?, stored.and_then(|key| key.parse::<VerifierKey>().ok()));
        let ours = match keys::read(keys, Purpose::Log) {
            Ok(key) => key.and_then(|key| Signer::new(&origin, key.bytes())).map(|signer| signer.verifier().clone()),
            Err(refusal) => {
                self.remarks.push(format!("the key could not be compared: {}", refusal.message));
                None
            }
        };
        match (ours, stored) {
            (Some(ours), stored) => {
                if stored.as_ref() != Some(&ours) {
                    self.wrong(format!("the key of {origin} is not the one in keys/log.key"));
                }
                Some(ours)
            }
            (None, Some(stored)) if stored.name() == origin => Some(stored),
            (None, _) => None,
        }
    }

    fn wrong(&mut self, what: String) {
        self.flaw.get_or_insert_with(|| Flaw::of_all(what));
    }

    /// Compares the record so far with the heads over just that many entries.
    pub fn take(&mut self, so_far: &Frontier, suspect: Option<&Flaw>) -> Result<(), Flaw> {
        while let Some((head, named)) = self.ahead.front().copied().filter(|(head, _)| head.size <= so_far.size()) {
            self.ahead.pop_front();
            if head.size == so_far.size() && head.root != so_far.root() {
                let [earlier, latest] = self.proven;
                // Two heads over as many entries that do not agree: what one proves the other does not.
                let first = if latest < head.size { latest } else { earlier };
                let last = head.size.saturating_sub(1);
                let between = format!("entries #{first} to #{last} are not those that {named} over {} entries signs", head.size);
                let at = |suspect: &Flaw| Flaw {
                    what: format!("{}, and is not what {named} over {} entries signs", suspect.what, head.size),
                    ..suspect.clone()
                };
                return Err(suspect.map_or_else(|| Flaw::at(first, between), at));
            }
            if let Some(suspect) = suspect {
                let what = format!("{}; the entry is the one that was signed, what follows from it is wrong", suspect.what);
                return Err(Flaw { what, ..suspect.clone() });
            }
            if self.proven[1] < head.size {
                self.proven = [self.proven[1], head.size];
            }
            if named == STORED {
                self.covered = head.size;
            }
        }
        Ok(())
    }

    /// Finds a tail that was cut off, entries under no head, and what was wrong with the heads.
    pub fn end(&mut self, all: &Frontier, suspect: Option<&Flaw>) -> Result<(), Flaw> {
        // A head over nothing is compared here, if nothing is all there is.
        self.take(all, suspect)?;
        if let Some((head, named)) = self.ahead.front() {
            let what = format!("the entries from #{} on are missing: {named} is over {} entries", all.size(), head.size);
            return Err(Flaw::at(all.size(), what));
        }
        match self.flaw.take() {
            Some(flaw) => Err(flaw),
            None if self.covered < all.size() => {
                Err(Flaw::at(self.covered, format!("the entries from #{} on are under no signed checkpoint", self.covered)))
            }
            None => Ok(()),
        }
    }
}
