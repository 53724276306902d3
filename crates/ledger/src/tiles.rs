//! The static form of the log (c2sp.org/tlog-tiles): files that any web server serves and any client verifies.

use std::fs;
use std::path::Path;

use trued_doors::{Answer, TreeHead};
use trued_model::{Code, Refusal};

use crate::checkpoint;
use crate::disk::cannot_io;
use crate::note::VerifierKey;
use crate::tree::{Frontier, leaf_hash};

/// Hashes in a full tile, entries in a full bundle.
const WIDTH: u64 = 256;

/// Writes a log: its entries, read by (from, until), its hashes, and at last the checkpoint over them. Tiles that an
/// earlier export wrote are written over by what they already hold, or by more of it.
pub(crate) fn export(note: &str, key: &str, mut leaves: impl FnMut(u64, u64) -> Answer<Vec<Vec<u8>>>, to: &Path) -> Answer<u64> {
    let bent = |why: &str| Refusal::new(Code::Invalid, format!("export the ledger: {why}")).help("`trued verify` tells what is wrong");
    let verifier: VerifierKey = key.parse().map_err(|error| bent(&format!("its key is {error}")))?;
    let head = checkpoint::open(note, &verifier).map_err(|error| bent(&format!("its newest checkpoint is {error}")))?;
    not_another_log(verifier.name(), &head, to)?;

    let mut frontier = Frontier::default();
    let mut levels: Vec<Level> = Vec::new();
    while frontier.size() < head.size {
        let first = frontier.size();
        let leaves = leaves(first, head.size.min(first + WIDTH))?;
        if leaves.is_empty() {
            return Err(bent(&format!("entry #{first} is missing")));
        }
        let mut bundle = Vec::new();
        for leaf in &leaves {
            let length = u16::try_from(leaf.len()).map_err(|_| bent(&format!("entry #{} is too large", frontier.size())))?;
            bundle.extend(length.to_be_bytes());
            bundle.extend(leaf);
            frontier.push(leaf_hash(leaf), |level, _, hash| {
                let level = level as usize;
                levels.resize_with(levels.len().max(level + 1), Level::default);
                levels[level].hashes.extend(hash.0);
            });
        }
        write(to, &tile("entries", first / WIDTH, leaves.len() as u64), &bundle)?;
        for (number, level) in levels.iter_mut().enumerate().filter(|(_, level)| level.width() == WIDTH) {
            write(to, &tile(&number.to_string(), level.written, WIDTH), &level.hashes)?;
            level.hashes.clear();
            level.written += 1;
        }
    }
    for (number, level) in levels.iter().enumerate().filter(|(_, level)| !level.hashes.is_empty()) {
        write(to, &tile(&number.to_string(), level.written, level.width()), &level.hashes)?;
    }
    if frontier.root() != head.root {
        return Err(bent("its entries are not those that its newest checkpoint signs"));
    }
    write(to, "key.pub", format!("{key}\n").as_bytes())?;
    write(to, "checkpoint.new", note.as_bytes())?;
    let named = fs::rename(to.join("checkpoint.new"), to.join("checkpoint"));
    named.map_err(|error| cannot_io(&format!("write {}", to.join("checkpoint").display()), &error))?;
    Ok(head.size)
}

/// The tile of a level that is being filled.
#[derive(Default)]
struct Level {
    written: u64,
    hashes: Vec<u8>,
}

impl Level {
    fn width(&self) -> u64 {
        self.hashes.len() as u64 / 32
    }
}

/// A tile's path. Its number is spelled in groups of three digits, all but the last behind an `x`; a partial tile's
/// width follows: `tile/0/x001/x234/067`, `tile/entries/002.p/17`.
fn tile(level: &str, number: u64, width: u64) -> String {
    let mut path = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    let partial = if width < WIDTH { format!(".p/{width}") } else { String::new() };
    format!("tile/{level}/{path}{partial}")
}

/// Refuses a folder with a log that this one does not go on from.
fn not_another_log(origin: &str, head: &TreeHead, to: &Path) -> Answer<()> {
    let Ok(there) = fs::read_to_string(to.join("checkpoint")) else { return Ok(()) };
    match checkpoint::read(&there) {
        Some((theirs, old)) if theirs == origin && old.size <= head.size => Ok(()),
        _ => {
            let message = format!("export the ledger to {}: another log, or a later state of this one, is there", to.display());
            Err(Refusal::new(Code::Invalid, message).help("export to an empty folder"))
        }
    }
}

fn write(to: &Path, path: &str, bytes: &[u8]) -> Answer<()> {
    let path = to.join(path);
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| fs::write(&path, bytes)).map_err(|error| cannot_io(&format!("write {}", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::tile;

    #[test]
    fn tiles_are_named_as_the_format_says() {
        assert_eq!(tile("0", 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(tile("entries", 2, 17), "tile/entries/002.p/17");
        assert_eq!(tile("1", 1000, 1), "tile/1/x001/000.p/1");
    }
}
