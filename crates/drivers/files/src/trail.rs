//! Who changed what below the root: fanotify's word for every change, and what `/proc` says of the process while it is
//! still there to be asked. Needs CAP_SYS_ADMIN; who is not told keeps nothing. It watches and never holds anybody up.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use fanotify_fid::consts::{
    FAN_ATTRIB, FAN_CLASS_NOTIF, FAN_CLOEXEC, FAN_CREATE, FAN_DELETE, FAN_EVENT_ON_CHILD, FAN_MARK_ADD, FAN_MARK_ONLYDIR, FAN_MODIFY,
    FAN_MOVED_FROM, FAN_MOVED_TO, FAN_NONBLOCK, FAN_ONDIR, FAN_REPORT_DFID_NAME, FAN_REPORT_PIDFD,
};
use fanotify_fid::{Fanotify, FidEvent};
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;

use crate::below::{folder_of, join};
use crate::doer::Doer;
use crate::root::words;
use crate::tree::Tree;

/// Every way to change something that the kernel tells of. Closing a file is none: who only had it open changed nothing.
const CHANGES: u64 = FAN_MODIFY | FAN_ATTRIB | FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_EVENT_ON_CHILD | FAN_ONDIR;

/// How many paths are remembered. When there are more, all are forgotten: then nobody is named, rather than the wrong one.
const REMEMBERED: usize = 16_384;

/// Room for events read at once.
const EVENTS: usize = 64 * 1024;

/// One change by somebody else.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    /// Wall clock when it was heard of, in milliseconds; the change itself was before.
    pub heard: i64,
    /// Who did it; `None` where the process was gone before it could be asked.
    pub doer: Option<Arc<Doer>>,
}

/// The newest change of each path that somebody else changed.
#[derive(Default)]
pub(crate) struct Trail {
    acts: BTreeMap<Vec<u8>, Act>,
    /// Paths below the root of marked folders, by the kernel's handle.
    folders: HashMap<Vec<u8>, Vec<u8>>,
    /// Who hears of changes, while somebody does.
    listener: Weak<Listener>,
}

/// Takes in what the kernel has told so far, so that a change which is seen by now has been heard of too.
pub(crate) fn catch_up(trail: &Mutex<Trail>) {
    let listener = locked(trail).listener.upgrade();
    if let Some(listener) = listener {
        listener.take_in();
    }
}

impl Trail {
    /// The newest change of a path; of a path that is gone, else the newest change of a folder it lay in.
    pub fn of(&self, path: &[u8], gone: bool) -> Option<Act> {
        let mut at = path;
        loop {
            match self.acts.get(at) {
                Some(act) => return Some(act.clone()),
                None if gone && !folder_of(at).is_empty() => at = folder_of(at),
                None => return None,
            }
        }
    }

    fn forget(&mut self) {
        self.acts.clear();
    }

    fn note(&mut self, path: Vec<u8>, act: Option<Act>) {
        match act {
            None => drop(self.acts.remove(&path)),
            Some(act) => {
                if self.acts.len() >= REMEMBERED {
                    self.forget();
                }
                self.acts.insert(path, act);
            }
        }
    }
}

/// Keeps a tree's trail while it lives. What was heard stays for those who ask.
pub(crate) struct Listening {
    group: Arc<Fanotify>,
    trail: Arc<Mutex<Trail>>,
    end: Arc<OwnedFd>,
}

impl Listening {
    /// Begins to listen; `None` where the kernel does not tell us who others are.
    pub fn start(tree: &Arc<Tree>) -> Option<Listening> {
        let flags = FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_DFID_NAME | FAN_REPORT_PIDFD;
        let group = Arc::new(Fanotify::new(flags).ok()?);
        let end = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?);
        let trail = tree.trail.clone();
        let turn = Mutex::new(Vec::with_capacity(EVENTS));
        let listener = Arc::new(Listener { group: group.clone(), trail: trail.clone(), end: end.clone(), tree: tree.clone(), turn });
        locked(&trail).listener = Arc::downgrade(&listener);
        std::thread::Builder::new().name("trail".to_owned()).spawn(move || listener.listen()).ok()?;
        Some(Listening { group, trail, end })
    }

    /// Listens to a folder, given open for reading. One that cannot be listened to has no trail.
    pub fn mark(&self, open: &OwnedFd, path: &[u8]) {
        let Ok(handle) = fanotify_fid::handle::handle_from_fd(open) else { return };
        locked(&self.trail).folders.insert(handle, path.to_vec());
        if let Err(error) = self.group.mark_fd(open, FAN_MARK_ADD | FAN_MARK_ONLYDIR, CHANGES) {
            tracing::debug!(%error, "who changes what in a folder will not be known");
        }
    }

    /// Forgets where folders are that were moved away, with all below.
    pub fn leave(&self, folder: &[u8]) {
        let inside = |path: &[u8]| path.strip_prefix(folder).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'));
        locked(&self.trail).folders.retain(|_, path| !inside(path));
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Ends the thread, which holds the group; a full counter has been heard already.
        let _ = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
        let mut trail = locked(&self.trail);
        trail.forget();
        trail.folders.clear();
    }
}

struct Listener {
    group: Arc<Fanotify>,
    trail: Arc<Mutex<Trail>>,
    end: Arc<OwnedFd>,
    tree: Arc<Tree>,
    /// Room for events. Who has it reads and notes: what one has read and not yet noted, nobody else misses.
    turn: Mutex<Vec<u8>>,
}

impl Listener {
    fn listen(&self) {
        loop {
            let mut ready = [PollFd::from_borrowed_fd(self.group.as_fd(), PollFlags::IN), PollFd::new(&*self.end, PollFlags::IN)];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return tracing::warn!(why = words(errno), "who changes what is no longer heard"),
            }
            if ready[1].revents().contains(PollFlags::IN) {
                return;
            }
            self.take_in();
        }
    }

    /// Reads what waits, as much as there is room for, and notes it.
    fn take_in(&self) {
        let mut buffer = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match self.group.read_events(&mut buffer) {
            Ok(events) => self.hear(events),
            // An empty queue is no fault; what cannot be read is forgotten with all before it.
            Err(error) if error.errno() == Some(Errno::AGAIN.raw_os_error()) => {}
            Err(_) => locked(&self.trail).forget(),
        }
    }

    /// Takes in what was read at once: each process is asked about once.
    fn hear(&self, events: Vec<FidEvent<'_>>) {
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        let mut asked: HashMap<i32, Option<Arc<Doer>>> = HashMap::new();
        for event in &events {
            let (pid, pidfd) = (event.pid(), event.pidfd().as_fd());
            if pid != me {
                asked.entry(pid).or_insert_with(|| Doer::ask(pid, pidfd?).map(Arc::new));
            }
        }
        let heard = self.tree.clock.now().0;
        let mut trail = locked(&self.trail);
        for event in &events {
            if event.is_overflow() {
                trail.forget();
                continue;
            }
            let folder = event.dfid_name_handle().and_then(|handle| trail.folders.get(handle).cloned());
            let (Some(folder), Some(name)) = (folder, event.dfid_name()) else { continue };
            let path = if name == "." { folder } else { join(&folder, name.as_encoded_bytes()) };
            let act = (event.pid() != me).then(|| Act { heard, doer: asked.get(&event.pid()).cloned().flatten() });
            trail.note(path, act);
        }
    }
}

pub(crate) fn locked(trail: &Mutex<Trail>) -> std::sync::MutexGuard<'_, Trail> {
    trail.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the kernel shows of a descriptor of ours, one word by its name.
pub(crate) fn descriptor_says(descriptor: impl AsFd, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_fd().as_raw_fd())).ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
}
