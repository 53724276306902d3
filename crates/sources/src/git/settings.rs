//! The settings of a `git` source: what is followed, with which credentials, up to which bounds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};
use trued_doors::{Answer, Descriptor};
use trued_model::{Code, Name, Patience, Refusal};

use super::alarm::{self, Alarm};
use super::limits;
pub(crate) use super::limits::Limits;
use super::repository::LARGEST_OBJECT;
use super::signing::{self, Signing};
use super::url::{self, Address};
use crate::road::{self, ProxyTo, Road, SecretName, WrittenProxy, is_user};

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
    /// A private key for ssh.
    Key {
        secret: Name,
    },
}

/// Which hosts ssh knows.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Hosts {
    /// A file as `ssh` keeps it.
    File(PathBuf),
    /// The keys of this one server: their kind and their base64.
    Keys(Vec<String>),
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
    pub(super) road: Road,
    /// Of a repository that is asked over ssh.
    pub(super) hosts: Option<Hosts>,
    /// Who may sign, and what must be signed.
    pub(super) signing: Signing,
    /// How long it may say nothing, or nothing new.
    pub(super) patience: Patience,
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
    proxy: Option<WrittenProxy>,
    key: Option<SecretName>,
    known_hosts: Option<PathBuf>,
    host_keys: Option<Vec<String>>,
    verify: Option<trued_signatures::Scope>,
    #[serde(default)]
    signers: trued_signatures::WrittenSigners,
    #[serde(default)]
    paths: BTreeMap<String, trued_signatures::WrittenRule>,
    tags: Option<String>,
    since: Option<String>,
    #[serde(default)]
    alarm: Alarm,
    #[serde(default)]
    limits: Limits,
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
    let credentials = match (written.token, written.username, written.password, written.key) {
        (None, None, None, None) => Credentials::None,
        (Some(token), user, None, None) => Credentials::Token { user: user.unwrap_or_else(|| TOKEN_USER.to_owned()), secret: token.secret },
        (None, Some(user), Some(password), None) => Credentials::Basic { user, secret: password.secret },
        (None, None, None, Some(key)) => Credentials::Key { secret: key.secret },
        _ => return Err(invalid("credentials are a token, a username with a password, or a key".to_owned())),
    };
    let local = matches!(address, Address::Local(_));
    let over_ssh = matches!(address, Address::Ssh(_));
    let key = matches!(credentials, Credentials::Key { .. });
    let for_web = !key && !matches!(credentials, Credentials::None) || written.ca.is_some() || written.proxy.is_some();
    if for_web && !matches!(address, Address::Web(_)) {
        return Err(invalid("token, username, password, ca and proxy are for a repository that is asked over https".to_owned()));
    }
    let hosts = match (written.known_hosts, written.host_keys) {
        (None, None) => None,
        (Some(file), None) => Some(Hosts::File(file)),
        (None, Some(keys)) => Some(Hosts::Keys(keys.iter().map(|key| host_key(key)).collect::<Answer<_>>()?)),
        (Some(_), Some(_)) => return Err(invalid("known_hosts and host_keys exclude each other".to_owned())),
    };
    match (over_ssh, key, &hosts) {
        (false, false, None) | (true, true, Some(_)) => {}
        (false, ..) => return Err(invalid("key, known_hosts and host_keys are for a repository that is asked over ssh".to_owned())),
        (true, false, _) => return Err(invalid("over ssh it needs a key: { secret: NAME }".to_owned())),
        (true, true, None) => {
            let why = invalid("over ssh it needs known_hosts: FILE, or the server's host_keys".to_owned());
            return Err(why.help("compare what ssh-keyscan shows with what the server's owner says"));
        }
    }
    let road = Road { ca: written.ca, proxy: written.proxy.map(ProxyTo::read).transpose()? };
    if written.limits.object_bytes > LARGEST_OBJECT {
        return Err(invalid(format!("limits.object_bytes is at most {LARGEST_OBJECT}")));
    }
    if written.own && !local {
        return Err(invalid("only a repository on this machine can be the configuration's own".to_owned()));
    }
    if let Credentials::Basic { user, .. } | Credentials::Token { user, .. } = &credentials
        && !is_user(user)
    {
        return Err(invalid("a username has no colon and no control characters".to_owned()));
    }
    let moves = matches!(followed, Followed::Head | Followed::Branch(_)) && !local;
    Ok(Settings {
        patience: written.alarm.patience(moves),
        address,
        own: written.own,
        folder: written.folder,
        exclude: written.exclude,
        followed,
        credentials,
        road,
        hosts,
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

/// Reads a server's public key as `ssh-keyscan` and `.pub` files show it; gives its kind and its base64.
fn host_key(text: &str) -> Answer<String> {
    let word = |word: &str, more: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    let mut words = text.split_whitespace();
    match (words.next(), words.next()) {
        (Some(kind), Some(key)) if word(kind, "-@.") && !kind.starts_with(['@', '-']) && word(key, "+/=") => Ok(format!("{kind} {key}")),
        _ => Err(Refusal::new(Code::Invalid, "read the source's host_keys: one is not a key such as `ssh-ed25519 AAAA...`")
            .help("write what ssh-keyscan shows behind the host's name")),
    }
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
    let secret = |description: &str| {
        json!({
            "type": "object", "additionalProperties": false, "required": ["secret"], "description": description,
            "properties": { "secret": { "type": "string", "description": "The name of a secret." } }
        })
    };
    let mut descriptor = Descriptor {
        kind: "git",
        summary: "a Git repository, over https, over ssh or on this machine; its revisions are commits",
        schema: json!({
            "type": "object",
            "additionalProperties": false,
            "oneOf": [{ "required": ["url"] }, { "required": ["path"] }],
            "properties": {
                "url": { "type": "string", "description": "https://host/path, ssh://user@host/path, or the absolute path of a repository on this machine. No password." },
                "path": { "type": "string", "description": "A repository on this machine, relative to the file that names it. It is read in place and never written." },
                "branch": { "type": "string", "description": "The branch that is followed. Default: the one the repository's HEAD names." },
                "tag": { "type": "string", "description": "The tag that is followed, instead of a branch." },
                "commit": { "type": "string", "pattern": "^[0-9a-f]{40}$", "description": "The one commit that is used, instead of a branch." },
                "token": secret("A token for the server."),
                "username": { "type": "string", "description": "The user name for the server, with password or token." },
                "password": secret("The password that goes with username."),
                "key": secret("A private key for ssh, as ssh-keygen writes it, without a passphrase."),
                "known_hosts": { "type": "string", "description": "A file of the hosts that ssh knows; with ssh it or host_keys is needed." },
                "host_keys": {
                    "type": "array", "items": { "type": "string" }, "minItems": 1,
                    "description": "The server's public keys, one of which it must show: `ssh-ed25519 AAAA...`."
                },
                "own": { "type": "boolean", "default": false, "description": "Whether the configuration itself lies in this repository. Set by the program." },
                "folder": { "type": "string", "default": "", "description": "The folder of the repository that all paths start from." },
                "exclude": { "type": "array", "items": { "type": "string" }, "description": "Files and folders that are left out. Configuration files are left out in any case." },
                "alarm": alarm::schema(),
                "limits": limits::schema()
            }
        }),
        example: json!({ "url": "https://git.example/shop", "branch": "main", "token": { "secret": "git-token" } }),
        paths: &["/path", "/ca", "/known_hosts", "/signers/ssh", "/signers/pgp"],
        pulls: &[],
    };
    if let Some(properties) = descriptor.schema["properties"].as_object_mut() {
        properties.extend(signing::schema());
        properties.extend(road::schema("what HTTPS_PROXY and NO_PROXY say"));
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
        let ssh = |more: Value| {
            let mut settings = json!({ "url": "ssh://h/p", "key": { "secret": "k" }, "known_hosts": "/k" });
            settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            settings.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            settings
        };
        assert!(parse(&ssh(json!({}))).is_ok());
        assert!(refused(ssh(json!({ "key": null }))).contains("needs a key"));
        assert!(refused(ssh(json!({ "known_hosts": null }))).contains("known_hosts: FILE"));
        assert!(refused(ssh(json!({ "token": { "secret": "t" } }))).contains("or a key"));
        assert!(refused(ssh(json!({ "ca": "/c" }))).contains("over https"));
        assert!(refused(ssh(json!({ "host_keys": ["ssh-ed25519 AAAA"] }))).contains("exclude each other"));
        assert!(refused(ssh(json!({ "url": "https://h/p" }))).contains("over ssh"));
        for bad in ["", "ssh-ed25519", "@cert-authority AAAA", "ssh-ed25519 AA AA\n* ssh-rsa AA,", "-o AAAA", "ssh-ed25519 AA$A"] {
            let keys = ssh(json!({ "known_hosts": null, "host_keys": [bad] }));
            assert!(parse(&keys).is_err() || bad.contains('\n'), "{bad:?}");
        }
        assert!(refused(json!({ "url": "https://h/p", "proxy": "http://u:p@h:1" })).contains("user name or a password"));
        assert!(refused(json!({ "url": "https://h/p", "proxy": "socks5://h:1" })).contains("not an address"));
        assert!(refused(json!({ "url": "https://h/p", "limits": { "object_bytes": 1_u64 << 40 } })).contains("object_bytes"));
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
