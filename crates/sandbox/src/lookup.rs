//! Which file a program's name means. The environment of this process has no say in it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use trued_doors::Answer;
use trued_model::{Code, Refusal};

/// Where plain names are looked for, and what programs get as their `PATH`.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds the program that `name` means: an absolute path, or a plain name in [`PATH`].
pub fn find(name: &str) -> Answer<PathBuf> {
    find_among(name, &[])
}

/// As [`find`]; a plain name means first of all a file of that name among these.
pub fn find_among(name: &str, tools: &[PathBuf]) -> Answer<PathBuf> {
    let refuse = |code, why: &str| Refusal::new(code, format!("start `{name}`: {why}"));
    if name.is_empty() {
        return Err(refuse(Code::Invalid, "the list of arguments names no program"));
    }
    if name.starts_with('/') {
        return match std::fs::metadata(name) {
            Ok(meta) if meta.is_file() => {
                executable(Path::new(name)).ok_or_else(|| refuse(Code::Denied, "it is not executable for this user"))
            }
            Ok(_) => Err(refuse(Code::Invalid, "it is not a file")),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(refuse(Code::Denied, "its folder may not be searched")),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(refuse(Code::Absent, "there is no such program").help("install it")),
            Err(error) => Err(refuse(Code::Unknown, &error.to_string())),
        };
    }
    if name.contains('/') {
        return Err(refuse(Code::Invalid, "a relative path could mean any program").help("write a plain name or the full path"));
    }
    let named = tools.iter().filter(|tool| tool.file_name().is_some_and(|last| last == name)).cloned();
    let system = PATH.split(':').map(|folder| Path::new(folder).join(name));
    let candidates: Vec<PathBuf> = named.chain(system).filter(|path| path.is_file()).collect();
    match candidates.iter().find_map(|path| executable(path)) {
        Some(path) => Ok(path),
        None if candidates.is_empty() => Err(refuse(Code::Absent, &format!("there is no such program in {PATH}"))
            .help("install it, write its full path, or name it among the operator's `sandbox: { tools: … }`")),
        None => Err(refuse(Code::Denied, "it is not executable for this user")),
    }
}

fn executable(path: &Path) -> Option<PathBuf> {
    access(path, Access::EXEC_OK).is_ok().then(|| path.to_owned())
}
