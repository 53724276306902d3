//! What was seen last and is so still, as far as a live watch can tell: of what it has not heard nothing is looked at again.
//!
//! Only what a watch tells every change of is taken from here: files with one name and links, in a watched folder, on a file
//! system that nobody changes past this kernel, as long as nothing was mounted or unmounted. What it does not tell (a write
//! through a mapping that stays open, or through a second name that was made later) a whole look finds.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use trued_doors::{Answer, Asked, Glance};
use trued_model::{Address, Extent, Fingerprint, Seen, State, beside, decode_path, encode_path};

use crate::below::folder_of;
use crate::observe::{Vouched, observe, sorted, these};
use crate::root::Root;
use crate::tree::{Standing, Tree};
use crate::watch::Watcher;

/// File systems of this machine alone, by their magic numbers (statfs(2)): ext, XFS, Btrfs, tmpfs, F2FS, Bcachefs, ZFS, and
/// overlays, whose lower folders are not to be changed while they are in use.
const OF_THIS_MACHINE: [u32; 8] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0xF2F5_2010, 0xCA45_1A4E, 0x2FC1_2FC1, 0x794C_7630];

/// What was seen, by address.
#[derive(Default)]
pub(crate) struct View {
    seen: BTreeMap<Address, Glimpse>,
}

struct Glimpse {
    /// What it was compared with: another question may have another answer.
    like: Vec<Fingerprint>,
    state: State,
}

impl View {
    /// Forgets a path and all below it; everything for the root.
    pub fn forget(&mut self, path: &[u8]) {
        if path.is_empty() {
            return self.seen.clear();
        }
        let text = encode_path(path);
        self.seen.remove(&Address::new(&text));
        let inside = format!("{text}/");
        let below: Vec<Address> = self
            .seen
            .range(Address::new(&inside)..)
            .map(|(address, _)| address)
            .take_while(|address| address.as_str().starts_with(&inside))
            .cloned()
            .collect();
        below.iter().for_each(|address| drop(self.seen.remove(address)));
    }
}

/// Whether a change is told of by this kernel, whoever makes it.
pub(crate) fn is_of_this_machine(root: BorrowedFd<'_>) -> bool {
    // The magic has 32 bits, whatever it is kept in.
    rustix::fs::fstatfs(root).is_ok_and(|stat| OF_THIS_MACHINE.contains(&(stat.f_type as u32)))
}

/// Tells whether something was mounted or unmounted since it was asked last.
pub(crate) struct Mounts(std::os::fd::OwnedFd);

impl Mounts {
    /// Asks for the first time; `None` where the system does not tell.
    pub fn look() -> Option<Mounts> {
        rustix::fs::open("/proc/self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok().map(Mounts)
    }

    pub fn moved(&self) -> bool {
        let mut asked = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::PRI)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut asked, Some(&now)).is_err() || asked[0].revents().intersects(PollFlags::PRI | PollFlags::ERR)
    }
}

/// Looks at these addresses: at all of them, or only where a watch cannot vouch for what was seen last. Changes nothing.
pub(crate) fn glance(tree: &Tree, asked: &[Asked], whole: bool) -> Answer<Glance> {
    let all = || Ok(Glance { observation: observe(tree, asked), looked: asked.len(), whole: true });
    let Some(watcher) = tree.watcher() else { return all() };
    // Held to the end: what happens meanwhile waits to be heard, and is heard of after what is noted here.
    let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
    watcher.take_in();
    watcher.wake_who_tells();
    let at = tree.clock.now();
    let root = match tree.stand() {
        Ok(Standing::Here(root)) if watcher.vouches_for(&root) => root,
        _ => {
            watcher.view.forget(b"");
            return all();
        }
    };
    if whole {
        watcher.view.forget(b"");
    }
    let (mut known, mut open) = (Vec::new(), Vec::new());
    for (address, asked, glimpse) in beside(sorted(asked).into_iter().map(|asked| (&asked.address, asked)), &watcher.view.seen) {
        let Some(asked) = asked else { continue };
        match glimpse.filter(|glimpse| !asked.sealed && glimpse.like == asked.like) {
            Some(glimpse) => known.push((address.clone(), Seen::Present(glimpse.state.clone()))),
            None => open.push(asked),
        }
    }
    let whole = known.is_empty();
    let (observation, vouched) = these(tree, &root, at, &open, known);
    let looked = open.len();
    if let Extent::Complete | Extent::Partial(_) = observation.extent {
        note(&mut watcher, &open, &observation.seen, &vouched);
    }
    Ok(Glance { observation, looked, whole })
}

/// Notes what may be taken from here the next time.
fn note(watcher: &mut Watcher, asked: &[&Asked], seen: &BTreeMap<Address, Seen>, vouched: &Vouched) {
    for asked in asked {
        let watched = || decode_path(asked.address.as_str()).is_some_and(|path| watcher.watches(folder_of(&path)));
        match seen.get(&asked.address) {
            Some(Seen::Present(state)) if !asked.sealed && vouched.contains(&asked.address) && watched() => {
                let glimpse = Glimpse { like: asked.like.clone(), state: state.clone() };
                watcher.view.seen.insert(asked.address.clone(), glimpse);
            }
            _ => drop(watcher.view.seen.remove(&asked.address)),
        }
    }
}

/// A watcher that a tree knows of as long as somebody watches.
pub(crate) type Shared = Arc<Mutex<Watcher>>;

/// Whether two are the same folder.
pub(crate) fn is_same(one: &Root, other: &Root) -> bool {
    let identity = |root: &Root| rustix::fs::fstat(root.fd()).map(|stat| (stat.st_dev, stat.st_ino));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}
