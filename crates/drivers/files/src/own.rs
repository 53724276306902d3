//! Trued's own folder at the root: the lock, the mark (which ledger, which epoch), the list of folders we made, and
//! the stage where everything is written before it is put in place.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use trued_model::{Code, Refusal, StackId, decode_path, encode_path};

use crate::below::OWN;
use crate::root::{Barrier, Root, open_beneath, refusal};

/// Mode of our own folder and everything that stays in it: nobody else's.
const OURS: u32 = 0o700;
const OURS_FILE: u32 = 0o600;

/// How often a lock that another process holds is tried.
const LOCK_EVERY: Duration = Duration::from_millis(10);

/// The largest mark and list that are read; more is not ours.
const LARGEST: u64 = 64 << 20;

pub(crate) struct OwnFolder {
    fd: OwnedFd,
}

/// Who manages this root, and how far each stack's leases have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    v: u32,
    ledger: String,
    epochs: BTreeMap<String, u64>,
}

/// What an order was let in with. Looked at again before each change: whoever takes the stack over marks its epoch before
/// it waits for the lock, so that one who held the lock while it stood still writes nothing more.
pub(crate) struct Admission<'a> {
    own: &'a OwnFolder,
    ledger: &'a str,
    stack: &'a StackId,
    epoch: u64,
    /// The mark's file when it was last read: its inode and when it was changed.
    seen: Cell<Option<(u64, i64, u64)>>,
}

/// Held while a batch runs; given back when dropped, or when the process dies.
pub(crate) struct Lock(#[expect(dead_code, reason = "holds the lock by being open")] OwnedFd);

/// The stage, empty when opened.
pub(crate) struct Stage(OwnedFd);

impl OwnFolder {
    /// Opens the folder where there is one.
    pub fn find(root: &Root) -> Result<Option<OwnFolder>, Refusal> {
        match open_beneath(root.fd(), OWN.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => OwnFolder { fd }.checked().map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(refusal(errno, "open .trued at the root")),
        }
    }

    /// Opens the folder, made where it is missing.
    pub fn enter(root: &Root) -> Result<OwnFolder, Refusal> {
        match rustix::fs::mkdirat(root.fd(), OWN, Mode::from_raw_mode(OURS)) {
            Ok(()) => {
                let settled = root.folder_to_read(b"").map_err(Barrier::refusal)?;
                rustix::fs::fsync(settled).map_err(|errno| refusal(errno, "make .trued at the root durable"))?;
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(refusal(errno, "make .trued at the root")),
        }
        let gone = || Refusal::new(Code::Changed, "open .trued at the root: it was just removed");
        OwnFolder::find(root)?.ok_or_else(gone)
    }

    /// Refuses a folder into which somebody else could have put things.
    fn checked(self) -> Result<OwnFolder, Refusal> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|errno| refusal(errno, "look at .trued at the root"))?;
        let me = rustix::process::geteuid().as_raw();
        if stat.st_uid != me {
            let message = format!("use .trued at the root: it belongs to uid {} and Trued runs as uid {me}", stat.st_uid);
            return Err(Refusal::new(Code::Denied, message).help("run Trued as that user, or give it the folder with chown"));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(Refusal::new(Code::Denied, "use .trued at the root: others may write in it").help("chmod it to 0700, or remove it"));
        }
        Ok(self)
    }

    /// Waits for the lock of this root until `until`, or until nobody `listens` any more.
    pub fn lock(&self, until: Instant, listens: impl Fn() -> bool) -> Result<Lock, Refusal> {
        self.lock_file("lock", until, listens)
    }

    fn lock_file(&self, name: &str, until: Instant, listens: impl Fn() -> bool) -> Result<Lock, Refusal> {
        let doing = &format!("take the lock .trued/{name} at the root");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(OURS_FILE)).map_err(|errno| refusal(errno, doing))?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(errno) => return Err(refusal(errno, doing)),
            }
            if Instant::now() >= until {
                let refusal = Refusal::new(Code::TimedOut, format!("{doing}: another process is writing here"));
                return Err(refusal.help("if it stands still, let it go on or end it; `fuser` on that file names it"));
            }
            if !listens() {
                return Err(Refusal::new(Code::Cancelled, format!("{doing}: stopped")));
            }
            std::thread::sleep(LOCK_EVERY);
        }
    }

    /// The highest epoch seen for a stack of this ledger; 0 for none.
    pub fn epoch(&self, ledger: &str, stack: &StackId) -> Result<u64, Refusal> {
        let mark = self.mark()?;
        mark.belongs_to(ledger)?;
        Ok(mark.epochs.get(&stack.key()).copied().unwrap_or(0))
    }

    /// Lets an order in, or refuses it: the root is another ledger's, or a newer epoch was here. With `write` a newer
    /// epoch is marked, durably, before anything else is written.
    pub fn admit(&self, ledger: &str, stack: &StackId, epoch: u64, write: bool) -> Result<(), Refusal> {
        let mut mark = self.mark()?;
        mark.belongs_to(ledger)?;
        let seen = mark.epochs.get(&stack.key()).copied().unwrap_or(0);
        if epoch < seen {
            let message = format!("write for {}: its epoch is {epoch}, and {seen} was here already", stack.key());
            return Err(Refusal::new(Code::Fenced, message).help("another process owns this stack now"));
        }
        if write && (epoch > seen || mark.v == 0) {
            mark = Mark { v: 1, ledger: ledger.to_owned(), ..mark };
            mark.epochs.insert(stack.key(), epoch);
            let text = serde_json::to_vec(&mark).map_err(|error| Refusal::new(Code::Broken, format!("write .trued/mark: {error}")))?;
            self.replace("mark", &text).map_err(|errno| refusal(errno, "write .trued/mark at the root"))?;
        }
        Ok(())
    }

    /// Marks an order's epoch before it has the lock, or refuses it. Marks are written one after the other, under a lock
    /// of their own that nobody holds for longer than that takes.
    pub fn announce<'a>(
        &'a self,
        (ledger, stack, epoch): (&'a str, &'a StackId, u64),
        until: Instant,
        listens: impl Fn() -> bool,
    ) -> Result<Admission<'a>, Refusal> {
        let _marking = self.lock_file("mark.lock", until, listens)?;
        self.admit(ledger, stack, epoch, true)?;
        Ok(Admission { own: self, ledger, stack, epoch, seen: Cell::new(None) })
    }

    fn mark(&self) -> Result<Mark, Refusal> {
        let Some(text) = self.read("mark").map_err(|errno| refusal(errno, "read .trued/mark at the root"))? else {
            return Ok(Mark::default());
        };
        let unreadable = |why: String| {
            Refusal::new(Code::Unknown, format!("read .trued/mark at the root: {why}"))
                .help("make sure that nothing else manages this root, then remove the file")
        };
        let mark: Mark = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        match mark.v {
            1 => Ok(mark),
            v => Err(unreadable(format!("its version is {v}, and this build knows 1"))),
        }
    }

    /// The folders we made, so that they go again when they become empty.
    pub fn made(&self) -> rustix::io::Result<Made<'_>> {
        let text = self.read("made")?.unwrap_or_default();
        let mut folders = BTreeSet::new();
        let mut lines = 0;
        for line in text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
            lines += 1;
            match (line.get(..1), line.get(1..).and_then(decode_path)) {
                (Some("+"), Some(path)) => folders.insert(path),
                (Some("-"), Some(path)) => folders.remove(&path),
                _ => false,
            };
        }
        // Mostly lines that cancel each other: write it anew.
        if lines > 2 * folders.len() + 1000 {
            let text: String = folders.iter().map(|path| format!("+{}\n", encode_path(path))).collect();
            self.replace("made", text.as_bytes())?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, "made", flags, Mode::from_raw_mode(OURS_FILE))?;
        Ok(Made { own: self, file, folders, dirty: false })
    }

    /// Opens the stage. What a crash left there is removed; `Ok((_, true))` when there was something.
    pub fn stage(&self) -> Result<(Stage, bool), Refusal> {
        let doing = "prepare .trued/stage at the root";
        match rustix::fs::mkdirat(&self.fd, "stage", Mode::from_raw_mode(OURS)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(refusal(errno, doing)),
        }
        let stage = open_beneath(self.fd.as_fd(), b"stage", OFlags::RDONLY | OFlags::DIRECTORY).map_err(|errno| refusal(errno, doing))?;
        let stage = Stage(stage);
        let left = stage.clear(self).map_err(|errno| refusal(errno, doing))?;
        Ok((stage, left))
    }

    /// Puts something out of the stage where it is kept for people, because its bytes are nobody's to remove.
    pub fn set_aside(&self, stage: &Stage, name: &str) -> rustix::io::Result<String> {
        match rustix::fs::mkdirat(&self.fd, "kept", Mode::from_raw_mode(OURS)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let kept = open_beneath(self.fd.as_fd(), b"kept", OFlags::PATH | OFlags::DIRECTORY)?;
        for number in 1_u32.. {
            let place = number.to_string();
            match rustix::fs::renameat_with(stage.fd(), name, &kept, &place, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                Ok(()) => return Ok(format!(".trued/kept/{place}")),
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EXIST)
    }

    /// Makes everything on the root's file system durable that was written so far.
    pub fn sync_all(&self) -> rustix::io::Result<()> {
        rustix::fs::syncfs(&self.fd)
    }

    fn read(&self, name: &str) -> rustix::io::Result<Option<Vec<u8>>> {
        let file = match open_beneath(self.fd.as_fd(), name.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let mut text = Vec::new();
        let read = file.take(LARGEST + 1).read_to_end(&mut text);
        match read {
            Ok(count) if count as u64 > LARGEST => Err(Errno::FBIG),
            Ok(_) => Ok(Some(text)),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }

    /// Replaces a file of ours: old or new after a crash, never torn.
    fn replace(&self, name: &str, text: &[u8]) -> rustix::io::Result<()> {
        let new = format!("{name}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, &new, flags, Mode::from_raw_mode(OURS_FILE))?;
        write_all(file.as_fd(), text)?;
        rustix::fs::fsync(&file)?;
        rustix::fs::renameat(&self.fd, &new, &self.fd, name)?;
        rustix::fs::fsync(&self.fd)
    }
}

impl Admission<'_> {
    /// Refuses an order that was let in once the stack has a newer epoch.
    pub fn check(&self) -> Result<(), Refusal> {
        let now = rustix::fs::statat(&self.own.fd, "mark", AtFlags::SYMLINK_NOFOLLOW).ok();
        let now = now.map(|stat| (stat.st_ino, stat.st_ctime, stat.st_ctime_nsec));
        if now.is_none() || self.seen.get() != now {
            self.own.admit(self.ledger, self.stack, self.epoch, false)?;
            self.seen.set(now);
        }
        Ok(())
    }
}

impl Mark {
    fn belongs_to(&self, ledger: &str) -> Result<(), Refusal> {
        if self.v == 0 || self.ledger == ledger {
            return Ok(());
        }
        let message = format!("write here: another ledger manages this root ({}), and this one is {ledger}", self.ledger);
        Err(Refusal::new(Code::Denied, message)
            .help("let that one forget what it made here; to take over, stop it and remove .trued/mark at the root"))
    }
}

impl Stage {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Removes everything; whether there was anything. A folder with something in it is set aside. What cannot be removed
    /// keeps nothing else here.
    pub fn clear(&self, own: &OwnFolder) -> rustix::io::Result<bool> {
        let (mut any, mut all) = (false, Ok(()));
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") {
                continue;
            }
            any = true;
            all = all.and(self.remove(own, name));
        }
        all.map(|()| any)
    }

    /// Removes one thing, if it is there.
    pub fn remove(&self, own: &OwnFolder, name: &str) -> rustix::io::Result<()> {
        match rustix::fs::unlinkat(self.fd(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR) => {}
            Err(errno) => return Err(errno),
        }
        match rustix::fs::unlinkat(self.fd(), name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) => {
                let place = own.set_aside(self, name)?;
                tracing::warn!(place, "a folder with something in it was found in the stage and is kept");
                Ok(())
            }
            other => other,
        }
    }
}

/// The list of folders we made: one line each, `+path` when made and `-path` when removed.
pub(crate) struct Made<'a> {
    own: &'a OwnFolder,
    file: OwnedFd,
    folders: BTreeSet<Vec<u8>>,
    dirty: bool,
}

impl Made<'_> {
    pub fn has(&self, folder: &[u8]) -> bool {
        self.folders.contains(folder)
    }

    /// All of them, deepest first.
    pub fn deepest_first(&self) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = self.folders.iter().cloned().collect();
        all.sort_by_key(|path| std::cmp::Reverse(path.iter().filter(|byte| **byte == b'/').count()));
        all
    }

    /// Notes a folder that is about to be made, or is ours from now on.
    pub fn add(&mut self, folder: &[u8]) -> rustix::io::Result<()> {
        self.folders.insert(folder.to_vec());
        self.line('+', folder)
    }

    /// Notes a folder that is no longer there, or no longer ours.
    pub fn remove(&mut self, folder: &[u8]) -> rustix::io::Result<()> {
        self.folders.remove(folder);
        self.line('-', folder)
    }

    fn line(&mut self, sign: char, folder: &[u8]) -> rustix::io::Result<()> {
        self.dirty = true;
        write_all(self.file.as_fd(), format!("{sign}{}\n", encode_path(folder)).as_bytes())
    }

    /// Makes the list durable where it changed.
    pub fn settle(&mut self) -> rustix::io::Result<()> {
        if std::mem::take(&mut self.dirty) {
            rustix::fs::fsync(&self.file)?;
            rustix::fs::fsync(&self.own.fd)?;
        }
        Ok(())
    }
}

/// Writes all bytes.
pub(crate) fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
