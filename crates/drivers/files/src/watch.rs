//! Hints that something below the root may have changed, by inotify. They carry no facts: what is there is looked at.
//!
//! Every folder has its own watch, except Trued's own; so staging a batch makes no noise. What we put in place ourselves
//! gives no hint as long as it is as we left it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use trued_doors::{BoxStream, Hint};
use trued_model::{Address, encode_path};

use crate::below::{OWN, join};
use crate::root::{Root, words};
use crate::tree::Tree;

/// How long hints are collected, so that a program that writes in many small steps wakes us once.
const COLLECTED: Duration = Duration::from_millis(50);

/// More addresses than this are "anywhere".
const NAMED: usize = 4096;

/// Room for events read at once.
const EVENTS: usize = 64 * 1024;

/// Watches until the root goes away or nobody listens. Ends at once where it cannot watch.
pub(crate) fn watch(tree: Arc<Tree>) -> BoxStream<'static, Hint> {
    let begin = async move {
        let started = tokio::task::spawn_blocking(move || Watcher::start(tree)).await;
        stream::unfold(started.ok().flatten(), |watcher| async move { watcher?.next().await })
    };
    stream::once(begin).flatten().boxed()
}

struct Watcher {
    tree: Arc<Tree>,
    root: Root,
    inotify: OwnedFd,
    /// The path below the root of each watched folder.
    folders: BTreeMap<i32, Vec<u8>>,
    /// What has happened and was not told yet.
    news: News,
}

#[derive(Default)]
struct News {
    paths: BTreeSet<Vec<u8>>,
    anywhere: bool,
    /// The root itself was moved or removed.
    over: bool,
}

impl Watcher {
    fn start(tree: Arc<Tree>) -> Option<Watching> {
        let root = Root::open(&tree.root).ok()?;
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
        let mut watcher = Watcher { tree, root, inotify, folders: BTreeMap::new(), news: News::default() };
        if let Err(errno) = watcher.add(Vec::new()) {
            let shown = watcher.tree.root.display().to_string();
            tracing::warn!(root = shown, why = words(errno), "changes are not noticed as they happen, only at each interval");
            return None;
        }
        Some(Watching { ready: None, watcher: Some(watcher) })
    }

    /// Watches a folder and all below it. What cannot be reached is left out; having no watches left is an error.
    fn add(&mut self, folder: Vec<u8>) -> rustix::io::Result<()> {
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
                Ok(watch) => self.folders.insert(watch, folder.clone()),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) if !folder.is_empty() => continue,
                Err(errno) => return Err(errno),
            };
            let Ok(entries) = Dir::read_from(&open) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_bytes();
                let own = matches!(name, b"." | b"..") || (folder.is_empty() && name == OWN.as_bytes());
                let is_folder = match entry.file_type() {
                    FileType::Unknown => rustix::fs::statat(&open, name, AtFlags::SYMLINK_NOFOLLOW)
                        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
                    other => other == FileType::Directory,
                };
                if is_folder && !own {
                    ahead.push(join(&folder, name));
                }
            }
        }
        Ok(())
    }

    /// Stops watching a folder that was moved away, and all below it.
    fn leave(&mut self, folder: &[u8]) {
        let below = |path: &[u8]| path.strip_prefix(folder).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'));
        let gone: Vec<i32> = self.folders.iter().filter(|(_, path)| below(path)).map(|(watch, _)| *watch).collect();
        for watch in gone {
            self.folders.remove(&watch);
            // Already gone where the folder itself is.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// Takes in all events that are there.
    fn take_in(&mut self) {
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
                    break;
                }
            }
        }
        for (watch, what, name) in events {
            self.happened(watch, what, name);
        }
    }

    fn happened(&mut self, watch: i32, what: ReadFlags, name: Option<Vec<u8>>) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.news.anywhere = true;
            // Folders may have come meanwhile; those that are watched already are not watched twice.
            if let Err(errno) = self.add(Vec::new()) {
                tracing::warn!(why = words(errno), "some folders are not watched");
            }
            return;
        }
        let Some(folder) = self.folders.get(&watch).cloned() else { return };
        if what.intersects(ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
            if what.contains(ReadFlags::IGNORED) {
                self.folders.remove(&watch);
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
            if what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO)
                && let Err(errno) = self.add(path.clone())
            {
                tracing::warn!(why = words(errno), "some folders are not watched");
            }
        }
        if path.is_empty() || self.news.paths.len() >= NAMED {
            self.news.anywhere = true;
        } else {
            self.news.paths.insert(path);
        }
    }

    /// What is to be told; `None` when it was only ourselves.
    fn tell(&mut self) -> Option<Hint> {
        let News { mut paths, anywhere, .. } = std::mem::take(&mut self.news);
        if anywhere {
            return Some(Hint::default());
        }
        paths.retain(|path| !self.tree.is_as_we_left_it(&self.root, path));
        let addresses: BTreeSet<Address> = paths.iter().map(|path| Address(encode_path(path))).collect();
        (!addresses.is_empty()).then_some(Hint { addresses })
    }
}

/// A watcher between two hints.
struct Watching {
    /// Tells when there are events; a copy of the watcher's descriptor.
    ready: Option<AsyncFd<OwnedFd>>,
    watcher: Option<Watcher>,
}

impl Watching {
    async fn next(mut self) -> Option<(Hint, Option<Watching>)> {
        loop {
            let ready = match self.ready.take() {
                Some(ready) => ready,
                None => registered(self.watcher.as_ref()?.inotify.try_clone().ok()?)?,
            };
            ready.readable().await.ok()?.clear_ready();
            tokio::time::sleep(COLLECTED).await;
            let mut watcher = self.watcher.take()?;
            let taken = tokio::task::spawn_blocking(move || {
                watcher.take_in();
                let over = watcher.news.over;
                let hint = watcher.tell();
                (watcher, hint, over)
            });
            let (watcher, hint, over) = taken.await.ok()?;
            let on = (!over).then_some(Watching { ready: Some(ready), watcher: Some(watcher) });
            match (hint, on) {
                (Some(hint), on) => return Some((hint, on)),
                (None, Some(on)) => self = on,
                (None, None) => return None,
            }
        }
    }
}

#[expect(deprecated, reason = "its successor is unsafe for types that may close early; an owned descriptor does not")]
fn registered(inotify: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::new(inotify).ok()
}
