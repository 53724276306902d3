//! Where a secret's value lies, as the operator wrote it: on this machine, or encrypted in a source.

use serde_json::Value;
use trued_model::{Encrypted, Identity, Name, SecretSource, encode_path};
use trued_yaml::step;

use super::Reader;
use crate::grants::Allow;
use crate::shape::{IdentityEntry, SecretEntry};
use crate::text::{Text, shown};
use crate::{paths, suggest};

/// The keys of which a secret has exactly one.
const PLACES: [&str; 4] = ["file", "env", "age", "sops"];

pub(crate) struct SecretGranted {
    pub source: SecretSource,
    pub allow: Option<Allow>,
}

impl Reader<'_> {
    pub(super) fn secret(&mut self, text: &Text, name: &Name, entry: &SecretEntry, one_owner: bool) -> Option<SecretGranted> {
        let pointer = format!("/secrets/{name}");
        let allow = self.allow(text, &format!("{pointer}/allow"), entry.allow.as_deref(), one_owner);
        let written: Vec<&str> = PLACES.into_iter().filter(|place| text.has(&format!("{pointer}/{place}"))).collect();
        match written[..] {
            [] => {
                let help = "write `file: /etc/trued/NAME` or `env: NAME`, or `age: PATH` or `sops: PATH` with its `identity`";
                self.faults.push(text.key_fault(&pointer, format!("secret `{name}` does not say where it is"), help));
                return None;
            }
            [_] => {}
            _ => {
                let named: Vec<String> = written.iter().map(|place| format!("`{place}`")).collect();
                let help = format!("keep one of {}", named.join(", "));
                self.faults.push(text.key_fault(&pointer, format!("secret `{name}` has {} places", named.len()), help));
                return None;
            }
        }
        let source = match entry {
            SecretEntry { file: Some(file), .. } => SecretSource::File(self.host_path(file)),
            SecretEntry { env: Some(variable), .. } => SecretSource::Env(variable.clone()),
            SecretEntry { age: Some(path), .. } => SecretSource::Age(self.encrypted(text, &pointer, "age", path, entry, one_owner)?),
            SecretEntry { sops: Some(path), .. } => SecretSource::Sops(self.encrypted(text, &pointer, "sops", path, entry, one_owner)?),
            // What was written is not text: that is said already.
            _ => return None,
        };
        self.nothing_to_open(text, &pointer, written[0], entry);
        Some(SecretGranted { source, allow })
    }

    /// Every `{ secret: NAME }` in settings names a secret.
    pub(super) fn secrets_exist(&mut self, text: &Text, pointer: &str, settings: &Value) {
        match settings {
            Value::Object(map) => match map.get("secret") {
                Some(Value::String(name)) if map.len() == 1 => {
                    let at = format!("{pointer}/secret");
                    if !text.has(&format!("/secrets{}", step(name))) && text.has(&at) {
                        let help = suggest::help(name, text.keys("/secrets"));
                        self.faults.push(text.fault(&at, format!("no secret is named `{}`", shown(name)), help));
                    }
                    if ["age", "sops"].iter().any(|place| text.has(&format!("/secrets{}/{place}", step(name)))) {
                        let message = format!("secret `{}` lies in a source, and this is needed before sources are read", shown(name));
                        self.faults.push(text.fault(&at, message, "give it from a `file` or from `env`"));
                    }
                }
                _ => map.iter().for_each(|(key, value)| self.secrets_exist(text, &format!("{pointer}{}", step(key)), value)),
            },
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(place, item)| self.secrets_exist(text, &format!("{pointer}/{place}"), item));
            }
            _ => {}
        }
    }

    fn encrypted(
        &mut self,
        text: &Text,
        pointer: &str,
        place: &str,
        path: &str,
        entry: &SecretEntry,
        one_owner: bool,
    ) -> Option<Encrypted> {
        let lies = self.source_path(text, &format!("{pointer}/{place}"), path, one_owner);
        let identity = match &entry.identity {
            Some(IdentityEntry { file: Some(file), env: None }) => Some(Identity::File(self.host_path(file))),
            Some(IdentityEntry { file: None, env: Some(variable) }) => Some(Identity::Env(variable.clone())),
            Some(_) => {
                let help = "write `file: PATH` or `env: NAME`";
                self.faults.push(text.fault(&format!("{pointer}/identity"), "an identity lies in one place", help));
                None
            }
            // What is there and is no identity is said where it is read.
            None if text.has(&format!("{pointer}/identity")) => None,
            None => {
                let help = "write `identity: { file: /etc/trued/age.key }`, a file that age-keygen made and that lies in no source";
                let message = format!("nothing says what opens `{}`", shown(path));
                self.faults.push(text.key_fault(&format!("{pointer}/{place}"), message, help));
                None
            }
        };
        let (source, path) = lies?;
        Some(Encrypted { source, path: encode_path(path.as_bytes()), key: entry.key.clone(), identity: identity? })
    }

    /// Only what is encrypted is opened, and only SOPS files hold values under keys.
    fn nothing_to_open(&mut self, text: &Text, pointer: &str, place: &str, entry: &SecretEntry) {
        let opened = matches!(place, "age" | "sops");
        for (key, stray) in [("identity", entry.identity.is_some() && !opened), ("key", entry.key.is_some() && place != "sops")] {
            if stray {
                let message = format!("`{key}` says nothing beside `{place}`");
                self.faults.push(text.key_fault(&format!("{pointer}/{key}"), message, format!("leave out `{key}`")));
            }
        }
    }

    fn host_path(&self, path: &str) -> String {
        paths::on_host(self.input.folder, path).to_string_lossy().into_owned()
    }
}
