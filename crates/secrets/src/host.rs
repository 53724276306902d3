//! Values on this machine: files that not everybody writes, and variables of the environment.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;

use age::x25519;
use trued_doors::Answer;
use trued_model::{Code, Identity, Refusal, Secret};

use crate::MOST;

/// Reads a file's bytes, without one newline at the end. A file that everybody may write is nobody's word.
pub fn file(path: &str) -> Answer<Secret> {
    read(path).map(without_newline)
}

/// Reads a variable of this process's environment, byte for byte. Programs are started without it.
pub fn variable(name: &str) -> Answer<Secret> {
    match std::env::var_os(name) {
        None => Err(Refusal::new(Code::Absent, format!("the environment has no {name}")).help("set it where trued is started")),
        Some(value) if value.len() > MOST => Err(too_large(&format!("the variable {name}"), value.len() as u64)),
        Some(value) => Ok(Secret::new(value.into_encoded_bytes())),
    }
}

/// Takes one newline off the end: editors and `echo` put it there, and it is no part of a secret.
pub fn without_newline(secret: Secret) -> Secret {
    match secret.reveal() {
        [value @ .., b'\n'] => Secret::new(value.to_vec()),
        _ => secret,
    }
}

/// Reads the age identities that open encrypted files: lines `AGE-SECRET-KEY-1…`, and comments.
pub fn identities(at: &Identity) -> Answer<Vec<x25519::Identity>> {
    let (what, text) = match at {
        Identity::File(path) => (format!("the identity {path}"), read(path)),
        Identity::Env(name) => (format!("the identity in {name}"), variable(name)),
    };
    let text = text.map_err(|refusal| Refusal { message: format!("identity: {}", refusal.message), ..refusal })?;
    let refused = |code: Code, why: String, help: &str| Refusal::new(code, format!("{what} {why}")).help(help);
    let make = "age-keygen makes one: a line AGE-SECRET-KEY-1…";
    let text = std::str::from_utf8(text.reveal()).map_err(|_| refused(Code::Invalid, "is not text".to_owned(), make))?;
    if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE") {
        return Err(refused(Code::Unsupported, "is itself encrypted: not available yet".to_owned(), "decrypt it with `age -d`"));
    }
    if text.starts_with("-----BEGIN") {
        return Err(refused(Code::Unsupported, "is an SSH key: not available yet".to_owned(), make));
    }
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with("AGE-PLUGIN-") || line.starts_with("AGE-SECRET-KEY-PQ-") {
            let why = format!("has in line {number} a kind of key that is not available yet");
            return Err(refused(Code::Unsupported, why, make));
        }
        match line.parse::<x25519::Identity>() {
            Ok(identity) => found.push(identity),
            Err(_) => return Err(refused(Code::Invalid, format!("has in line {number} something that is no age identity"), make)),
        }
    }
    if found.is_empty() {
        return Err(refused(Code::Invalid, "has no key in it".to_owned(), make));
    }
    Ok(found)
}

fn read(path: &str) -> Answer<Secret> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Refusal::new(Code::Absent, format!("{path} does not exist")).help("make the file, or correct its path"),
        ErrorKind::PermissionDenied => {
            Refusal::new(Code::Denied, format!("{path} may not be read")).help("let the user that runs trued own it")
        }
        _ => Refusal::new(Code::Unknown, format!("{path} cannot be read: {error}")),
    };
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(Refusal::new(Code::Invalid, format!("{path} is not a file")).help("name a file that holds the value"));
    }
    if found.mode() & 0o002 != 0 {
        let message = format!("{path} may be written by everybody (mode {:03o})", found.mode() & 0o777);
        return Err(Refusal::new(Code::Invalid, message).help(format!("chmod 600 {path}, and see that it still holds what you put there")));
    }
    if found.len() > MOST as u64 {
        return Err(too_large(path, found.len()));
    }
    // Room for all of it, so that no copy stays behind where a vector has grown.
    let mut bytes = Vec::with_capacity(MOST.min(found.len() as usize) + 1);
    let taken = file.take(MOST as u64 + 1).read_to_end(&mut bytes);
    let secret = Secret::new(bytes);
    match taken.map_err(failed)? {
        length if length > MOST => Err(too_large(path, length as u64)),
        _ => Ok(secret),
    }
}

fn too_large(what: &str, bytes: u64) -> Refusal {
    Refusal::new(Code::TooLarge, format!("{what} has {bytes} bytes, more than the {MOST} a secret may have"))
}
