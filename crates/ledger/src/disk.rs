//! Small acts on the state folder's files, with their errors as refusals. What a blob or an entry is stands elsewhere.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, fsync, renameat_with};
use rustix::io::Errno;
use trued_doors::Answer;
use trued_model::{Code, Refusal};

/// What a failed act on a file means. An input or output error is [`Code::Broken`]: the process must end, since what
/// reached the disk is not known any more.
pub(crate) fn cannot(what: &str, errno: Errno) -> Refusal {
    let code = match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Code::Full,
        Errno::IO => Code::Broken,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Code::Denied,
        Errno::NOENT => Code::Absent,
        _ => Code::Unknown,
    };
    let refusal = Refusal::new(code, format!("{what}: {errno}"));
    match code {
        Code::Full => refusal.help("make room on this disk; nothing is lost, and it goes on by itself"),
        Code::Broken => refusal.help("look at the disk, then start again"),
        _ => refusal,
    }
}

/// [`cannot`] for errors of the standard library.
pub(crate) fn cannot_io(what: &str, error: &std::io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(number) => cannot(what, Errno::from_raw_os_error(number)),
        None => Refusal::new(Code::Unknown, format!("{what}: {error}")),
    }
}

/// Makes a folder that only its owner may enter, and those above it; one that is there stays as it is.
pub(crate) fn make_folder(path: &Path) -> Answer<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| cannot_io(&format!("make {}", path.display()), &error))
}

/// Makes an empty file of mode 0600 unless there is one, which is not even opened: closing it again would end the locks
/// that SQLite has on it in this process.
pub(crate) fn make_private(path: &Path) -> Answer<()> {
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(cannot_io(&format!("make {}", path.display()), &error)),
        _ => Ok(()),
    }
}

/// Tells the drafts of one process's threads apart.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// Removes the drafts of [`make_file`] whose process is gone: one may hold a key that never came into use.
pub(crate) fn clear_drafts(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let mut parts = name.to_str().unwrap_or_default().rsplit('.');
        let (count, process) =
            (parts.next().and_then(|part| part.parse::<u64>().ok()), parts.next().and_then(|part| part.parse::<u32>().ok()));
        if let (Some(_), Some(process), true) = (count, process, name.as_encoded_bytes().starts_with(b"."))
            && !Path::new("/proc").join(process.to_string()).exists()
        {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes a file durable with its bytes, mode 0600, unless it is there already; says whether it made it.
pub(crate) fn make_file(path: &Path, bytes: &[u8]) -> Answer<bool> {
    put_file(path, bytes, RenameFlags::NOREPLACE)
}

/// Puts a durable file, mode 0600, in the place of the one that is there: whoever looks sees the one or the other.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Answer<()> {
    put_file(path, bytes, RenameFlags::empty()).map(drop)
}

fn put_file(path: &Path, bytes: &[u8], how: RenameFlags) -> Answer<bool> {
    let what = || format!("make {}", path.display());
    let folder = path.parent().expect("a file of the state folder lies in a folder");
    let name = path.file_name().expect("a file of the state folder has a name").to_string_lossy();
    let draft = folder.join(format!(".{name}.{}.{}", std::process::id(), DRAFTS.fetch_add(1, Ordering::Relaxed)));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()
    })();
    let named = written.map_err(|error| cannot_io(&what(), &error)).and_then(|()| match renameat_with(CWD, &draft, CWD, path, how) {
        Ok(()) => fs::File::open(folder)
            .map_err(|error| cannot_io(&what(), &error))
            .and_then(|folder| fsync(folder).map(|()| true).map_err(|errno| cannot(&what(), errno))),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(cannot(&what(), errno)),
    });
    if !matches!(named, Ok(true)) {
        // It has no name that anybody reads.
        let _ = fs::remove_file(&draft);
    }
    named
}
