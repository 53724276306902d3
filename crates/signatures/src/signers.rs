//! Who may sign: keys, the people they belong to, and whether one of them made a signature.

use std::collections::{BTreeMap, BTreeSet};

use trued_model::{Digest, Finding, SignatureNote, SignerNote, Timestamp};

use crate::object::{Scheme, Signed};
use crate::pgp::{self, Certificate};
use crate::ssh::{SshKey, SshSignature};
use crate::{Unproven, allowed};

/// One key as it was listed, and under which names.
#[derive(Clone)]
pub struct Listed {
    /// The first is the one that is shown.
    pub names: Vec<String>,
    pub(crate) key: Key,
    pub valid_after: Option<Timestamp>,
    pub valid_before: Option<Timestamp>,
}

#[derive(Clone)]
pub(crate) enum Key {
    Ssh(SshKey),
    OpenPgp(Box<Certificate>),
}

impl Key {
    fn algorithm(&self) -> &'static str {
        match self {
            Key::Ssh(key) => key.algorithm(),
            Key::OpenPgp(_) => "OpenPGP",
        }
    }

    fn fingerprint(&self) -> String {
        match self {
            Key::Ssh(key) => key.fingerprint(),
            Key::OpenPgp(certificate) => certificate.fingerprint(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Key::Ssh(key) => &key.blob,
            Key::OpenPgp(certificate) => &certificate.bytes,
        }
    }
}

/// Reads one key that is written in place, under a name: an SSH public key or an armoured OpenPGP key.
pub fn read_key(name: &str, text: &str) -> Result<Vec<Listed>, String> {
    let listed = |key| Listed { names: vec![name.to_owned()], key, valid_after: None, valid_before: None };
    if !text.trim_start().starts_with("-----BEGIN PGP") {
        return allowed::read_public_key(text).map(|key| vec![listed(Key::Ssh(key))]);
    }
    let certificates = pgp::read_certificates(text.as_bytes())?;
    certificates.into_iter().map(|certificate| Ok(listed(Key::OpenPgp(Box::new(certificate?))))).collect()
}

/// Reads a file of OpenPGP public keys, armoured or not. Who they are is the addresses in their user ids.
pub fn read_keyring(bytes: &[u8], shown: &str) -> (Vec<Listed>, Vec<Finding>) {
    let help = "write it with `gpg --armor --export ADDRESS…`";
    let wrong = |why: String| Finding::new(format!("this key cannot be used: {why}"), help).at(shown, 1, 1);
    let certificates = match pgp::read_certificates(bytes) {
        Ok(certificates) => certificates,
        Err(why) => return (Vec::new(), vec![Finding::new(format!("it is no file of OpenPGP keys: {why}"), help).at(shown, 1, 1)]),
    };
    let (mut listed, mut findings) = (Vec::new(), Vec::new());
    for certificate in certificates {
        match certificate {
            Ok(certificate) if certificate.names.is_empty() => {
                findings.push(wrong(format!("{} has no user id that holds", certificate.fingerprint())));
            }
            Ok(certificate) => {
                let names = certificate.names.clone();
                listed.push(Listed { names, key: Key::OpenPgp(Box::new(certificate)), valid_after: None, valid_before: None });
            }
            Err(why) => findings.push(wrong(why)),
        }
    }
    (listed, findings)
}

/// All who may sign. One key belongs to one person; one person may have many keys.
#[derive(Clone, Default)]
pub struct Signers {
    /// By person, in the order they were listed.
    people: Vec<Person>,
}

#[derive(Clone)]
struct Person {
    names: Vec<String>,
    keys: Vec<Listed>,
}

impl Signers {
    /// Puts keys together by name: keys that share any name belong to one person. A key of two people is a finding.
    pub fn assemble(listed: Vec<Listed>) -> (Signers, Vec<Finding>) {
        let mut people: Vec<Person> = Vec::new();
        for listed in listed {
            let mut person = Person { names: listed.names.clone(), keys: vec![listed] };
            let (same, others) = people.into_iter().partition(|known| known.names.iter().any(|name| person.names.contains(name)));
            people = others;
            for known in Vec::into_iter(same) {
                let fresh: Vec<String> = person.names.into_iter().filter(|name| !known.names.contains(name)).collect();
                person = Person { names: [known.names, fresh].concat(), keys: [known.keys, person.keys].concat() };
            }
            people.push(person);
        }
        let mut owners: BTreeMap<Digest, &Person> = BTreeMap::new();
        let mut findings = Vec::new();
        for person in &people {
            for listed in &person.keys {
                let owner = owners.entry(Digest::of(listed.key.bytes())).or_insert(person);
                if owner.names != person.names {
                    let message =
                        format!("the key {} is listed for {} and for {}", listed.key.fingerprint(), owner.names[0], person.names[0]);
                    findings.push(Finding::new(message, "a key is one person's: list it once, or under one name"));
                }
            }
        }
        (Signers { people }, findings)
    }

    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// The name a person is shown by; `None` when nobody has this name.
    pub fn known_as(&self, name: &str) -> Option<&str> {
        let person = self.people.iter().find(|person| person.names.iter().any(|known| known == name))?;
        person.names.first().map(String::as_str)
    }

    pub fn names(&self) -> BTreeSet<&str> {
        self.people.iter().flat_map(|person| person.names.iter().map(String::as_str)).collect()
    }

    /// Who may sign, for the record.
    pub fn notes(&self) -> Vec<SignerNote> {
        let note = |person: &Person, listed: &Listed| SignerNote {
            name: person.names.first().cloned().unwrap_or_default(),
            also: person.names.iter().skip(1).cloned().collect(),
            key: format!("{} {}", listed.key.algorithm(), listed.key.fingerprint()),
            digest: Digest::of(listed.key.bytes()),
            valid_after: listed.valid_after,
            valid_before: listed.valid_before,
        };
        self.people.iter().flat_map(|person| person.keys.iter().map(move |listed| note(person, listed))).collect()
    }

    /// Says who made a signature, if it is one of these people, with a key that is valid `now`.
    pub fn judge(&self, signed: &Signed, now: Timestamp) -> Result<Proof, Unproven> {
        match signed.scheme {
            Scheme::Ssh => self.judge_ssh(signed, now),
            Scheme::OpenPgp => self.judge_openpgp(signed, now),
        }
    }

    fn judge_ssh(&self, signed: &Signed, now: Timestamp) -> Result<Proof, Unproven> {
        let signature = SshSignature::read(&signed.signature)?;
        let same = |listed: &&Listed| matches!(&listed.key, Key::Ssh(key) if key.blob == signature.key.blob);
        let fingerprint = format!("{} {}", signature.key.algorithm(), signature.key.fingerprint());
        let mut refused = Unproven::new(format!("it is signed by {fingerprint}, which is not listed among the signers"));
        for person in &self.people {
            for listed in person.keys.iter().filter(same) {
                match listed.valid(now) {
                    Err(why) => refused = Unproven::new(format!("it is signed by {} with {fingerprint}, {why}", person.names[0])),
                    Ok(()) => {
                        signature.verify(&signed.payload)?;
                        return Ok(Proof { name: person.names[0].clone(), key: fingerprint });
                    }
                }
            }
        }
        Err(refused)
    }

    fn judge_openpgp(&self, signed: &Signed, now: Timestamp) -> Result<Proof, Unproven> {
        let signature = pgp::read_signature(&signed.signature)?;
        for person in &self.people {
            for listed in &person.keys {
                let Key::OpenPgp(certificate) = &listed.key else { continue };
                let Some(key) = certificate.key_of(&signature) else { continue };
                let fingerprint = format!("{} {}", key.algorithm(), key.fingerprint());
                let name = &person.names[0];
                key.usable(now).map_err(|why| Unproven::new(format!("it is signed by {name} with {fingerprint}, {why}")))?;
                key.verify(&signature, &signed.payload, now)?;
                return Ok(Proof { name: name.clone(), key: fingerprint });
            }
        }
        Err(Unproven::new(format!("it is signed by OpenPGP {}, which is not listed among the signers", signature.issuer())))
    }
}

impl Listed {
    fn valid(&self, now: Timestamp) -> Result<(), String> {
        match (self.valid_after, self.valid_before) {
            (Some(after), _) if now < after => Err(format!("which is not valid before {after}")),
            (_, Some(before)) if now > before => Err(format!("which is not valid since {before}")),
            _ => Ok(()),
        }
    }
}

/// A signature that holds: whose, and with which key (its algorithm and fingerprint).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub name: String,
    pub key: String,
}

impl Proof {
    /// As it goes on record.
    pub fn on(self, commit: &str, tag: Option<&str>) -> SignatureNote {
        SignatureNote { name: self.name, key: self.key, commit: commit.to_owned(), tag: tag.map(str::to_owned) }
    }
}
