//! The settings of a `git` source about signatures, and the files of keys that they name, read anew each time they are
//! needed: a key that was taken off a list counts no more from then on.

use std::io::Read as _;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use trued_model::{Finding, encode_path};
use trued_signatures::{Policy, Written};

/// The settings that are about signatures.
const KEYS: &[&str] = &["verify", "signers", "paths", "tags", "since"];
/// Largest file of keys, in bytes.
const LARGEST: u64 = 8 << 20;

/// What must be signed, and by whom, as it is written.
#[derive(Clone)]
pub(super) struct Signing(Written);

/// A finding, and the setting it is about.
type Wrong = (String, Finding);

impl Signing {
    pub(super) fn new(written: Written) -> Signing {
        Signing(written)
    }

    /// Whether any signature is asked for.
    pub(super) fn asks(&self) -> bool {
        self.0.asks()
    }

    /// Which tags are fetched because they may bear signatures.
    pub(super) fn tags(&self) -> Option<String> {
        self.0.tags()
    }

    /// Reads the files of keys, and gives the whole policy; or all that is wrong with it.
    pub(super) fn policy(&self) -> Result<Policy, Vec<Wrong>> {
        let signers = &self.0.signers;
        let mut unread = Vec::new();
        let mut open = |pointer, path: &Option<String>| path.as_deref().and_then(|path| read(pointer, path, &mut unread));
        let (ssh, pgp) = (open("/signers/ssh", &signers.ssh), open("/signers/pgp", &signers.pgp));
        if !unread.is_empty() {
            return Err(unread);
        }
        trued_signatures::parse(
            &self.0,
            ssh.as_ref().map(|(bytes, shown)| (bytes.as_slice(), shown.as_str())),
            pgp.as_ref().map(|(bytes, shown)| (bytes.as_slice(), shown.as_str())),
        )
    }
}

/// All that is wrong with the settings about signatures. What breaks the schema is not looked at again.
pub(super) fn check(settings: &Value) -> Vec<Wrong> {
    let only: Map<String, Value> = settings
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| KEYS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let Ok(written) = Written::deserialize(Value::Object(only)) else { return Vec::new() };
    Signing::new(written).policy().err().unwrap_or_default()
}

/// Reads a file of keys; what keeps it from being read is a finding about the setting that names it.
fn read(pointer: &str, path: &str, unread: &mut Vec<Wrong>) -> Option<(Vec<u8>, String)> {
    let shown = encode_path(path.as_bytes());
    let mut bytes = Vec::new();
    let outcome = std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    let help = "write the path of a file of keys that this program may read";
    match outcome {
        Ok(_) if bytes.len() as u64 > LARGEST => {
            unread.push((pointer.to_owned(), Finding::new(format!("{shown} has more than {LARGEST} bytes"), help)));
        }
        Ok(_) => return Some((bytes, shown)),
        Err(error) => unread.push((pointer.to_owned(), Finding::new(format!("{shown} cannot be read: {error}"), help))),
    }
    None
}

/// The schema of the settings about signatures.
pub(super) fn schema() -> Map<String, Value> {
    let names = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1, "description": "Who they may be, by a name or an address from `signers`. A person counts once, with however many keys." });
    let properties = json!({
        "verify": { "enum": ["none", "head", "all"], "default": "none", "description": "What must be signed before it is used: nothing, the newest commit, or every commit since the last verified one." },
        "signers": {
            "type": "object", "additionalProperties": false, "description": "Who may sign. Keys that share a name or an address are one person's.",
            "properties": {
                "ssh": { "type": "string", "description": "A file in OpenSSH's allowed-signers format." },
                "pgp": { "type": "string", "description": "A file of OpenPGP public keys, as `gpg --export` writes it." },
                "keys": {
                    "type": "object", "description": "Keys in place, by person: SSH public keys, or armoured OpenPGP keys.",
                    "additionalProperties": { "type": "array", "items": { "type": "string" }, "minItems": 1 }
                }
            }
        },
        "paths": {
            "type": "object", "description": "Paths, as globs from the source's root, whose changes need several people: signers of the commits that made a file what it is, of the merge that brought it, or of signed tags on it.",
            "additionalProperties": {
                "type": "object", "additionalProperties": false, "required": ["threshold", "keys"],
                "properties": { "threshold": { "type": "integer", "minimum": 1, "description": "How many different people it takes." }, "keys": names }
            }
        },
        "tags": { "type": "string", "description": "Which signed tags count for the commit they are on: the beginning of their names, and `*`. Default: all where `paths` are given, else only the one that is followed." },
        "since": { "type": "string", "pattern": "^[0-9a-f]{40}$", "description": "The commit you vouch for yourself: what came after it is verified at first contact. Without it the first revision is judged alone." }
    });
    match properties {
        Value::Object(properties) => properties,
        _ => Map::new(),
    }
}
