//! Looking at a tree: these addresses, or everything below a place. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Stat};
use trued_doors::{Answer, Asked, Survey};
use trued_model::{Address, Code, Evidence, Extent, Observation, Refusal, Seen, State, Timestamp, encode_path};

use crate::below::{self, Below};
use crate::fingerprint;
use crate::look::{CHUNK, Found, Undecided, What, look};
use crate::root::{Barrier, Root, words};
use crate::spread::spread;
use crate::tree::{Standing, Tree};

/// How many things one listing of everything names; beyond that it is partial. Keeps memory bounded.
const LISTED: usize = 1_000_000;

/// Looks at these. The whole is unknown when the root cannot be opened.
pub(crate) fn observe(tree: &Tree, asked: &[Asked]) -> Observation {
    let at = tree.clock.now();
    match tree.stand() {
        Ok(Standing::Here(root)) => these(tree, &root, at, &sorted(asked), Vec::new()).0,
        Ok(Standing::Unmade) => {
            let seen = asked.iter().map(|asked| (asked.address.clone(), Seen::Absent)).collect();
            Observation { at, extent: Extent::Complete, seen }
        }
        Err(refusal) => Observation { at, extent: Extent::Unknown(because(&refusal)), seen: BTreeMap::new() },
    }
}

/// In the order of their addresses.
pub(crate) fn sorted(asked: &[Asked]) -> Vec<&Asked> {
    let mut sorted: Vec<&Asked> = asked.iter().collect();
    sorted.sort_by(|one, other| one.address.cmp(&other.address));
    sorted
}

/// Looks at everything below a place.
pub(crate) fn survey(tree: &Tree, into: &str) -> Answer<Survey> {
    let at = tree.clock.now();
    let place = below::place(into).map_err(|why| Refusal::new(Code::Invalid, format!("look below {into}: {why}")))?;
    let mut listing = Listing { tree, seen: BTreeMap::new(), aside: BTreeMap::new(), unseen: BTreeMap::new() };
    match tree.stand() {
        Ok(Standing::Here(root)) => listing.below(&root, trued_model::decode_path(&place).unwrap_or_default()),
        Ok(Standing::Unmade) => {}
        Err(refusal) => return Ok(Survey::of(Observation { at, extent: Extent::Unknown(because(&refusal)), seen: BTreeMap::new() })),
    }
    let Listing { seen, aside, unseen, .. } = listing;
    let first = unseen.iter().next().map(|(address, refusal)| format!("{address}: {refusal}"));
    let extent = first.map_or(Extent::Complete, Extent::Partial);
    Ok(Survey { aside, unseen, ..Survey::of(Observation { at, extent, seen }) })
}

fn because(refusal: &Refusal) -> String {
    match refusal.help.as_str() {
        "" => refusal.message.clone(),
        help => format!("{}; {help}", refusal.message),
    }
}

/// The addresses at which all that happens from now on is told of by a watch of their folder.
pub(crate) type Vouched = BTreeSet<Address>;

/// Looks at these, which are sorted; what is `known` is asked for too, and was seen. It is sorted as well.
pub(crate) fn these(tree: &Tree, root: &Root, at: Timestamp, asked: &[&Asked], known: Vec<(Address, Seen)>) -> (Observation, Vouched) {
    let looked = spread(asked, |run| look_at_run(tree, root, run));
    let vouched = looked.iter().filter(|(_, answer)| matches!(answer, Answered::Vouched(_)));
    let vouched = vouched.map(|(address, _)| address.clone()).collect();
    // Nothing lies behind a link. But somebody may have put the link there in place of a folder, so that is only said
    // where the link itself is asked for: then whoever asks knows of it and can put it right.
    let asked_for = |link: &Address| {
        let among = asked.binary_search_by(|asked| asked.address.cmp(link));
        among.or_else(|_| known.binary_search_by(|(address, _)| address.cmp(link))).is_ok()
    };
    let answer = |answer| match answer {
        Answered::Vouched(state) => Seen::Present(state),
        Answered::Seen(answer) => answer,
        Answered::BehindLink(link) if asked_for(&Address::new(&link)) => Seen::Absent,
        Answered::BehindLink(link) => Barrier::Link(link).seen(),
    };
    let looked: Vec<(Address, Seen)> = looked.into_iter().map(|(address, answered)| (address, answer(answered))).collect();
    let folders = looked.iter().filter(|(_, seen)| seen.fingerprint().is_some_and(fingerprint::is_folder));
    tree.ask_for(folders.filter_map(|(address, _)| trued_model::decode_path(address.as_str())));
    let mut undecided = looked.iter().filter(|(_, seen)| !seen.decided());
    let extent = match undecided.next() {
        Some((address, Seen::Unknown(why) | Seen::Denied(why))) => Extent::Partial(match undecided.count() {
            0 => format!("{address}: {why}"),
            more => format!("{address}: {why}; and {more} more"),
        }),
        _ => Extent::Complete,
    };
    // Of much that is known nothing is moved for the little that was looked at.
    let mut seen: BTreeMap<Address, Seen> = known.into_iter().collect();
    match seen.is_empty() {
        true => seen = looked.into_iter().collect(),
        false => seen.extend(looked),
    }
    (Observation { at, extent, seen }, vouched)
}

/// An answer for one address, or the link it lies behind.
enum Answered {
    Seen(Seen),
    /// Something of which a watch of its folder tells all.
    Vouched(State),
    BehindLink(String),
}

/// Looks at neighbouring addresses one after the other; those in one folder share its opening.
fn look_at_run(tree: &Tree, root: &Root, run: &[&Asked]) -> Vec<(Address, Answered)> {
    let mut buffer = vec![0; CHUNK];
    let mut open: Option<(Vec<u8>, Result<OwnedFd, Barrier>)> = None;
    let mut seen = Vec::with_capacity(run.len());
    let keyless = tree.seal.ready().err().map(|refusal| refusal.message);
    for asked in run {
        if let Some(why) = keyless.as_ref().filter(|_| asked.sealed) {
            seen.push((asked.address.clone(), Answered::Seen(Seen::Unknown(why.clone()))));
            continue;
        }
        let below = match Below::read(&asked.address) {
            Ok(below) => below,
            Err(refusal) => {
                seen.push((asked.address.clone(), Answered::Seen(Seen::Unknown(refusal.message))));
                continue;
            }
        };
        let (_, folder) = match open.take() {
            Some(same) if same.0 == below.folder() => open.insert(same),
            _ => open.insert((below.folder().to_vec(), root.folder(below.folder()))),
        };
        let answer = match folder {
            Ok(folder) => match look(std::os::fd::AsFd::as_fd(folder), below.name(), &mut buffer) {
                Ok(Some(found)) if found.has_one_place() => Answered::Vouched(state(tree, &found, asked)),
                Ok(Some(found)) => Answered::Seen(Seen::Present(state(tree, &found, asked))),
                Ok(None) => Answered::Seen(Seen::Absent),
                Err(Undecided::Denied(why)) => Answered::Seen(Seen::Denied(why)),
                Err(Undecided::Unknown(why)) => Answered::Seen(Seen::Unknown(why)),
            },
            Err(Barrier::Link(link)) => Answered::BehindLink(link.clone()),
            Err(barrier) => Answered::Seen(barrier.clone().seen()),
        };
        seen.push((asked.address.clone(), answer));
    }
    seen
}

fn state(tree: &Tree, found: &Found, asked: &Asked) -> State {
    let key = asked.sealed.then_some(&*tree.seal);
    let agrees = asked.like.iter().find(|like| found.like(Some(like), key) == **like);
    let fingerprint = agrees.cloned().unwrap_or_else(|| found.like(asked.like.first(), key));
    State { fingerprint, bytes: size(&found.stat), uid: None, evidence: evidence(tree, &found.stat).into() }
}

fn size(stat: &Stat) -> u64 {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Symlink => u64::try_from(stat.st_size).unwrap_or(0),
        _ => 0,
    }
}

/// What the file system tells of the last change. The owner is not who wrote it: grade C.
pub(crate) fn evidence(tree: &Tree, stat: &Stat) -> Evidence {
    let millis = i64::try_from(stat.st_mtime_nsec / 1_000_000).unwrap_or(0);
    Evidence {
        changed_at: Some(Timestamp(stat.st_mtime.saturating_mul(1000).saturating_add(millis))),
        by: Some(tree.owner(stat.st_uid)),
        grade: Some("C".to_owned()),
        ..Evidence::default()
    }
}

/// A walk over everything below a place. Files are listed, not hashed; folders only where they are empty.
struct Listing<'a> {
    tree: &'a Tree,
    seen: BTreeMap<Address, Seen>,
    aside: BTreeMap<Address, String>,
    unseen: BTreeMap<Address, Refusal>,
}

impl Listing<'_> {
    fn below(&mut self, root: &Root, place: Vec<u8>) {
        let mut ahead = vec![place.clone()];
        while let Some(folder) = ahead.pop() {
            if self.seen.len() >= LISTED {
                return self.unseen(&folder, Code::TooLarge, "there are more than a million things");
            }
            match root.folder_to_read(&folder) {
                Ok(open) => self.folder(&open, &folder, folder == place, &mut ahead),
                Err(barrier) => match barrier.seen() {
                    Seen::Unknown(why) => self.unseen(&folder, Code::Unknown, &why),
                    Seen::Denied(why) => self.unseen(&folder, Code::Denied, &why),
                    _ => {}
                },
            }
        }
    }

    fn folder(&mut self, open: &OwnedFd, folder: &[u8], top: bool, ahead: &mut Vec<Vec<u8>>) {
        let mut empty = true;
        let entries = match Dir::read_from(open) {
            Ok(entries) => entries,
            Err(errno) => return self.unseen(folder, code(errno), &words(errno)),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => return self.unseen(folder, code(errno), &words(errno)),
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || (folder.is_empty() && name == below::OWN.as_bytes()) {
                continue;
            }
            empty = false;
            let path = below::join(folder, name);
            match rustix::fs::statat(open, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => ahead.push(path),
                Ok(stat) => self.thing(open, name, &path, &stat),
                Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => self.unseen(&path, code(errno), &words(errno)),
            }
        }
        if empty
            && !top
            && let Ok(stat) = rustix::fs::fstat(open)
        {
            let asked = Asked::new(Address::new(encode_path(folder)), false);
            let found = state(self.tree, &Found { what: What::Folder, stat }, &asked);
            self.seen.insert(asked.address, Seen::Present(found));
        }
    }

    fn thing(&mut self, open: &OwnedFd, name: &[u8], path: &[u8], stat: &Stat) {
        let fingerprint = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => trued_model::Fingerprint::new(""),
            _ => match look(std::os::fd::AsFd::as_fd(open), name, &mut []) {
                Ok(Some(found)) => found.fingerprint(None),
                _ => return,
            },
        };
        let address = Address::new(encode_path(path));
        if fingerprint.as_str().starts_with("1:other:") {
            self.aside.insert(address.clone(), "no file, link or folder: a source cannot hold it".to_owned());
        }
        let state = State { fingerprint, bytes: size(stat), uid: None, evidence: evidence(self.tree, stat).into() };
        self.seen.insert(address, Seen::Present(state));
    }

    fn unseen(&mut self, path: &[u8], code: Code, why: &str) {
        self.unseen.insert(Address::new(encode_path(path)), Refusal::new(code, why));
    }
}

fn code(errno: rustix::io::Errno) -> Code {
    match errno {
        rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => Code::Denied,
        _ => Code::Unknown,
    }
}
