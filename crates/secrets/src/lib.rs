//! Secret values by name, as the operator granted them: from files, the environment, and encrypted files of a source.
//!
//! Nothing is kept: a value is read when it is asked for and wiped when it is dropped. What goes wrong is said with file,
//! place and next step, and never with a byte of a secret. Sealing what was rendered is the ledger's.

mod age_file;
mod host;
mod sops;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use trued_doors::{Answer, Secrets};
use trued_model::{Code, Name, Place, Refusal, Secret, SecretSource};

/// The most bytes a secret may have.
const MOST: usize = 1 << 20;

/// The most bytes of an encrypted file that are read.
const MOST_ENCRYPTED: usize = 4 << 20;

/// What the configuration read last grants.
#[derive(Default)]
pub struct Granted {
    sources: Mutex<BTreeMap<Name, SecretSource>>,
}

impl Granted {
    pub fn grant(&self, sources: BTreeMap<Name, SecretSource>) {
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    fn source(&self, name: &Name) -> Answer<SecretSource> {
        let source = self.sources.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        source.ok_or_else(|| {
            Refusal::new(Code::Denied, format!("no secret {name} is granted")).help("name it under secrets: in the operator's file")
        })
    }
}

impl Secrets for Granted {
    fn get(&self, name: &Name) -> Answer<Secret> {
        let source = self.source(name)?;
        let secret = match &source {
            SecretSource::File(path) => host::file(path),
            SecretSource::Env(variable) => host::variable(variable),
            SecretSource::Age(_) | SecretSource::Sops(_) => {
                let message = "lies in a source, and sources cannot be read with it";
                Err(Refusal::new(Code::Unsupported, message).help("give it from a `file` or from `env`"))
            }
        };
        secret.and_then(sound).map_err(|refusal| of(name, refusal))
    }

    fn open(&self, name: &Name, encrypted: &[u8]) -> Answer<Secret> {
        let source = self.source(name)?;
        let Some(file) = source.encrypted() else { return self.get(name) };
        let at = Place { file: file.path.clone(), line: 1, column: 1 };
        let opened = if encrypted.len() > MOST_ENCRYPTED {
            Err(Refusal::new(Code::TooLarge, format!("has {} bytes, more than {MOST_ENCRYPTED}", encrypted.len())))
        } else {
            let identities = host::identities(&file.identity).map_err(|refusal| of(name, refusal))?;
            match &source {
                SecretSource::Sops(_) => sops::open(&file.path, encrypted, file.key.as_deref(), &identities),
                _ => age_file::open(encrypted, &identities, MOST).map(host::without_newline),
            }
        };
        opened.and_then(sound).map_err(|refusal| {
            let place = refusal.place.clone().unwrap_or(at);
            let message = format!("{} of source {} {}", file.path, file.source, refusal.message);
            of(name, Refusal { message, place: Some(place), ..refusal })
        })
    }
}

/// Refuses what is no value.
fn sound(secret: Secret) -> Answer<Secret> {
    if secret.reveal().is_empty() {
        return Err(Refusal::new(Code::Invalid, "is empty").help("put the secret's value there"));
    }
    Ok(secret)
}

fn of(name: &Name, refusal: Refusal) -> Refusal {
    Refusal { message: format!("secret {name}: {}", refusal.message), ..refusal }
}
