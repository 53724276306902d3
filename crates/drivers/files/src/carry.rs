//! What a file has beside its bytes, owner and mode, and keeps through an update: its ACL, and the attributes of users.
//!
//! File capabilities are not carried over: they were granted to other bytes. Labels of the system are the system's to give.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{OFlags, Stat, XattrFlags};
use rustix::io::Errno;

use crate::root::open_beneath;

/// The longest list of names, and the longest value, that Linux knows (xattr(7)).
const LONGEST: usize = 64 * 1024;

/// An ACL as the kernel gives it (acl(5)).
const ACL: &[u8] = b"system.posix_acl_access";

/// Carries `user.*` attributes, and the ACL where `acl`, from the file that was seen at a name to an open one. What is there
/// by now and was not seen gives nothing.
pub(crate) fn carry(folder: BorrowedFd<'_>, name: &[u8], seen: &Stat, to: BorrowedFd<'_>, acl: bool) -> rustix::io::Result<()> {
    let from = match open_beneath(folder, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(from) => from,
        Err(Errno::LOOP | Errno::NOENT | Errno::NXIO) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let now = rustix::fs::fstat(&from)?;
    if (now.st_dev, now.st_ino) != (seen.st_dev, seen.st_ino) {
        return Ok(());
    }
    let names = names(from.as_fd())?;
    let mut value = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.") || (acl && *name == ACL)) {
        value.resize(LONGEST, 0);
        match rustix::fs::fgetxattr(&from, name, &mut value[..]) {
            Ok(length) => rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty())?,
            // It was removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The names of a file's attributes, each with a NUL behind it; none where the file system knows no attributes.
fn names(file: BorrowedFd<'_>) -> rustix::io::Result<Vec<u8>> {
    match rustix::fs::flistxattr_query(file) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(errno) => return Err(errno),
    }
    let mut names = vec![0; LONGEST];
    let length = rustix::fs::flistxattr(file, &mut names[..])?;
    names.truncate(length);
    Ok(names)
}
