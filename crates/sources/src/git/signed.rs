//! Whether a commit, what came with it, and the files that it changes are signed as the policy asks: who vouches for what
//! is gathered here from objects, and decided by the policy.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gix::ObjectId;
use gix::objs::Kind;
use trued_doors::{Answer, Judgement};
use trued_model::body::LISTED;
use trued_model::{Code, Finding, Name, Refusal, SignatureNote, Timestamp, Verified};
use trued_signatures::{Approvals, Lack, Policy, Scope, Unproven};

use super::history;
use super::news::{self, News, There};
use super::repository::{Fault, Repository};
use super::settings::Limits;
use crate::names;

/// Most tags that are looked through for signatures.
const MOST_TAGS: usize = 20_000;
/// Commits and files that a refusal lists before it only counts.
const TOLD: usize = 5;

/// What is to be judged, and by what.
pub(super) struct Question<'a> {
    pub(super) repository: &'a Repository,
    pub(super) source: &'a Name,
    pub(super) policy: &'a Policy,
    pub(super) head: ObjectId,
    /// The commit that was judged good last, or that the operator vouches for.
    pub(super) since: Option<ObjectId>,
    /// Whether it is the operator who vouches for that one.
    pub(super) trusted: bool,
    /// Paths start there.
    pub(super) folder: &'a [u8],
    /// By name, with the object the reference names.
    pub(super) tags: Vec<(String, ObjectId)>,
    pub(super) limits: &'a Limits,
    pub(super) now: Timestamp,
}

/// Lists tags by their names below a prefix of references: those with one name, or all that begin as `NAME*` says.
pub(super) fn tags_in(repository: &Repository, prefix: &str, which: Option<&str>) -> Answer<Vec<(String, ObjectId)>> {
    let Some(which) = which else { return Ok(Vec::new()) };
    let unreadable = |error: &dyn std::fmt::Display| Refusal::new(Code::Unknown, format!("list the repository's tags: {error}"));
    let fits = |name: &str| which.strip_suffix('*').map_or(name == which, |start| name.starts_with(start));
    repository.with(|handle| {
        let all = handle.references().map_err(|error| unreadable(&error))?;
        let mut tags = Vec::new();
        for reference in all.prefixed(prefix).map_err(|error| unreadable(&error))? {
            let reference = reference.map_err(|error| unreadable(&error))?;
            let full = reference.name().as_bstr().to_string();
            if let (Some(name), Some(id)) = (full.strip_prefix(prefix).filter(|name| fits(name)), reference.target().try_id()) {
                tags.push((name.to_owned(), id.to_owned()));
            }
            if tags.len() > MOST_TAGS {
                let message = format!("list the repository's tags: there are more than {MOST_TAGS}");
                return Err(Refusal::new(Code::TooLarge, message).help("say which of them count: tags: \"approve/*\""));
            }
        }
        Ok(tags)
    })
}

/// Judges a commit. A fault says that the objects do not tell; then nothing is decided.
pub(super) fn judge(question: &Question<'_>) -> Result<Judgement, Fault> {
    let Question { repository, policy, head, since, folder, limits, .. } = *question;
    let news = news::commits(repository, head, since)?;
    if let (Some(since), true, false) = (since, question.trusted, news.follows) {
        if since == head {
            return Ok(question.verified(&news, Vec::new(), 0));
        }
        let message = format!("commit {} does not follow {}, where verification starts", short(head), short(since));
        return Ok(Judgement::Refused(vec![Finding::new(message, "name a commit that it follows: since: COMMIT")]));
    }
    let vouched = question.on_tags(&news)?;
    let mut signatures = Vec::new();
    let mut wrong = Vec::new();
    let mut own = HashMap::new();
    for commit in &news.commits {
        let demanded = *commit == head || policy.scope == Scope::All;
        if !demanded && !policy.has_rules() {
            break;
        }
        let judged = question.own(*commit)?;
        let tags = vouched.get(commit).map(Vec::as_slice).unwrap_or_default();
        if let (true, Err(why), []) = (demanded, &judged, tags) {
            wrong.push((*commit, why.clone()));
        }
        signatures.extend(judged.as_ref().ok().cloned());
        signatures.extend_from_slice(tags);
        own.extend(judged.ok().map(|note| (*commit, note.name)));
    }
    let mut findings = question.unsigned(&wrong)?;
    let mut guarded = 0;
    if policy.has_rules() {
        let differ = news::files(repository, since.filter(|since| *since != head), head, folder, limits)?;
        let differ: BTreeMap<String, There> = differ.into_iter().filter(|(path, _)| policy.guards(path)).collect();
        guarded = differ.len() as u64;
        let approvals = question.approvals(&differ, &news, &own, &vouched)?;
        findings.extend(question.lacking(&policy.lacking(&approvals)));
    }
    if !findings.is_empty() {
        return Ok(Judgement::Refused(findings));
    }
    Ok(question.verified(&news, signatures, guarded))
}

impl Question<'_> {
    /// The verdict that all is as the policy asks.
    fn verified(&self, news: &News, signatures: Vec<SignatureNote>, guarded: u64) -> Judgement {
        let note = self.policy.note();
        let looked_at = news.commits.iter().filter(|commit| self.policy.scope == Scope::All || **commit == self.head).count();
        let verified = Verified {
            source: self.source.clone(),
            policy: note.digest(),
            verify: note.verify.clone(),
            since: self.since.filter(|_| news.follows).map(|id| id.to_string()),
            commits: looked_at as u64,
            count: signatures.len() as u64,
            signatures: signatures.into_iter().take(LISTED).collect(),
            guarded,
        };
        Judgement::Verified(note, Box::new(verified))
    }

    /// Who signed a commit itself.
    fn own(&self, commit: ObjectId) -> Result<Result<SignatureNote, Unproven>, Fault> {
        let bytes = self.repository.object_of(commit, Kind::Commit)?;
        let signed = trued_signatures::commit(&bytes).and_then(|signed| signed.ok_or_else(|| Unproven::new("it is not signed")));
        let proof = signed.and_then(|signed| self.policy.signers.judge(&signed, self.now));
        Ok(proof.map(|proof| proof.on(&commit.to_string(), None)))
    }

    /// Who signed tags on new commits. A tag under another name than it was signed for vouches for nothing: somebody may
    /// have put an old one there.
    fn on_tags(&self, news: &News) -> Result<HashMap<ObjectId, Vec<SignatureNote>>, Fault> {
        let new: BTreeSet<&ObjectId> = news.commits.iter().collect();
        let mut vouched: HashMap<ObjectId, Vec<SignatureNote>> = HashMap::new();
        for (name, id) in &self.tags {
            let Ok((Kind::Tag, bytes)) = self.repository.object(*id) else { continue };
            let Ok(tag) = trued_signatures::tag(&bytes) else { continue };
            let Some(signed) = tag.signed.filter(|_| tag.name == *name) else { continue };
            let Some(commit) = history::commit_of(self.repository, *id).ok().filter(|commit| new.contains(commit)) else { continue };
            if let Ok(proof) = self.policy.signers.judge(&signed, self.now) {
                vouched.entry(commit).or_default().push(proof.on(&commit.to_string(), Some(name)));
            }
        }
        Ok(vouched)
    }

    /// Who vouches for each guarded file as it is in the head: whoever signed a commit that made it so, a merge on the
    /// branch's own line that brought it so, or a tag on a commit where it is so.
    fn approvals(
        &self,
        differ: &BTreeMap<String, There>,
        news: &News,
        own: &HashMap<ObjectId, String>,
        vouched: &HashMap<ObjectId, Vec<SignatureNote>>,
    ) -> Result<Approvals, Fault> {
        let mut approvals: Approvals = differ.keys().map(|path| (path.clone(), BTreeSet::new())).collect();
        let mut count = |path: &str, name: &str| {
            if let Some(people) = approvals.get_mut(path) {
                people.insert(name.to_owned());
            }
        };
        if differ.is_empty() {
            return Ok(approvals);
        }
        for commit in &news.commits {
            if let Some(name) = own.get(commit) {
                let parents = history::step(self.repository, *commit)?.1;
                if news.follows && (parents.len() < 2 || news.line.contains(commit)) {
                    let brought = news::files(self.repository, parents.first().copied(), *commit, self.folder, self.limits)?;
                    brought.iter().filter(|(path, there)| differ.get(*path) == Some(there)).for_each(|(path, _)| count(path, name));
                } else if !news.follows {
                    // Nothing before it is known to be good: whoever signed it vouches for all that is in it.
                    differ.keys().for_each(|path| count(path, name));
                }
            }
            for note in vouched.get(commit).into_iter().flatten() {
                for (path, there) in differ {
                    let path_bytes = names::parse_path(path)?;
                    if news::file(self.repository, *commit, self.folder, &path_bytes)? == *there {
                        count(path, &note.name);
                    }
                }
            }
        }
        Ok(approvals)
    }

    /// Says which commits are not signed as they must be.
    fn unsigned(&self, wrong: &[(ObjectId, Unproven)]) -> Result<Vec<Finding>, Fault> {
        let mut findings = Vec::new();
        for (commit, why) in wrong.iter().take(TOLD) {
            let subject = history::commit(self.repository, *commit)?.subject;
            let subject: String = subject.chars().take(60).collect();
            let message = format!("commit {} ({subject}): {why}", short(*commit));
            let help = match (*commit == self.head, self.policy.scope) {
                (true, Scope::All) => "let a listed signer sign it (git commit --amend --no-edit -S) and push it again",
                (true, _) => "let a listed signer sign it (git commit --amend --no-edit -S), or sign a commit after it",
                (false, _) => {
                    "let a listed signer rewrite what follows (git rebase --exec 'git commit --amend --no-edit -S') and push it again"
                }
            };
            findings.push(Finding::new(message, help));
        }
        if let Some(more) = wrong.len().checked_sub(TOLD).filter(|more| *more > 0) {
            findings.push(Finding::new(format!("and {more} more commits are not signed by a listed signer"), "sign them too"));
        }
        Ok(findings)
    }

    /// Says which files too few people vouch for.
    fn lacking(&self, lacks: &[Lack]) -> Vec<Finding> {
        let head = short(self.head);
        let say = |lack: &Lack| {
            let have = if lack.have.is_empty() { "nobody vouches".to_owned() } else { format!("only {} vouches", lack.have.join(" and ")) };
            let have = if lack.have.len() > 1 { have.replace("vouches", "vouch") } else { have };
            let message = format!(
                "{} in commit {head}: `{}` needs {} of {}, and {have} for it as it is",
                lack.path,
                lack.glob,
                lack.threshold,
                lack.of.join(", ")
            );
            let help = format!("let another of them sign a tag on it: git tag -s -m approved NAME {head} && git push origin NAME");
            Finding::new(message, help)
        };
        let mut findings: Vec<Finding> = lacks.iter().take(TOLD).map(say).collect();
        if let Some(more) = lacks.len().checked_sub(TOLD).filter(|more| *more > 0) {
            findings.push(Finding::new(format!("and {more} more files lack signers"), "the same signed tag counts for all of them"));
        }
        findings
    }
}

fn short(id: ObjectId) -> String {
    id.to_string().chars().take(12).collect()
}
