//! Names and ancestry of commits: which commit a branch, a tag or a word means, whether one descends from another,
//! and who made it. Commits are read from verified objects, not from caches that somebody may have written.

use std::collections::{BinaryHeap, HashSet};

use gix::objs::Kind;

use gix::{ObjectId, hash::Prefix};
use trued_doors::Answer;
use trued_model::{Code, Commit, Refusal, Relation, Timestamp};

use super::repository::{Fault, Repository};
use super::settings::Followed;

/// Commits walked before ancestry counts as undecidable.
const WALKED: usize = 1_000_000;
/// Tags that point to tags, and references that point to references.
const NESTED: usize = 8;
/// Fewest digits of a commit id that a person may type.
const FEWEST_DIGITS: usize = 7;
/// Digits of a whole one.
const LONGEST_ID: usize = 40;

/// The reference in which what is followed stands, in a repository that somebody works in.
pub(super) fn reference_of(followed: &Followed) -> Option<String> {
    match followed {
        Followed::Head => Some("HEAD".to_owned()),
        Followed::Branch(name) => Some(format!("refs/heads/{name}")),
        Followed::Tag(name) => Some(format!("refs/tags/{name}")),
        Followed::Commit(_) => None,
    }
}

/// Follows a reference to its commit, through references and tags; `None` when it does not exist or has no commit yet.
pub(super) fn tip(repository: &Repository, reference: &str) -> Result<Option<ObjectId>, Fault> {
    let mut name = reference.to_owned();
    for _ in 0..NESTED {
        let target = repository.with(|handle| match handle.refs.try_find(name.as_str()) {
            Ok(Some(found)) if found.name.as_bstr() == name.as_str() => Ok(Some(found.target)),
            Ok(_) => Ok(None),
            Err(error) => Err(Refusal::new(Code::Unknown, format!("read reference {name}: {error}"))),
        })?;
        match target {
            None => return Ok(None),
            Some(gix::refs::Target::Object(id)) => return commit_of(repository, id).map(Some),
            Some(gix::refs::Target::Symbolic(next)) => name = next.as_bstr().to_string(),
        }
    }
    Err(Refusal::new(Code::Invalid, format!("read reference {reference}: it leads from one to the next without end")).into())
}

/// Takes tags off an object until it is a commit.
pub(super) fn commit_of(repository: &Repository, id: ObjectId) -> Result<ObjectId, Fault> {
    let mut at = id;
    for _ in 0..NESTED {
        match repository.object(at)? {
            (Kind::Commit, _) => return Ok(at),
            (Kind::Tag, bytes) => {
                let tag = gix::objs::TagRefIter::from_bytes(&bytes, at.kind()).target_id();
                at = tag.map_err(|_| Refusal::new(Code::Invalid, format!("read tag {at}: it is malformed")))?;
            }
            (kind, _) => return Err(Refusal::new(Code::Invalid, format!("read {id} as a commit: it is a {kind}")).into()),
        }
    }
    Err(Refusal::new(Code::Invalid, format!("read tag {id}: it leads from one to the next without end")).into())
}

/// Whether a word can be the beginning of a commit's id.
pub(super) fn is_short_id(typed: &str) -> bool {
    (FEWEST_DIGITS..LONGEST_ID).contains(&typed.len()) && typed.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Finds the commit whose id starts as a person typed it; `None` when there is none, or it is no id.
pub(super) fn typed_id(repository: &Repository, typed: &str) -> Result<Option<ObjectId>, Fault> {
    if !is_short_id(typed) && typed.len() != LONGEST_ID {
        return Ok(None);
    }
    let Ok(prefix) = Prefix::from_hex(&typed.to_ascii_lowercase()) else {
        return Ok(None);
    };
    let found = repository.with(|handle| handle.objects.lookup_prefix(prefix, None));
    match found {
        Ok(None) => Ok(None),
        Ok(Some(Ok(id))) => commit_of(repository, id).map(Some),
        Ok(Some(Err(()))) => Err(Refusal::new(Code::Invalid, format!("find commit {typed}: more than one object starts so")).into()),
        Err(error) => Err(Refusal::new(Code::Unknown, format!("find commit {typed}: {error}")).into()),
    }
}

/// What Git tries for a short name, in its order.
pub(super) fn candidates(name: &str) -> Vec<String> {
    let prefixes = ["", "refs/", "refs/heads/", "refs/tags/", "refs/remotes/"];
    let whole = |full: &String| full == "HEAD" || full.starts_with("refs/");
    let valid = |full: &String| gix::refs::FullName::try_from(full.as_str()).is_ok();
    prefixes.iter().map(|prefix| format!("{prefix}{name}")).filter(whole).filter(valid).collect()
}

/// How one commit stands to an earlier one, as far as the commits that are here tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descent {
    Same,
    Follows,
    Rewinds,
    /// The way back ends at a commit that is not here, as in a shallow history, and the old one may lie behind it.
    Unknown,
}

impl Descent {
    /// What cannot be decided counts as a rewind.
    pub(super) fn relation(self) -> Relation {
        match self {
            Descent::Same => Relation::Same,
            Descent::Follows => Relation::Follows,
            Descent::Rewinds | Descent::Unknown => Relation::Rewinds,
        }
    }
}

/// How much earlier than its parents a commit may say that it was made: nobody's clock is right. Behind commits that are
/// older than this against the one that is looked for, it is not looked for any further.
pub(super) const SKEW: i64 = 24 * 60 * 60;

/// Whether `old` is among the ancestors of `new`: newest commits first, each once.
pub(super) fn descent(repository: &Repository, old: ObjectId, new: ObjectId) -> Descent {
    if old == new {
        return Descent::Same;
    }
    let horizon = time_of(repository, old).map(|time| time.saturating_sub(SKEW));
    let Ok(first) = step(repository, new) else { return Descent::Unknown };
    let mut ahead = BinaryHeap::from([first]);
    let mut seen = HashSet::from([new]);
    let mut unknown = false;
    while let Some((time, parents)) = ahead.pop() {
        if parents.contains(&old) {
            return Descent::Follows;
        }
        for parent in parents {
            if !seen.insert(parent) {
                continue;
            }
            match step(repository, parent) {
                Ok(step) => ahead.push(step),
                Err(_) => unknown |= horizon.is_none_or(|horizon| time >= horizon),
            }
        }
        if seen.len() > WALKED {
            return Descent::Unknown;
        }
    }
    if unknown { Descent::Unknown } else { Descent::Rewinds }
}

/// When a commit says it was made, in seconds; `None` when it is not here.
pub(super) fn time_of(repository: &Repository, commit: ObjectId) -> Option<i64> {
    step(repository, commit).ok().map(|(time, _)| time)
}

/// A commit's time and parents.
pub(super) fn step(repository: &Repository, id: ObjectId) -> Result<(i64, Vec<ObjectId>), Fault> {
    let bytes = repository.object_of(id, Kind::Commit)?;
    let commit = parse(&bytes, id)?;
    let time = commit.committer().map_or(0, |committer| committer.seconds());
    Ok((time, commit.parents().collect()))
}

/// Who made a commit and why.
pub(super) fn commit(repository: &Repository, id: ObjectId) -> Result<Commit, Fault> {
    let bytes = repository.object_of(id, Kind::Commit)?;
    let commit = parse(&bytes, id)?;
    let malformed = |_| Refusal::new(Code::Invalid, format!("read commit {id}: it is malformed"));
    let author = commit.author().map_err(malformed)?;
    let seconds = commit.committer().map_err(malformed)?.seconds();
    let subject = commit.message.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    Ok(Commit {
        id: id.to_string(),
        author: format!("{} <{}>", plain(author.name), plain(author.email)),
        subject: plain(subject.trim_ascii()),
        at: Timestamp(seconds.saturating_mul(1000)),
        parents: commit.parents().map(|parent| parent.to_string()).collect(),
    })
}

fn parse(bytes: &[u8], id: ObjectId) -> Answer<gix::objs::CommitRef<'_>> {
    let malformed = |_| Refusal::new(Code::Invalid, format!("read commit {id}: it is malformed"));
    gix::objs::CommitRef::from_bytes(bytes, id.kind()).map_err(malformed)
}

/// Text that strangers wrote, without what moves a terminal's cursor.
fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect()
}
