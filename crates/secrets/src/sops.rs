//! One value of a file that SOPS wrote (YAML, JSON, env or binary), opened with age identities after its MAC was checked.
//!
//! The format is that of SOPS 3: leaves `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]` under one data key with the path of
//! keys as associated data, and a MAC over all plain values in their order, itself encrypted with the time as associated
//! data. <https://getsops.io/docs/#encryption-protocol>

mod leaf;
mod metadata;
mod tree;

use age::x25519;
use sha2::{Digest as _, Sha512};
use trued_doors::Answer;
use trued_model::{Code, Place, Refusal, Secret};
use zeroize::Zeroizing;

use crate::{MOST, age_file, host};
use leaf::Kind;
use metadata::Metadata;
use tree::{Tree, What};

/// What the MAC of a file that covers encrypted values only begins with, so that it is never one that covers all.
const ENCRYPTED_ONLY: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f,
    0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// The data key's length in bytes.
const KEY: usize = 32;

/// How a file is laid out, as SOPS tells by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Yaml,
    Json,
    Env,
    Binary,
}

/// Opens the value at a key path (`db.password`, `users.0.token`, or a JSON pointer); a binary file is one value.
pub fn open(path: &str, bytes: &[u8], key: Option<&str>, identities: &[x25519::Identity]) -> Answer<Secret> {
    let format = format(path)?;
    let steps = steps(format, key)?;
    let at = |line: u32| Place { file: path.to_owned(), line, column: 1 };
    let placed = |line: u32, refusal: Refusal| Refusal { place: Some(at(line)), ..refusal };
    let (tree, metadata) = tree::read(format, bytes).map_err(|(line, refusal)| placed(line, refusal))?;
    let metadata = metadata.ok_or_else(|| {
        Refusal::new(Code::Invalid, "was not encrypted by SOPS").help("encrypt it (`sops encrypt -i FILE`), and change what was in it")
    })?;
    let data_key = data_key(&metadata, identities)?;
    let chosen = find(&tree, &steps).map_err(|(line, refusal)| placed(line, refusal))?;
    let mut walk = Walk { key: &data_key, only_encrypted: metadata.only_encrypted, hash: Sha512::new(), chosen, found: None };
    if metadata.only_encrypted {
        walk.hash.update(ENCRYPTED_ONLY);
    }
    walk.tree(&tree, "").map_err(|(line, refusal)| placed(line, refusal))?;
    let mac = leaf::read(&metadata.mac).and_then(|mac| mac.open(&data_key, &metadata.modified)).ok_or_else(spoiled)?;
    let hex: String = walk.hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
    if **mac != *hex.as_bytes() {
        return Err(spoiled());
    }
    let found = walk.found.ok_or_else(|| Refusal::new(Code::Broken, "was walked past the value"))?;
    if found.reveal().len() > MOST {
        return Err(Refusal::new(Code::TooLarge, format!("holds more than the {MOST} bytes a secret may have")));
    }
    Ok(if format == Format::Binary { host::without_newline(found) } else { found })
}

fn format(path: &str) -> Answer<Format> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.').map(|(_, suffix)| suffix) {
        Some("yaml" | "yml") => Ok(Format::Yaml),
        Some("json") => Ok(Format::Json),
        Some("env") => Ok(Format::Env),
        Some("ini") => Err(Refusal::new(Code::Unsupported, "is an ini file: not available yet").help("keep it as YAML, JSON or env")),
        _ => Ok(Format::Binary),
    }
}

/// Takes a key path apart.
fn steps(format: Format, key: Option<&str>) -> Answer<Vec<String>> {
    match (format, key) {
        (Format::Binary, None) => Ok(vec!["data".to_owned()]),
        (Format::Binary, Some(_)) => Err(Refusal::new(Code::Invalid, "is one value, and has no keys").help("leave out `key`")),
        (_, None) => Err(Refusal::new(Code::Invalid, "has many values").help("name one: `key: db.password`")),
        (Format::Env, Some(key)) => Ok(vec![key.to_owned()]),
        (_, Some(pointer)) if pointer.starts_with('/') => Ok(trued_yaml::pointer_steps(pointer).collect()),
        (_, Some(key)) => Ok(key.split('.').map(str::to_owned).collect()),
    }
}

/// The data key, by the first of the file's age recipients that an identity is of.
fn data_key(metadata: &Metadata, identities: &[x25519::Identity]) -> Answer<Zeroizing<[u8; KEY]>> {
    if metadata.groups {
        return Err(Refusal::new(Code::Unsupported, "needs keys of several groups: not available yet").help("encrypt it to age recipients"));
    }
    let help = |others: &[&str]| match others {
        [] => "name the identity of one of its recipients, or `sops updatekeys` it to this one".to_owned(),
        others => format!("it is also encrypted to {}, which are not available yet; add an age recipient", others.join(", ")),
    };
    if metadata.age.is_empty() {
        let others = if metadata.others.is_empty() { "nobody".to_owned() } else { metadata.others.join(", ") };
        return Err(Refusal::new(Code::Unsupported, format!("is encrypted to {others}, and not to age: not available yet"))
            .help("add an age recipient: `sops rotate -i --add-age age1… FILE`"));
    }
    let mut refused = None;
    for recipient in &metadata.age {
        match age_file::open(recipient.as_bytes(), identities, KEY) {
            Ok(key) => {
                let key: Result<[u8; KEY], _> = key.reveal().try_into();
                return key.map(Zeroizing::new).map_err(|_| spoiled());
            }
            Err(refusal) => refused = Some(refusal),
        }
    }
    let refusal = refused.unwrap_or_else(spoiled);
    Err(if refusal.code == Code::Denied { refusal.help(help(&metadata.others)) } else { refusal })
}

type Placed = (u32, Refusal);

/// Finds the value that a key path names: an encrypted text.
fn find<'a>(tree: &'a Tree, steps: &[String]) -> Result<&'a Tree, Placed> {
    let mut at = tree;
    for (depth, step) in steps.iter().enumerate() {
        let next = match &at.what {
            What::Map(entries) => entries.iter().find(|(key, _)| key == step).map(|(_, value)| value),
            What::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        at = next.ok_or_else(|| {
            let message = format!("has no `{}`", steps[..=depth].join("."));
            let help = "correct `key`: names of keys with dots between, numbers from 0 in lists, or a JSON pointer";
            (at.line, Refusal::new(Code::Absent, message).help(help))
        })?;
    }
    let named = steps.join(".");
    let wrong = |why: &str, help: &str| Err((at.line, Refusal::new(Code::Invalid, format!("has at `{named}` {why}")).help(help)));
    match &at.what {
        What::Map(_) | What::List(_) => wrong("several values", "name one of them with `key`"),
        What::Null => wrong("no value", "write the secret there"),
        What::Text(text) if text.is_empty() => wrong("an empty text", "write the secret there"),
        What::Text(text) => match leaf::read(text).map(|leaf| leaf.kind) {
            Some(Kind::Text) => Ok(at),
            Some(_) => wrong("a value that is not text", "write it in quotes, so that it is kept as it is spelled"),
            None => wrong("a value that is not encrypted", "encrypt it, and change it: it is in the repository as it is"),
        },
        What::Plain(_) => wrong("a value that is not encrypted", "encrypt it, and change it: it is in the repository as it is"),
    }
}

/// Goes over all values in their order: what the MAC covers is hashed, and the chosen one is kept.
struct Walk<'a> {
    key: &'a [u8; KEY],
    only_encrypted: bool,
    hash: Sha512,
    chosen: &'a Tree,
    found: Option<Secret>,
}

impl Walk<'_> {
    fn tree(&mut self, tree: &Tree, path: &str) -> Result<(), Placed> {
        match &tree.what {
            What::Map(entries) => entries.iter().try_for_each(|(key, value)| self.tree(value, &format!("{path}{key}:"))),
            What::List(items) => items.iter().try_for_each(|item| self.tree(item, path)),
            What::Null => Ok(()),
            What::Plain(bytes) => {
                self.plain(bytes.as_bytes());
                Ok(())
            }
            What::Text(text) => match leaf::read(text) {
                None => {
                    self.plain(text.as_bytes());
                    Ok(())
                }
                Some(leaf) => {
                    let value = leaf.open(self.key, path).ok_or_else(|| (tree.line, spoiled()))?;
                    if leaf.kind != Kind::Comment {
                        self.hash.update(&**value);
                    }
                    if std::ptr::eq(tree, self.chosen) {
                        self.found = Some(Secret::new(value.to_vec()));
                    }
                    Ok(())
                }
            },
        }
    }

    fn plain(&mut self, bytes: &[u8]) {
        if !self.only_encrypted {
            self.hash.update(bytes);
        }
    }
}

fn spoiled() -> Refusal {
    Refusal::new(Code::Invalid, "is not as SOPS wrote it: its authentication code (MAC) does not match")
        .help("edit it with `sops FILE` only; bring back an earlier commit's, or set the changed values again")
}
