//! Hints that something below the root may have changed, by inotify. They carry no facts: what is there is looked at.
//!
//! Every folder has its own watch, except Trued's own; so staging a batch makes no noise. What we put in place ourselves
//! gives no hint as long as it is as we left it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use trued_doors::{BoxStream, Hint};
use trued_model::{Address, encode_path};

use crate::below::{OWN, join};
use crate::root::{Root, words};
use crate::trail::Listening;
use crate::tree::Tree;
use crate::view::{Mounts, Shared, View, is_of_this_machine, is_same};

/// How long hints are collected, so that a program that writes in many small steps wakes us once.
const COLLECTED: Duration = Duration::from_millis(50);

/// More addresses than this are "anywhere".
const NAMED: usize = 4096;

/// Room for events read at once.
const EVENTS: usize = 64 * 1024;

/// How often a root that is not there, or cannot be watched, is tried again.
const TRIED_EVERY: Duration = Duration::from_secs(1);

/// Watches until nobody listens. A root that goes away is waited for; that it went and that it came are hints.
pub(crate) fn watch(tree: Arc<Tree>) -> BoxStream<'static, Hint> {
    stream::unfold(Watching { tree, on: None, was_missing: false }, |watching| watching.next()).boxed()
}

pub(crate) struct Watcher {
    tree: Arc<Tree>,
    root: Root,
    inotify: OwnedFd,
    /// The path below the root of each watched folder.
    folders: BTreeMap<i32, Vec<u8>>,
    /// The same folders, by their paths.
    watched: BTreeSet<Vec<u8>>,
    /// Hears who it was, where the kernel tells.
    listening: Option<Listening>,
    /// What has happened and was not told yet.
    news: News,
    /// Wakes whoever tells it, when somebody else has taken it in.
    taken_in: Arc<Notify>,
    /// What was seen, and has not changed since as far as was heard.
    pub view: View,
    /// Whether all that happens here is heard.
    mounts: Option<Mounts>,
}

#[derive(Default)]
struct News {
    paths: BTreeSet<Vec<u8>>,
    anywhere: bool,
    /// The root itself was moved or removed.
    over: bool,
}

impl News {
    fn add(&mut self, path: Vec<u8>) {
        if path.is_empty() || self.paths.len() >= NAMED {
            self.anywhere = true;
        } else {
            self.paths.insert(path);
        }
    }
}

impl Watcher {
    /// Watches all folders there are; `None` where there is no root, or no way to watch.
    pub fn start(tree: Arc<Tree>) -> Option<Watcher> {
        let root = Root::open(&tree.root).ok()?;
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
        let listening = Listening::start(&tree);
        let mounts = Mounts::look().filter(|_| is_of_this_machine(root.fd()));
        let (folders, news, view, taken_in) = (BTreeMap::new(), News::default(), View::default(), Arc::default());
        let mut watcher = Watcher { tree, root, inotify, folders, listening, news, taken_in, view, mounts, watched: BTreeSet::new() };
        watcher.add(Vec::new(), false);
        Some(watcher)
    }

    /// Watches a folder and all below it. Where it is new, what is in it already is news too: it came before the watch.
    fn add(&mut self, folder: Vec<u8>, new: bool) {
        let mask = WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MODIFY
            | WatchFlags::MOVE_SELF
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::EXCL_UNLINK
            | WatchFlags::ONLYDIR;
        let mut ahead = vec![folder];
        while let Some(folder) = ahead.pop() {
            let Ok(open) = self.root.folder_to_read(&folder) else { continue };
            // By descriptor: a path could be longer than the kernel takes, or lead through a link by now.
            match inotify::add_watch(&self.inotify, format!("/proc/self/fd/{}", open.as_raw_fd()), mask) {
                Ok(watch) => {
                    if let Some(before) = self.folders.insert(watch, folder.clone()) {
                        self.no_longer(&before);
                    }
                    self.watched.insert(folder.clone());
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => continue,
                Err(errno) => {
                    let root = self.tree.root.display().to_string();
                    tracing::warn!(root, why = words(errno), "some changes are only noticed at the next interval");
                    return;
                }
            }
            if let Some(listening) = &self.listening {
                listening.mark(&open, &folder);
            }
            let Ok(entries) = Dir::read_from(&open) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_bytes();
                let own = matches!(name, b"." | b"..") || (folder.is_empty() && name == OWN.as_bytes());
                let is_folder = match entry.file_type() {
                    FileType::Unknown => rustix::fs::statat(&open, name, AtFlags::SYMLINK_NOFOLLOW)
                        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
                    other => other == FileType::Directory,
                };
                if new && !own {
                    self.touched(join(&folder, name));
                }
                if is_folder && !own {
                    ahead.push(join(&folder, name));
                }
            }
        }
    }

    /// Stops watching a folder that was moved away, and all below it.
    fn leave(&mut self, folder: &[u8]) {
        let below = |path: &[u8]| path.strip_prefix(folder).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'));
        if let Some(listening) = &self.listening {
            listening.leave(folder);
        }
        let gone: Vec<i32> = self.folders.iter().filter(|(_, path)| below(path)).map(|(watch, _)| *watch).collect();
        for watch in gone {
            if let Some(path) = self.folders.remove(&watch) {
                self.watched.remove(&path);
                self.touched(path);
            }
            // Already gone where the folder itself is.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// Notes that a watch of a folder has ended; there may be another, of the folder that came in its place.
    fn no_longer(&mut self, folder: &[u8]) {
        if !self.folders.values().any(|path| path == folder) {
            self.watched.remove(folder);
        }
    }

    /// Notes that something happened at a path, or below it.
    fn touched(&mut self, path: Vec<u8>) {
        self.view.forget(&path);
        self.news.add(path);
    }

    /// Whether what is in a folder is watched.
    pub fn watches(&self, folder: &[u8]) -> bool {
        self.watched.contains(folder)
    }

    /// Whether what was seen below this root is so still where nothing else was heard.
    pub fn vouches_for(&self, root: &Root) -> bool {
        self.mounts.as_ref().is_some_and(|mounts| !mounts.moved()) && !self.news.over && is_same(root, &self.root)
    }

    /// Has told what was taken in.
    pub fn wake_who_tells(&self) {
        if self.news.anywhere || self.news.over || !self.news.paths.is_empty() {
            self.taken_in.notify_one();
        }
    }

    /// Takes in all events that are there.
    pub fn take_in(&mut self) {
        let mut buffer = vec![MaybeUninit::uninit(); EVENTS];
        let mut events = Vec::new();
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => events.push((event.wd(), event.events(), event.file_name().map(|name| name.to_bytes().to_vec()))),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.news.over = true;
                    self.view.forget(b"");
                    break;
                }
            }
        }
        for (watch, what, name) in events {
            self.happened(watch, what, name);
        }
    }

    pub fn happened(&mut self, watch: i32, what: ReadFlags, name: Option<Vec<u8>>) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.news.anywhere = true;
            self.view.forget(b"");
            // Folders may have come meanwhile; those that are watched already are not watched twice.
            return self.add(Vec::new(), false);
        }
        let Some(folder) = self.folders.get(&watch).cloned() else { return };
        if what.intersects(ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
            self.view.forget(&folder);
            if what.contains(ReadFlags::IGNORED) {
                self.folders.remove(&watch);
                self.no_longer(&folder);
            }
            if folder.is_empty() {
                self.news.anywhere = true;
                self.news.over = true;
            }
            return;
        }
        let path = match &name {
            Some(name) if folder.is_empty() && name == OWN.as_bytes() => return,
            Some(name) => join(&folder, name),
            None => folder,
        };
        if what.contains(ReadFlags::ISDIR) {
            if what.contains(ReadFlags::MOVED_FROM) {
                self.leave(&path);
            }
            if what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                self.add(path.clone(), true);
            }
        }
        self.touched(path);
    }

    /// What is to be told; `None` when it was only ourselves.
    fn tell(&mut self) -> Option<Hint> {
        let News { mut paths, anywhere, .. } = std::mem::take(&mut self.news);
        if anywhere {
            return Some(Hint::default());
        }
        paths.retain(|path| !self.tree.is_as_we_left_it(&self.root, path));
        let addresses: BTreeSet<Address> = paths.iter().map(|path| Address::new(encode_path(path))).collect();
        (!addresses.is_empty()).then_some(Hint { addresses })
    }
}

/// A watch between two hints.
struct Watching {
    tree: Arc<Tree>,
    /// The watcher, and what tells when there are events for it: a copy of its descriptor.
    on: Option<(AsyncFd<OwnedFd>, Arc<Notify>, Shared)>,
    was_missing: bool,
}

impl Watching {
    async fn next(mut self) -> Option<(Hint, Watching)> {
        loop {
            let Some((ready, taken_in, watcher)) = self.on.take() else {
                self.on = self.start().await;
                if self.on.is_none() {
                    self.was_missing = true;
                    tokio::time::sleep(TRIED_EVERY).await;
                } else if std::mem::take(&mut self.was_missing) {
                    return Some((Hint::default(), self));
                }
                continue;
            };
            tokio::select! {
                readable = ready.readable() => readable.ok()?.clear_ready(),
                () = taken_in.notified() => {}
            }
            tokio::time::sleep(COLLECTED).await;
            let taken = tokio::task::spawn_blocking(move || {
                let mut heard = locked(&watcher);
                heard.take_in();
                let over = heard.news.over;
                let hint = heard.tell();
                drop(heard);
                (watcher, hint, over)
            });
            let (watcher, hint, over) = taken.await.ok()?;
            self.was_missing |= over;
            self.on = (!over).then_some((ready, taken_in, watcher));
            if let Some(hint) = hint {
                return Some((hint, self));
            }
        }
    }

    async fn start(&self) -> Option<(AsyncFd<OwnedFd>, Arc<Notify>, Shared)> {
        let tree = self.tree.clone();
        let watcher = tokio::task::spawn_blocking(move || Watcher::start(tree)).await.ok()??;
        let ready = registered(watcher.inotify.try_clone().ok()?)?;
        let taken_in = watcher.taken_in.clone();
        let watcher = Arc::new(Mutex::new(watcher));
        self.tree.watched_by(&watcher);
        Some((ready, taken_in, watcher))
    }
}

fn locked(watcher: &Mutex<Watcher>) -> MutexGuard<'_, Watcher> {
    watcher.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(deprecated, reason = "its successor is unsafe for types that may close early; an owned descriptor does not")]
fn registered(inotify: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::new(inotify).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ground::Ground;

    #[test]
    fn events_that_were_lost_are_anywhere_and_no_folder_is_forgotten() {
        let ground = Ground::new();
        let mut watcher = Watcher::start(Arc::new(ground.tree())).unwrap();
        std::fs::create_dir_all(ground.path("a/b")).unwrap();
        // The queue was full: of the new folders nothing was heard but this.
        watcher.happened(-1, ReadFlags::QUEUE_OVERFLOW, None);
        assert_eq!(watcher.tell(), Some(Hint::default()));
        watcher.take_in();
        watcher.tell();
        std::fs::write(ground.path("a/b/c"), "").unwrap();
        watcher.take_in();
        assert_eq!(watcher.tell(), Some(Hint { addresses: BTreeSet::from([Address::new("a/b/c")]) }));
    }
}
