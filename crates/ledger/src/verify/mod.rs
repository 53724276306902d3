//! Recomputes the ledger from its stored bytes: every entry, the tree against every signed head, intents and their ends,
//! what follows from the record, and where asked every blob. Trusts nothing that was computed before.

mod examine;
mod heads;
mod index;
mod pairs;

use std::io;
use std::path::Path;

use rusqlite::Connection;
use trued_doors::{Answer, Blobs};
use trued_model::{BlobRef, Code, Digest, Refusal, Timestamp};

use crate::seen::Seen;
use crate::sqlite::{self, SqliteStore};
use crate::tree::Frontier;
use examine::Examined;
use heads::Heads;
use index::Index;
use pairs::Pairs;

/// What to verify beyond the record itself.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Read every blob that an entry names.
    pub deep: bool,
    /// A checkpoint of this ledger that was kept elsewhere.
    pub against: Option<String>,
    /// Leave aside what this folder has seen of the record before: a person is about to take an older one for true.
    pub accept_backup: bool,
}

/// What verifying found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// All of it is as it was recorded. `remarks`: what is no damage, but worth a look.
    Verified { entries: u64, checkpoints: u64, remarks: Vec<String> },
    /// The first thing that is wrong, and the first entry it is wrong about, where it is about one.
    Broken { index: Option<u64>, what: String },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Flaw {
    index: Option<u64>,
    what: String,
}

impl Flaw {
    fn at(index: u64, what: impl Into<String>) -> Flaw {
        Flaw { index: Some(index), what: what.into() }
    }

    fn of_all(what: impl Into<String>) -> Flaw {
        Flaw { index: None, what: what.into() }
    }
}

/// Why verifying ends early: a flaw, or a file that cannot be read at all.
enum Ended {
    Flaw(Flaw),
    Refusal(Refusal),
}

impl From<Flaw> for Ended {
    fn from(flaw: Flaw) -> Ended {
        Ended::Flaw(flaw)
    }
}

impl From<Refusal> for Ended {
    /// A damaged file is what is looked for; anything else is for the caller.
    fn from(refusal: Refusal) -> Ended {
        if refusal.code == Code::Invalid { Ended::Flaw(Flaw::of_all(refusal.message)) } else { Ended::Refusal(refusal) }
    }
}

/// Verifies a ledger, if there is one. `keys`: the folder of keys, for the log's key and the checkpoint seen last.
pub(crate) fn ledger(record: Option<&SqliteStore>, keys: &Path, blobs: &dyn Blobs, options: &VerifyOptions) -> Answer<Verification> {
    // Read first: an append beside this may leave a newer one than the record that is read next.
    let seen = if options.accept_backup { None } else { Seen::at(keys).note() };
    let done = match record {
        Some(record) => record.connect_to_read().map_err(Ended::from).and_then(|file| {
            let snapshot = file.unchecked_transaction().map_err(|error| sqlite::refused("verify the ledger", error))?;
            whole(&snapshot, keys, seen.as_deref(), blobs, options)
        }),
        None => nothing(options),
    };
    match done {
        Ok(verified) => Ok(verified),
        Err(Ended::Flaw(Flaw { index, what })) => Ok(Verification::Broken { index, what }),
        Err(Ended::Refusal(refusal)) => Err(refusal),
    }
}

/// No ledger is a whole ledger, unless somebody has a checkpoint of it.
fn nothing(options: &VerifyOptions) -> Result<Verification, Ended> {
    match options.against {
        Some(_) => Err(Flaw::at(0, "there is no ledger here, but there is a checkpoint of one").into()),
        None => Ok(Verification::Verified { entries: 0, checkpoints: 0, remarks: Vec::new() }),
    }
}

fn whole(file: &Connection, keys: &Path, seen: Option<&str>, blobs: &dyn Blobs, options: &VerifyOptions) -> Result<Verification, Ended> {
    let mut heads = Heads::read(file, keys, seen, options.against.as_deref())?;
    let mut index = Index::open(file)?;
    let mut walk = Walk::default();
    let walked = examine::each(file, |place, examined| {
        let examined = walk.take(place, examined)?;
        let derived = index.take(file, place, examined)?;
        if let (None, Err(what)) = (&walk.suspect, derived) {
            walk.suspect = Some(Flaw::at(place, what));
        }
        if options.deep {
            walk.named.extend(examined.blobs.iter().map(|blob| (*blob, place)));
        }
        walk.pairs.take(place, examined);
        heads.take(&walk.frontier, walk.suspect.as_ref())?;
        Ok(())
    });
    let ended = walked.and_then(|()| Ok(heads.end(&walk.frontier, walk.suspect.as_ref())?));
    match (ended, walk.suspect.take()) {
        // What was found out of place before is the first that is wrong.
        (Err(Ended::Flaw(flaw)), Some(suspect)) if flaw.index.is_none_or(|index| Some(index) > suspect.index) => return Err(suspect.into()),
        (ended, _) => ended?,
    }
    index.end(file, walk.frontier.size(), &mut walk.upper)?;
    let Heads { count: checkpoints, mut remarks, .. } = heads;
    remarks.extend(walk.pairs.end()?);
    bytes(walk.named, blobs)?;
    Ok(Verification::Verified { entries: walk.frontier.size(), checkpoints, remarks })
}

/// The record so far.
#[derive(Default)]
struct Walk {
    frontier: Frontier,
    recorded_at: Option<Timestamp>,
    pairs: Pairs,
    /// The first entry that is not as what follows from it says. Whether the entry or the rest is wrong shows at the
    /// next signed head.
    suspect: Option<Flaw>,
    /// The hashes of stored levels above the leaves.
    upper: Vec<(u32, u64, Digest)>,
    /// Blobs to read, and who names them.
    named: Vec<(BlobRef, u64)>,
}

impl Walk {
    fn take<'e>(&mut self, index: u64, examined: &'e Result<Examined, String>) -> Result<&'e Examined, Flaw> {
        let next = self.frontier.size();
        if index != next {
            return Err(Flaw::at(next, format!("entry #{next} is missing: after it comes #{index}")));
        }
        let examined = examined.as_ref().map_err(|what| Flaw::at(index, format!("entry #{index} {what}")))?;
        if self.recorded_at.is_some_and(|earlier| examined.recorded_at < earlier) {
            return Err(Flaw::at(index, format!("entry #{index} was recorded before its predecessor")));
        }
        if examined.links.iter().any(|(_, to)| *to >= index) {
            return Err(Flaw::at(index, format!("entry #{index} points to an entry that came later")));
        }
        self.recorded_at = Some(examined.recorded_at);
        let upper = &mut self.upper;
        self.frontier.push(examined.hash, |level, n, hash| {
            if level > 0 {
                upper.push((level, n, *hash));
            }
        });
        Ok(examined)
    }
}

/// Reads every blob once, in the order of the entries that first name them.
fn bytes(mut named: Vec<(BlobRef, u64)>, blobs: &dyn Blobs) -> Result<(), Flaw> {
    named.sort_unstable();
    named.dedup_by_key(|(blob, _)| (blob.digest, blob.bytes));
    named.sort_unstable_by_key(|(_, index)| *index);
    for (blob, index) in named {
        let wrong = match blobs.open(&blob) {
            Ok(mut bytes) => match io::copy(&mut bytes, &mut io::sink()) {
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => "holds other bytes".to_owned(),
                Err(error) => format!("cannot be read: {error}"),
            },
            Err(refusal) => match refusal.code {
                Code::Absent => "is not there".to_owned(),
                Code::Invalid => "holds other bytes".to_owned(),
                _ => format!("cannot be read: {}", refusal.message),
            },
        };
        return Err(Flaw::at(index, format!("entry #{index} names blob {}, which {wrong}", blob.digest)));
    }
    Ok(())
}
