//! Where the socket lies. A socket's address holds 108 bytes and a state folder's path may be longer, so the folder is
//! opened and the socket is reached through the open folder.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, open, statat};
use rustix::io::Errno;
use trued_doors::Answer;
use trued_model::{Code, Refusal};

/// The socket's name in the state folder.
pub const NAME: &str = "control.sock";

/// An open state folder.
pub struct Place {
    pub folder: OwnedFd,
    /// For messages only.
    shown: PathBuf,
}

/// What is where the socket should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    pub is_socket: bool,
    /// Device and inode: whether it is still the same.
    pub identity: (u64, u64),
}

impl Place {
    /// Opens a state folder; `Code::Absent` when there is none.
    pub fn open(state: &Path) -> Answer<Place> {
        let shown = state.to_owned();
        match open(state, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(folder) => Ok(Place { folder, shown }),
            Err(error) => Err(Refusal::new(code(error), format!("open the state folder {}: {error}", state.display()))),
        }
    }

    /// A path of the socket that is short and stays right while the folder is open.
    pub fn address(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{NAME}", self.folder.as_raw_fd()).into()
    }

    /// The socket as people know it.
    pub fn shown(&self) -> std::path::PathBuf {
        self.shown.join(NAME)
    }

    /// Looks at what has the socket's name; `None` when nothing has.
    pub fn node(&self) -> Option<Node> {
        let stat = statat(&self.folder, NAME, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Node { is_socket: FileType::from_raw_mode(stat.st_mode) == FileType::Socket, identity: (stat.st_dev, stat.st_ino) })
    }

    /// The user the state folder belongs to.
    pub fn owner(&self) -> Option<u32> {
        fstat(&self.folder).ok().map(|stat| stat.st_uid)
    }
}

pub fn code(error: Errno) -> Code {
    match error {
        Errno::NOENT => Code::Absent,
        Errno::ACCESS | Errno::PERM => Code::Denied,
        Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE => Code::Full,
        Errno::NOTDIR => Code::Invalid,
        _ => Code::Unknown,
    }
}
