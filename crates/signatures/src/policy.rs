//! The policy over signatures: how much of the history is looked at, who may sign, and which paths need several people.

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;
use trued_model::{Finding, PathNote, SignerPolicy};

use crate::allowed;
use crate::signers::{self, Listed, Signers};

/// How much of what is new must be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Nothing is looked at.
    #[default]
    None,
    /// The revision itself.
    Head,
    /// Every commit since the last verified one.
    All,
}

/// The policy as it is written in a source's settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Written {
    pub verify: Option<Scope>,
    pub signers: WrittenSigners,
    pub paths: BTreeMap<String, WrittenRule>,
    pub tags: Option<String>,
    pub since: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenSigners {
    /// A file in OpenSSH's allowed-signers format.
    pub ssh: Option<String>,
    /// A file of OpenPGP public keys.
    pub pgp: Option<String>,
    /// Keys in place, by person.
    pub keys: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRule {
    pub threshold: u32,
    pub keys: Vec<String>,
}

/// Paths whose changes need several people.
#[derive(Clone)]
pub struct PathRule {
    glob: GlobMatcher,
    written: String,
    threshold: u32,
    /// As they are shown.
    people: BTreeSet<String>,
}

/// A policy, checked, with its keys.
#[derive(Clone)]
pub struct Policy {
    pub scope: Scope,
    pub signers: Signers,
    /// Names of tags that count besides what is followed: a beginning, then `*`.
    pub tags: Option<String>,
    /// The commit that verification starts from at first contact.
    pub since: Option<String>,
    rules: Vec<PathRule>,
}

/// A finding, and the setting it is about (a JSON pointer into the settings).
pub type Wrong = (String, Finding);

impl Written {
    /// Whether anything is to be verified.
    pub fn asks(&self) -> bool {
        self.verify.is_some_and(|scope| scope != Scope::None)
    }

    /// Which tags are needed besides what is followed, for a rule that needs several people.
    pub fn tags(&self) -> Option<String> {
        let all = (!self.paths.is_empty()).then(|| "*".to_owned());
        self.asks().then(|| self.tags.clone().or(all)).flatten()
    }
}

/// Reads a policy: the settings, and the bytes of the files that they name with the names these are shown by.
pub fn parse(written: &Written, ssh: Option<(&[u8], &str)>, pgp: Option<(&[u8], &str)>) -> Result<Policy, Vec<Wrong>> {
    let mut wrong = Vec::new();
    let named = !written.signers.keys.is_empty() || written.signers.ssh.is_some() || written.signers.pgp.is_some();
    let mut say = |pointer: &str, message: String, help: &str| wrong.push((pointer.to_owned(), Finding::new(message, help)));
    match (written.verify, named) {
        (Some(Scope::Head | Scope::All), false) => {
            say("/verify", "signatures are asked for, and nobody may sign".to_owned(), "name `signers`: a file or keys");
        }
        (None, _) if named || !written.paths.is_empty() || written.tags.is_some() || written.since.is_some() => {
            let help = "write `verify: head`, `verify: all`, or `verify: none` to look at no signature";
            say("", "it names signers or what they sign, and `verify` does not say how much must be signed".to_owned(), help);
        }
        _ => {}
    }
    if written.since.as_ref().is_some_and(|since| since.len() != 40 || !since.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        say("/since", "it is not a whole commit id".to_owned(), "write all 40 digits of the commit");
    }
    if written.tags.as_ref().is_some_and(|tags| !tags.strip_suffix('*').is_some_and(is_start_of_tag)) {
        say("/tags", "it is not the beginning of tags' names".to_owned(), "write the beginning of their names and a `*`: `approve/*`");
    }
    let mut listed: Vec<Listed> = Vec::new();
    for (name, keys) in &written.signers.keys {
        for (place, key) in keys.iter().enumerate() {
            match signers::read_key(name, key) {
                Ok(read) => listed.extend(read),
                Err(why) => {
                    let help = "write an SSH public key, or what `gpg --armor --export` prints";
                    say(&format!("/signers/keys{}/{place}", step(name)), format!("this key cannot be used: {why}"), help);
                }
            }
        }
    }
    type Read = fn(&[u8], &str) -> (Vec<Listed>, Vec<Finding>);
    let (read_ssh, read_pgp): (Read, Read) = (allowed::read_allowed_signers, signers::read_keyring);
    for (pointer, file, read) in [("/signers/ssh", ssh, read_ssh), ("/signers/pgp", pgp, read_pgp)] {
        if let Some((bytes, shown)) = file {
            let (found, findings) = read(bytes, shown);
            listed.extend(found);
            wrong.extend(findings.into_iter().map(|finding| (pointer.to_owned(), finding)));
        }
    }
    let (signers, twice) = Signers::assemble(listed);
    wrong.extend(twice.into_iter().map(|finding| ("/signers".to_owned(), finding)));
    let rules = written.paths.iter().filter_map(|(glob, rule)| read_rule(glob, rule, &signers, &mut wrong)).collect();
    match wrong.is_empty() {
        true => Ok(Policy {
            scope: written.verify.unwrap_or_default(),
            signers,
            tags: written.tags(),
            since: written.since.as_ref().map(|since| since.to_ascii_lowercase()),
            rules,
        }),
        false => Err(wrong),
    }
}

fn read_rule(glob: &str, rule: &WrittenRule, signers: &Signers, wrong: &mut Vec<Wrong>) -> Option<PathRule> {
    let pointer = format!("/paths{}", step(glob));
    let before = wrong.len();
    let mut say = |below: String, message: String, help: String| wrong.push((format!("{pointer}{below}"), Finding::new(message, help)));
    let matcher = GlobBuilder::new(glob).literal_separator(true).backslash_escape(false).build().map(|glob| glob.compile_matcher());
    if let Err(error) = &matcher {
        say(String::new(), format!("it is not a glob: {}", error.kind()), "`*` stands for one name, `**` for any folders".to_owned());
    }
    if glob.starts_with('/') || glob.starts_with("./") || glob.contains("../") {
        say(String::new(), "it matches no path".to_owned(), "write it from the source's root: `apps/pay/**`".to_owned());
    }
    let mut people = BTreeSet::new();
    for (place, name) in rule.keys.iter().enumerate() {
        match signers.known_as(name) {
            Some(shown) => drop(people.insert(shown.to_owned())),
            None => {
                let known: Vec<&str> = signers.names().into_iter().take(10).collect();
                let help =
                    if known.is_empty() { "list them under `signers`".to_owned() } else { format!("known are {}", known.join(", ")) };
                say(format!("/keys/{place}"), format!("no signer is called `{name}`"), help);
            }
        }
    }
    if rule.threshold == 0 {
        say("/threshold".to_owned(), "a threshold of 0 guards nothing".to_owned(), "write 1 or more, or remove the path".to_owned());
    } else if rule.threshold as usize > people.len() && rule.keys.iter().all(|name| signers.known_as(name).is_some()) {
        let message = format!("{} signers are needed, and {} different people are named", rule.threshold, people.len());
        say("/threshold".to_owned(), message, "name more people, or lower the threshold; a person's keys count once".to_owned());
    }
    let (written, threshold) = (glob.to_owned(), rule.threshold);
    (wrong.len() == before).then(|| matcher.ok().map(|glob| PathRule { glob, written, threshold, people }))?
}

/// People by file: who vouches for each guarded file as it is now.
pub type Approvals = BTreeMap<String, BTreeSet<String>>;

/// A guarded file that too few people vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    pub path: String,
    pub glob: String,
    pub threshold: u32,
    pub have: Vec<String>,
    pub of: Vec<String>,
}

impl Policy {
    /// Whether a change of this path needs anybody's word.
    pub fn guards(&self, path: &str) -> bool {
        self.rules.iter().any(|rule| rule.glob.is_match(path))
    }

    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Which guarded files too few people vouch for. Only people whom a rule names count for it; each counts once.
    pub fn lacking(&self, approvals: &Approvals) -> Vec<Lack> {
        let mut lacks = Vec::new();
        for (path, people) in approvals {
            for rule in self.rules.iter().filter(|rule| rule.glob.is_match(path)) {
                let have: Vec<String> = rule.people.intersection(people).cloned().collect();
                if have.len() < rule.threshold as usize {
                    lacks.push(Lack {
                        path: path.clone(),
                        glob: rule.written.clone(),
                        threshold: rule.threshold,
                        have,
                        of: rule.people.iter().cloned().collect(),
                    });
                }
            }
        }
        lacks
    }

    /// For the record.
    pub fn note(&self) -> SignerPolicy {
        let verify = match self.scope {
            Scope::None => "none",
            Scope::Head => "head",
            Scope::All => "all",
        };
        let path = |rule: &PathRule| PathNote {
            glob: rule.written.clone(),
            threshold: rule.threshold,
            names: rule.people.iter().cloned().collect(),
        };
        SignerPolicy {
            verify: verify.to_owned(),
            tags: self.tags.clone(),
            since: self.since.clone(),
            paths: self.rules.iter().map(path).collect(),
            signers: self.signers.notes(),
        }
    }
}

/// Whether tags' names may begin so.
fn is_start_of_tag(start: &str) -> bool {
    start.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c)) && !start.starts_with(['/', '-', '.']) && !start.contains("..")
}

/// One step of a JSON pointer.
fn step(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}
