//! The root folder, and the only way from it to anything below: beneath it, and through no symbolic link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use trued_model::{Code, Refusal, Seen, encode_path};

/// The mode of folders we make.
pub(crate) const FOLDER_MODE: u32 = 0o755;

/// An open root.
pub(crate) struct Root(OwnedFd);

/// Why a folder below the root could not be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// It, or a folder it lies in, is not there.
    Missing,
    /// This path is a file, so nothing lies in it.
    File(String),
    /// This path is a symbolic link, which is not followed.
    Link(String),
    Denied(String),
    Failed(String, Errno),
}

impl Root {
    /// Opens the root. It may itself be reached through links: that is the operator's choice.
    pub fn open(path: &Path) -> rustix::io::Result<Root> {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(Root)
    }

    /// Makes the root and whatever is missing above it, and opens it.
    pub fn make(path: &Path) -> io::Result<Root> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
        if let Some(parent) = path.parent() {
            std::fs::File::open(parent)?.sync_all()?;
        }
        Ok(Root::open(path)?)
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens the folder at a path below the root, the root itself for the empty path, as a place to start from.
    pub fn folder(&self, path: &[u8]) -> Result<OwnedFd, Barrier> {
        self.reach(path, OFlags::PATH).map_err(|errno| self.barrier(path, errno))
    }

    /// Opens a folder to list it or to make it durable.
    pub fn folder_to_read(&self, path: &[u8]) -> Result<OwnedFd, Barrier> {
        self.reach(path, OFlags::RDONLY).map_err(|errno| self.barrier(path, errno))
    }

    fn reach(&self, path: &[u8], how: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        open_beneath(self.fd(), path, how | OFlags::DIRECTORY)
    }

    /// Finds the first folder on the way that could not be passed, so that people can be told.
    fn barrier(&self, path: &[u8], errno: Errno) -> Barrier {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        let (end, errno) = match errno {
            Errno::LOOP | Errno::NOTDIR | Errno::ACCESS | Errno::XDEV => {
                let stops = |end| self.reach(&path[..end], OFlags::PATH).err().map(|errno| (end, errno));
                ends.into_iter().find_map(stops).unwrap_or((path.len(), errno))
            }
            errno => (path.len(), errno),
        };
        let shown = encode_path(&path[..end]);
        match errno {
            Errno::NOENT => Barrier::Missing,
            Errno::NOTDIR => Barrier::File(shown),
            Errno::LOOP => Barrier::Link(shown),
            Errno::ACCESS | Errno::PERM => Barrier::Denied(shown),
            errno => Barrier::Failed(shown, errno),
        }
    }
}

/// Opens something beneath a folder, through no symbolic link and into nothing that is mounted there.
pub(crate) fn open_beneath(folder: BorrowedFd<'_>, path: &[u8], how: OFlags) -> rustix::io::Result<OwnedFd> {
    let only_beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(folder, path, how | OFlags::CLOEXEC, Mode::empty(), only_beneath)
}

impl Barrier {
    /// What a look answers for something that lies behind this.
    pub fn seen(self) -> Seen {
        match self {
            Barrier::Missing | Barrier::File(_) => Seen::Absent,
            Barrier::Link(path) => Seen::Unknown(format!("{path} is a symbolic link, which is not followed")),
            Barrier::Denied(path) => Seen::Denied(format!("the folder {path} may not be searched")),
            Barrier::Failed(path, errno) => Seen::Unknown(format!("{path}: {}", words(errno))),
        }
    }

    /// What a change answers that would write behind this.
    pub fn refusal(self) -> Refusal {
        match self {
            Barrier::Missing => Refusal::new(Code::Changed, "write it: its folder is gone"),
            Barrier::File(path) => Refusal::new(Code::Changed, format!("write it: {path} is not a folder")).help("move it out of the way"),
            Barrier::Link(path) => {
                Refusal::new(Code::Denied, format!("write it: {path} is a symbolic link, and nothing is written through links"))
                    .help("replace the link by a folder, or name its destination as another target")
            }
            Barrier::Denied(path) => refusal(Errno::ACCESS, &format!("search the folder {path}")),
            Barrier::Failed(path, errno) => refusal(errno, &format!("open the folder {path}")),
        }
    }
}

/// What the system says, in its own lowercase words.
pub(crate) fn words(errno: Errno) -> String {
    match errno {
        Errno::ACCESS | Errno::PERM => "permission denied".to_owned(),
        Errno::NOSPC => "no space left".to_owned(),
        Errno::DQUOT => "the quota is used up".to_owned(),
        Errno::IO => "the disk reports an input/output error".to_owned(),
        Errno::ROFS => "the file system is read-only".to_owned(),
        Errno::XDEV | Errno::BUSY => "something is mounted there, and is not managed from here".to_owned(),
        Errno::NOSYS => "this kernel has no openat2".to_owned(),
        other => io::Error::from(other).to_string().to_lowercase(),
    }
}

/// A coded no from the system; `doing` continues "failed to …".
pub(crate) fn refusal(errno: Errno, doing: &str) -> Refusal {
    let (code, help) = match errno {
        Errno::NOSPC | Errno::DQUOT => (Code::Full, "free some space; it is tried again by itself"),
        Errno::ACCESS | Errno::PERM => (Code::Denied, "let the user that Trued runs as write there"),
        Errno::ROFS => (Code::Denied, "mount it writable"),
        Errno::IO => (Code::Broken, "check the disk, then start Trued again"),
        Errno::LOOP => (Code::Denied, "nothing is written through symbolic links"),
        Errno::XDEV | Errno::BUSY => (Code::Unsupported, "name the mounted folder as a target of its own"),
        Errno::NOSYS => (Code::Unsupported, "Linux 5.6 or newer is needed"),
        Errno::NAMETOOLONG => (Code::Invalid, "shorten the name"),
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => (Code::Unreachable, ""),
        _ => (Code::Unknown, ""),
    };
    Refusal::new(code, format!("{doing}: {}", words(errno))).help(help)
}
