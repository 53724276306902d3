//! The secrets that a stack's render is given: from this machine, or from encrypted files at the revisions in use.

use std::collections::BTreeMap;

use trued_doors::Answer;
use trued_model::{Code, Encrypted, Finding, Name, Place, Refusal, Secret, SecretSource, Stack};

use crate::render::NoWish;
use crate::runtime::{Runtime, blocking};

impl Runtime {
    /// Reads a stack's secrets by the names its values have. What is wrong in a source is a finding; what is wrong on this
    /// machine is refused, for now.
    pub(crate) async fn secrets(&self, stack: &Stack) -> Result<BTreeMap<String, Secret>, NoWish> {
        let mut all = BTreeMap::new();
        let mut findings = Vec::new();
        for (var, name) in &stack.render.secrets {
            match self.secret(name).await {
                Ok(secret) => drop(all.insert(var.clone(), secret)),
                Err(refusal) if refusal.place.is_some() && !refusal.passing() => {
                    findings.push(Finding { place: refusal.place, ..Finding::new(refusal.message, refusal.help) });
                }
                Err(refusal) => return Err(refusal.into()),
            }
        }
        if findings.is_empty() { Ok(all) } else { Err(NoWish::Findings(findings)) }
    }

    /// Reads one secret.
    pub(crate) async fn secret(&self, name: &Name) -> Answer<Secret> {
        let lies = self.estate().secrets.get(name).and_then(SecretSource::encrypted).cloned();
        match lies {
            None => blocking(|| self.doors.secrets.get(name)),
            Some(file) => {
                let bytes = self.encrypted(name, &file).await?;
                blocking(|| self.doors.secrets.open(name, &bytes))
            }
        }
    }

    /// The bytes of an encrypted file at its source's revision.
    async fn encrypted(&self, name: &Name, file: &Encrypted) -> Answer<Vec<u8>> {
        let unread = |refusal: Refusal| Refusal { message: format!("secret {name}: {}", refusal.message), ..refusal };
        let (source, revision) = self.followed_to(&file.source).map_err(unread)?;
        source.read(&revision, &file.path).await.map_err(|refusal| {
            let message = format!("secret {name}: {}", refusal.message);
            match refusal.code {
                Code::Absent => {
                    let place = Some(Place { file: file.path.clone(), line: 1, column: 1 });
                    Refusal { message, place, ..refusal }.help("commit the encrypted file, or correct its path in the operator's file")
                }
                _ => Refusal { message, ..refusal },
            }
        })
    }
}
