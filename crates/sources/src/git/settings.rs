//! The settings of a `git` source: what is followed, with which credentials, up to which bounds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};
use trued_doors::{Answer, Descriptor};
use trued_model::{Code, Duration, Name, Refusal};

use super::signing::{self, Signing};
use super::url::{self, Address};

/// Bounds on a repository and on one fetch.
#[derive(Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Most files and links in one folder that is rendered, or in one working tree.
    pub(crate) files: u64,
    /// Most bytes in all of them together.
    pub(crate) bytes: u64,
    /// Most bytes one fetch may receive.
    pub(crate) fetch_bytes: u64,
    /// Most objects one fetch may receive.
    pub(crate) fetch_objects: u64,
    /// Longest time one fetch may take.
    pub(crate) fetch_time: Duration,
    /// Packs in the object store, one for each fetch that brought something, before it is fetched afresh.
    pub(crate) packs: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            files: 200_000,
            bytes: 4 << 30,
            fetch_bytes: 2 << 30,
            fetch_objects: 20_000_000,
            fetch_time: Duration::from_secs(600),
            packs: 200,
        }
    }
}

/// What of a repository is followed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Followed {
    /// The branch that HEAD names.
    Head,
    Branch(String),
    Tag(String),
    Commit(gix::ObjectId),
}

/// Where the user name and the password for a remote come from.
#[derive(Clone)]
pub(super) enum Credentials {
    None,
    /// A token; servers accept it as the password of any user.
    Token {
        user: String,
        secret: Name,
    },
    Basic {
        user: String,
        secret: Name,
    },
}

/// The settings, read.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) address: Address,
    /// Whether the repository is the one the configuration lies in: its working tree may be read, and paths start
    /// at `folder`.
    pub(super) own: bool,
    /// The folder all paths start from, below the repository's root.
    pub(super) folder: String,
    pub(super) exclude: Vec<String>,
    pub(super) followed: Followed,
    pub(super) credentials: Credentials,
    /// Certificates that are trusted instead of the system's, PEM.
    pub(super) ca: Option<PathBuf>,
    /// Who may sign, and what must be signed.
    pub(super) signing: Signing,
    pub(super) limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: Option<String>,
    path: Option<PathBuf>,
    #[serde(default)]
    own: bool,
    #[serde(default)]
    folder: String,
    #[serde(default)]
    exclude: Vec<String>,
    branch: Option<String>,
    tag: Option<String>,
    commit: Option<String>,
    token: Option<SecretName>,
    username: Option<String>,
    password: Option<SecretName>,
    ca: Option<PathBuf>,
    verify: Option<trued_signatures::Scope>,
    #[serde(default)]
    signers: trued_signatures::WrittenSigners,
    #[serde(default)]
    paths: BTreeMap<String, trued_signatures::WrittenRule>,
    tags: Option<String>,
    since: Option<String>,
    #[serde(default)]
    limits: Limits,
}

/// `{ secret: NAME }`. What stands there instead may be a secret itself, so a refusal does not repeat it.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
struct SecretName {
    secret: Name,
}

impl TryFrom<Value> for SecretName {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<SecretName, &'static str> {
        let only = value.as_object().filter(|object| object.len() == 1).and_then(|object| object.get("secret"));
        let secret = only.and_then(Value::as_str).and_then(|name| name.parse().ok());
        secret.map(|secret| SecretName { secret }).ok_or("token and password name a secret: { secret: NAME }")
    }
}

/// The user name that goes with a token where none is given: GitHub asks for this one with app tokens, others take any.
const TOKEN_USER: &str = "x-access-token";

/// Reads settings; refusals say which setting is wrong and never repeat the URL.
pub(super) fn parse(settings: &Value) -> Answer<Settings> {
    let invalid = |why: String| Refusal::new(Code::Invalid, format!("read the source's settings: {why}"));
    let written = Written::deserialize(settings).map_err(|error| invalid(error.to_string()))?;
    let address = match (&written.url, &written.path) {
        (Some(url), None) => url::parse(url)?,
        (None, Some(path)) => Address::Local(path.clone()),
        (Some(_), Some(_)) => return Err(invalid("url and path exclude each other".to_owned())),
        (None, None) => return Err(invalid("it needs a url, or the path of a repository on this machine".to_owned())),
    };
    let followed = match (&written.branch, &written.tag, &written.commit) {
        (None, None, None) => Followed::Head,
        (Some(branch), None, None) => Followed::Branch(reference("branch", "refs/heads/", branch)?),
        (None, Some(tag), None) => Followed::Tag(reference("tag", "refs/tags/", tag)?),
        (None, None, Some(commit)) => Followed::Commit(commit_id(commit)?),
        _ => return Err(invalid("branch, tag and commit exclude each other".to_owned())),
    };
    let credentials = match (written.token, written.username, written.password) {
        (None, None, None) => Credentials::None,
        (Some(token), user, None) => Credentials::Token { user: user.unwrap_or_else(|| TOKEN_USER.to_owned()), secret: token.secret },
        (None, Some(user), Some(password)) => Credentials::Basic { user, secret: password.secret },
        _ => return Err(invalid("credentials are a token, or a username with a password".to_owned())),
    };
    let local = matches!(address, Address::Local(_));
    if local && (!matches!(credentials, Credentials::None) || written.ca.is_some()) {
        return Err(invalid("credentials and ca are for a repository that is asked over https".to_owned()));
    }
    if written.own && !local {
        return Err(invalid("only a repository on this machine can be the configuration's own".to_owned()));
    }
    if let Credentials::Basic { user, .. } | Credentials::Token { user, .. } = &credentials
        && (user.contains(':') || user.chars().any(char::is_control))
    {
        return Err(invalid("a username has no colon and no control characters".to_owned()));
    }
    Ok(Settings {
        address,
        own: written.own,
        folder: written.folder,
        exclude: written.exclude,
        followed,
        credentials,
        ca: written.ca,
        signing: Signing::new(trued_signatures::Written {
            verify: written.verify,
            signers: written.signers,
            paths: written.paths,
            tags: written.tags,
            since: written.since,
        }),
        limits: written.limits,
    })
}

/// Checks the name of a branch or a tag.
pub(super) fn reference(what: &str, prefix: &str, name: &str) -> Answer<String> {
    let full = format!("{prefix}{name}");
    let valid = !name.starts_with('-') && gix::refs::FullName::try_from(full.as_str()).is_ok();
    match valid {
        true => Ok(name.to_owned()),
        false => Err(Refusal::new(Code::Invalid, format!("read the source's {what}: {name:?} is not the name of one"))),
    }
}

/// Reads a whole commit id.
pub(super) fn commit_id(text: &str) -> Answer<gix::ObjectId> {
    let invalid = || Refusal::new(Code::Invalid, format!("read commit {text:?}: it is not 40 hexadecimal digits"));
    gix::ObjectId::from_hex(text.as_bytes()).map_err(|_| invalid())
}

/// Describes the kind.
pub(super) fn describe() -> Descriptor {
    let limits = Limits::default();
    let secret = |description: &str| {
        json!({
            "type": "object", "additionalProperties": false, "required": ["secret"], "description": description,
            "properties": { "secret": { "type": "string", "description": "The name of a secret." } }
        })
    };
    let count =
        |default: u64, description: &str| json!({ "type": "integer", "minimum": 1, "default": default, "description": description });
    let mut descriptor = Descriptor {
        kind: "git",
        summary: "a Git repository, over https or on this machine; its revisions are commits",
        schema: json!({
            "type": "object",
            "additionalProperties": false,
            "oneOf": [{ "required": ["url"] }, { "required": ["path"] }],
            "properties": {
                "url": { "type": "string", "description": "https://host/path, or the absolute path of a repository on this machine. No user name, no password." },
                "path": { "type": "string", "description": "A repository on this machine, relative to the file that names it. It is read in place and never written." },
                "branch": { "type": "string", "description": "The branch that is followed. Default: the one the repository's HEAD names." },
                "tag": { "type": "string", "description": "The tag that is followed, instead of a branch." },
                "commit": { "type": "string", "pattern": "^[0-9a-f]{40}$", "description": "The one commit that is used, instead of a branch." },
                "token": secret("A token for the server."),
                "username": { "type": "string", "description": "The user name for the server, with password or token." },
                "password": secret("The password that goes with username."),
                "ca": { "type": "string", "description": "A PEM file of certificates that are trusted instead of the system's." },
                "own": { "type": "boolean", "default": false, "description": "Whether the configuration itself lies in this repository. Set by the program." },
                "folder": { "type": "string", "default": "", "description": "The folder of the repository that all paths start from." },
                "exclude": { "type": "array", "items": { "type": "string" }, "description": "Files and folders that are left out. Configuration files are left out in any case." },
                "limits": {
                    "type": "object", "additionalProperties": false, "description": "A repository beyond these is refused, not cut short.",
                    "properties": {
                        "files": count(limits.files, "Most files and links in one folder that is rendered."),
                        "bytes": count(limits.bytes, "Most bytes in all of them together."),
                        "fetch_bytes": count(limits.fetch_bytes, "Most bytes one fetch may receive."),
                        "fetch_objects": count(limits.fetch_objects, "Most objects one fetch may receive."),
                        "fetch_time": { "type": "string", "default": limits.fetch_time.to_string(), "description": "Longest time one fetch may take." },
                        "packs": count(limits.packs, "Packs in the local object store before it is fetched afresh.")
                    }
                }
            }
        }),
        example: json!({ "url": "https://git.example/shop", "branch": "main", "token": { "secret": "git-token" } }),
        paths: &["/path", "/ca", "/signers/ssh", "/signers/pgp"],
        reads_text: false,
    };
    if let Some(properties) = descriptor.schema["properties"].as_object_mut() {
        properties.extend(signing::schema());
    }
    descriptor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(settings: Value) -> String {
        match parse(&settings) {
            Ok(_) => panic!("{settings} passes"),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn the_example_is_read() {
        let settings = parse(&describe().example).unwrap();
        assert!(settings.followed == Followed::Branch("main".into()));
        assert!(
            matches!(settings.credentials, Credentials::Token { user, secret } if user == TOKEN_USER && secret.as_str() == "git-token")
        );
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(refused(json!({ "url": "/a", "path": "/b" })).contains("exclude each other"));
        assert!(refused(json!({ "branch": "main" })).contains("needs a url"));
        assert!(refused(json!({ "url": "/a", "branch": "main", "tag": "v1" })).contains("exclude each other"));
        assert!(refused(json!({ "url": "https://h/p", "username": "me" })).contains("a username with a password"));
        assert!(refused(json!({ "url": "/a", "token": { "secret": "t" } })).contains("over https"));
        assert!(refused(json!({ "url": "https://h/p", "own": true })).contains("on this machine"));
        assert!(refused(json!({ "url": "https://h/p", "colour": "red" })).contains("colour"));
        assert!(refused(json!({ "url": "https://h/p", "token": "plain" })).contains("name a secret"));
    }

    #[test]
    fn fault_08_names_that_are_no_references_are_refused() {
        for name in ["-x", "a..b", "a b", "a:b", "", "a\nb", "x.lock", "../x"] {
            assert!(refused(json!({ "url": "/a", "branch": name })).contains("branch"), "{name}");
            assert!(refused(json!({ "url": "/a", "tag": name })).contains("tag"), "{name}");
        }
        assert!(refused(json!({ "url": "/a", "commit": "HEAD" })).contains("40 hexadecimal"));
    }

    #[test]
    fn fault_104_a_token_written_where_a_name_belongs_is_not_repeated() {
        for token in [json!("Hunter2"), json!({ "secret": "Hunter2!" }), json!({ "Hunter2": 1 })] {
            let words = refused(json!({ "url": "https://h/p", "token": token }));
            assert!(!words.contains("Hunter2"), "{words}");
        }
        let words = refused(json!({ "url": "https://me:Hunter2@h/p" }));
        assert!(!words.contains("Hunter2"), "{words}");
    }
}
