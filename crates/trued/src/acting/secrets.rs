//! Secrets as the operator granted them: from files and the environment. Read when needed, never kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use trued_doors::{Answer, Secrets};
use trued_model::{Code, Name, Refusal, Secret, SecretSource};

/// The most bytes a secret may have.
const CAP: u64 = 1 << 20;

/// What the configuration read last grants.
#[derive(Default)]
pub struct Granted {
    sources: Mutex<BTreeMap<Name, SecretSource>>,
}

impl Granted {
    pub fn grant(&self, sources: BTreeMap<Name, SecretSource>) {
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = sources;
    }
}

impl Secrets for Granted {
    fn get(&self, name: &Name) -> Answer<Secret> {
        let source = self.sources.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        match source {
            None => {
                Err(Refusal::new(Code::Denied, format!("no secret {name} is granted"))
                    .help("name it under secrets: in the operator's file"))
            }
            Some(SecretSource::Env(variable)) => match std::env::var_os(&variable) {
                Some(value) => Ok(Secret::new(value.into_encoded_bytes())),
                None => Err(Refusal::new(Code::Absent, format!("secret {name}: the environment has no {variable}"))),
            },
            Some(SecretSource::File(path)) => from_file(name, &path),
        }
    }
}

/// Reads a file's bytes, without one newline at the end.
fn from_file(name: &Name, path: &str) -> Answer<Secret> {
    let refused = |code: Code, why: String| Refusal::new(code, format!("secret {name}: {path} {why}"));
    let size = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => refused(Code::Absent, "does not exist".to_owned()),
        std::io::ErrorKind::PermissionDenied => refused(Code::Denied, "may not be read".to_owned()),
        _ => refused(Code::Unknown, format!("cannot be read: {error}")),
    })?;
    if size.len() > CAP {
        return Err(refused(Code::TooLarge, format!("has {} bytes, more than {CAP}", size.len())));
    }
    let mut bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => refused(Code::Denied, "may not be read".to_owned()),
        _ => refused(Code::Unknown, format!("cannot be read: {error}")),
    })?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(Secret::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(source: SecretSource) -> Granted {
        let granted = Granted::default();
        granted.grant(BTreeMap::from([("token".parse().expect("a name"), source)]));
        granted
    }

    #[test]
    fn a_file_gives_its_bytes_without_the_last_newline() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "s3cret\n").expect("written");
        let granted = granted(SecretSource::File(path.display().to_string()));
        let secret = granted.get(&"token".parse().expect("a name"));
        assert_eq!(secret.ok().as_ref().map(Secret::reveal), Some(&b"s3cret"[..]));
    }

    #[test]
    fn what_is_not_granted_is_denied_and_what_is_missing_is_absent() {
        let code = |granted: Granted, name: &str| granted.get(&name.parse().expect("a name")).err().map(|refusal| refusal.code);
        assert_eq!(code(Granted::default(), "token"), Some(Code::Denied));
        assert_eq!(code(granted(SecretSource::File("/nonexistent/token".to_owned())), "token"), Some(Code::Absent));
    }
}
