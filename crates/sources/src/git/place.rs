//! One repository as a source sees it: which revision is meant, and what lies at a path of it. Blocks.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use gix::ObjectId;
use gix::objs::Kind;
use gix::objs::tree::EntryKind;
use tokio::runtime::Handle;
use trued_doors::{Answer, Bundle, Judgement, SourceOpening};
use trued_model::{Code, Commit, Name, Patience, Refusal, Relation, Revision, Timestamp, Want, encode_path};

use super::history::{self, Descent};
use super::reader::Reader;
use super::repository::{Fault, Repository};
use super::settings::{self, Followed, Settings};
use super::signed::{self, Question};
use super::signing::Signing;
use super::store::{self, Store, Wanted};
use super::tree::{self, Leaves, Sizes};
use super::url::Address;
use super::way::Way;
use super::worktree::{self, Look, WorkTree};
use crate::kept::Kept;
use crate::names::{self, Excluded, Rule};

/// Where the objects are.
enum Home {
    /// On this machine, in place.
    Local {
        path: PathBuf,
        open: Mutex<Option<Arc<Repository>>>,
    },
    Remote(Box<Store>),
}

pub(super) struct Place {
    name: Name,
    own: bool,
    /// The folder all paths start from, below the repository's root.
    pub(super) folder: Vec<u8>,
    excluded: Excluded,
    followed: Followed,
    signing: Signing,
    patience: Patience,
    limits: settings::Limits,
    home: Home,
    work_trees: Kept<WorkTree>,
    sizes: Sizes,
}

/// What a revision's id says.
pub(super) enum At {
    Commit(ObjectId),
    WorkTree(Arc<WorkTree>),
}

/// What separates a commit's id from the word for a working tree that differs from it.
const DIRTY: &str = "+dirty.";

impl Place {
    /// Reads the settings. Reads nothing of the repository, asks nobody.
    pub(super) fn new(opening: SourceOpening) -> Answer<Place> {
        let SourceOpening { spec, cache, secrets, runner, .. } = opening;
        let wrong = |refusal: Refusal| Refusal { message: format!("open source {}: {}", spec.name, refusal.message), ..refusal };
        let settings = settings::parse(&spec.settings).map_err(wrong)?;
        let home = match &settings.address {
            Address::Local(path) => Home::Local { path: path.clone(), open: Mutex::new(None) },
            Address::Web(url) => Home::Remote(Box::new(Store::new(Way::over_web(url.clone(), &settings, secrets), &settings, &cache))),
            Address::Ssh(url) => {
                Home::Remote(Box::new(Store::new(Way::over_ssh(url.clone(), &settings, secrets, runner), &settings, &cache)))
            }
        };
        let Settings { own, folder, exclude, followed, signing, patience, limits, .. } = settings;
        Ok(Place {
            folder: names::parse_path(&folder).map_err(wrong)?,
            excluded: Excluded::parse(&exclude).map_err(wrong)?,
            name: spec.name.clone(),
            own,
            followed,
            signing,
            patience,
            limits,
            home,
            work_trees: Kept::default(),
            sizes: Sizes::default(),
        })
    }

    pub(super) fn resolve(&self, want: Want) -> Answer<Revision> {
        let id = match want {
            Want::Newest => self.newest()?.to_string(),
            Want::Known => self.known()?.to_string(),
            Want::WorkTree => self.work_tree()?,
            Want::Named(name) => self.named(&name)?.to_string(),
        };
        Ok(Revision { source: self.name.clone(), id })
    }

    /// Remembers the executor that calls are made from.
    pub(super) fn attended_by(&self, handle: Handle) {
        if let Home::Remote(store) = &self.home {
            store.attended_by(handle);
        }
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    pub(super) fn fetches(&self) -> u64 {
        match &self.home {
            Home::Local { .. } => 0,
            Home::Remote(store) => store.fetches(),
        }
    }

    /// The newest commit of what is followed.
    fn newest(&self) -> Answer<ObjectId> {
        match (&self.home, &self.followed) {
            (Home::Local { .. }, _) => self.local_tip(),
            // A commit never changes: once it is here, nobody needs to be asked for it.
            (Home::Remote(store), Followed::Commit(id)) => match store.repository()?.map(|here| history::commit_of(&here, *id)) {
                Some(Ok(commit)) => Ok(commit),
                _ => self.fetched(store),
            },
            (Home::Remote(store), _) => self.fetched(store),
        }
    }

    fn fetched(&self, store: &Store) -> Answer<ObjectId> {
        let before = self.known().ok();
        let fetched = store.fetch(&[Wanted::followed(&self.followed)])?;
        let tip = fetched.first().copied().ok_or_else(|| self.absent("what it follows", "the server has no such reference"))?;
        // More than one step at once: what lies between is fetched as well, while the server is there to be asked.
        if let Some(before) = before
            && history::descent(&*self.opened(store)?, before, tip) == Descent::Unknown
        {
            store.connect(before, tip).map(drop).or_else(|refusal| if refusal.passing() { Err(refusal) } else { Ok(()) })?;
        }
        Ok(tip)
    }

    /// The newest commit that is here already.
    fn known(&self) -> Answer<ObjectId> {
        let Home::Remote(store) = &self.home else { return self.local_tip() };
        let nothing = || self.absent("a revision", "nothing was fetched yet").help("let it fetch: plan, apply, reconcile and serve do");
        let repository = store.repository()?.ok_or_else(nothing)?;
        let here = match &self.followed {
            Followed::Commit(id) => history::commit_of(&repository, *id).ok(),
            followed => history::tip(&repository, &Wanted::followed(followed).here).map_err(Fault::refusal)?,
        };
        here.ok_or_else(nothing)
    }

    fn local_tip(&self) -> Answer<ObjectId> {
        let repository = self.reopened()?;
        let tip = match (&self.followed, history::reference_of(&self.followed)) {
            (Followed::Commit(id), _) => history::commit_of(&repository, *id).map(Some),
            (_, Some(reference)) => history::tip(&repository, &reference),
            (_, None) => Ok(None),
        };
        tip.map_err(Fault::refusal)?.ok_or_else(|| match &self.followed {
            Followed::Branch(name) => self.absent(&format!("branch {name}"), "the repository has no such branch, or it has no commit yet"),
            Followed::Tag(name) => self.absent(&format!("tag {name}"), "the repository has no such tag"),
            Followed::Head | Followed::Commit(_) => self.unborn(),
        })
    }

    /// The working tree's revision; what it holds is kept, to be read under that revision.
    fn work_tree(&self) -> Answer<String> {
        match self.look()? {
            Look::Clean(commit) => Ok(commit.to_string()),
            Look::Dirty(tree) => {
                let id = tree.id.clone();
                self.work_trees.keep(Arc::new(tree), |kept| kept.id == id);
                Ok(id)
            }
        }
    }

    fn look(&self) -> Answer<Look> {
        let path = match &self.home {
            Home::Local { path, .. } if self.own => path,
            _ => {
                let message = format!("read the working tree of source {}: it is not the configuration's own repository", self.name);
                return Err(Refusal::new(Code::Unsupported, message));
            }
        };
        let repository = self.reopened()?;
        let head = history::tip(&repository, "HEAD").map_err(Fault::refusal)?;
        let left_out = |path: &[u8]| names::below(&self.folder, path).is_some_and(|path| self.excluded.has(path));
        worktree::look(&repository, path, head, &self.limits, &left_out).map_err(Fault::refusal)
    }

    /// The commit a person named: by its id if it is here, otherwise by the name of a branch or a tag.
    fn named(&self, name: &str) -> Answer<ObjectId> {
        let unknown = || self.absent(&format!("revision {name:?}"), "it is neither a branch, a tag nor a commit");
        if name == "HEAD" {
            return self.known();
        }
        match &self.home {
            Home::Local { .. } => {
                let repository = self.reopened()?;
                for reference in history::candidates(name) {
                    if let Some(commit) = history::tip(&repository, &reference).map_err(Fault::refusal)? {
                        return Ok(commit);
                    }
                }
                history::typed_id(&repository, name).map_err(Fault::refusal)?.ok_or_else(unknown)
            }
            Home::Remote(store) => {
                if let Some(repository) = store.repository()?
                    && let Some(commit) = history::typed_id(&repository, name).map_err(Fault::refusal)?
                {
                    return Ok(commit);
                }
                let wanted: Vec<Wanted> = match ObjectId::from_hex(name.as_bytes()) {
                    Ok(id) => vec![Wanted::followed(&Followed::Commit(id))],
                    Err(_) => {
                        let short = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).unwrap_or(name);
                        let name = settings::reference("revision", "refs/heads/", short)?;
                        [Followed::Branch(name.clone()), Followed::Tag(name)].iter().map(Wanted::followed).collect()
                    }
                };
                match store.fetch(&wanted) {
                    // It may be the beginning of an id further back than what was fetched so far.
                    Err(refusal) if refusal.code == Code::Absent && history::is_short_id(name) => {
                        history::typed_id(&*store.unfold()?, name).map_err(Fault::refusal)?.ok_or(refusal)
                    }
                    fetched => fetched?.first().copied().ok_or_else(unknown),
                }
            }
        }
    }

    pub(super) fn relation(&self, old: &Revision, new: &Revision) -> Answer<Relation> {
        if old.id == new.id {
            return Ok(Relation::Same);
        }
        let (old, new) = (self.commit_id(old)?, self.commit_id(new)?);
        if old == new || old.is_null() {
            return Ok(Relation::Follows);
        }
        let descent = history::descent(&*self.repository()?, old, new);
        Ok(match (&self.home, descent) {
            (Home::Remote(store), Descent::Unknown) => history::descent(&*store.connect(old, new)?, old, new),
            _ => descent,
        }
        .relation())
    }

    /// Judges the signatures of a revision. What is read here is hashed again when it is read, as all objects are, so the
    /// verdict is about the bytes that any later reading of this commit gives.
    pub(super) fn verify(&self, revision: &Revision, since: Option<&str>, now: Timestamp) -> Answer<Judgement> {
        if !self.signing.asks() {
            return Ok(Judgement::Unasked);
        }
        let policy = match self.signing.policy() {
            Ok(policy) => policy,
            Err(wrong) => return Ok(Judgement::Refused(wrong.into_iter().map(|(_, finding)| finding).collect())),
        };
        if since == Some(revision.id.as_str()) {
            return Ok(Judgement::Known(policy.note()));
        }
        let At::Commit(head) = self.at(revision)? else {
            return Err(Refusal::new(Code::Unsupported, "a working tree bears no signature").help("commit and sign it"));
        };
        let trusted = since.is_none() && policy.since.is_some();
        let since = since.or(policy.since.as_deref()).map(settings::commit_id).transpose()?;
        self.whole(head, |repository| {
            let tags = match &self.home {
                Home::Local { .. } => signed::tags_in(repository, "refs/tags/", policy.tags.as_deref())?,
                Home::Remote(_) => signed::tags_in(repository, store::APPROVALS, policy.tags.as_deref())?,
            };
            let followed = match (&self.home, &self.followed) {
                (Home::Local { .. }, Followed::Tag(name)) => signed::tags_in(repository, "refs/tags/", Some(name))?,
                (Home::Remote(_), Followed::Tag(name)) => signed::tags_in(repository, &format!("{}tags/", store::HERE), Some(name))?,
                _ => Vec::new(),
            };
            let tags = [tags, followed].concat();
            let (folder, limits) = (self.folder.as_slice(), &self.limits);
            signed::judge(&Question { repository, source: &self.name, policy: &policy, head, since, trusted, folder, tags, limits, now })
        })
    }

    pub(super) fn bundle(self: &Arc<Place>, revision: Revision, folder: &[u8]) -> Answer<Bundle> {
        let at = self.at(&revision)?;
        let from = names::join(&self.folder, folder);
        let mut leaves = self.leaves(&at, folder, Rule::Writable)?;
        leaves.retain(|path, _| !self.excluded.has(&names::join(folder, path)));
        let assembled = self.whole(at.commit(), |repository| {
            let mut leaves = leaves.clone();
            self.sizes.learn(repository, &mut leaves)?;
            tree::assemble(&leaves, &from, &self.limits, |path, leaf| match &at {
                At::Commit(_) => repository.object_of(leaf.id, Kind::Blob),
                At::WorkTree(tree) => tree.read(repository, &names::join(&from, path), leaf),
            })
        })?;
        let entries = Arc::new(assembled.entries);
        let reader = Reader { place: self.clone(), at, folder: folder.to_vec(), entries: entries.clone() };
        Ok(Bundle { revision, folder: encode_path(folder), digest: assembled.digest.to_string(), entries, reader: Arc::new(reader) })
    }

    /// All leaves below a folder, by their path from there; `Code::Absent` when there is no such folder.
    fn leaves(&self, at: &At, folder: &[u8], rule: Rule) -> Answer<Leaves> {
        let from = names::join(&self.folder, folder);
        let absent = |why: &str| self.absent(&format!("folder {}", encode_path(&from)), why);
        match at {
            At::Commit(commit) => self.whole(*commit, |repository| {
                let root = tree::of_commit(repository, *commit)?;
                match tree::find(repository, root, &from)? {
                    None if self.own => {
                        Err(absent("there is no such folder").help("only what Git records counts: perhaps it is ignored, or empty").into())
                    }
                    None => Err(absent("there is no such folder").into()),
                    Some((mode, _)) if mode.is_commit() => {
                        Err(names::refuse(&from, "it is a submodule, and submodules are not followed").into())
                    }
                    Some((mode, _)) if !mode.is_tree() => Err(absent("it is a file").into()),
                    Some((_, tree)) => tree::leaves(repository, tree, &from, rule, &self.limits),
                }
            }),
            At::WorkTree(tree) => {
                let begins = if from.is_empty() { Vec::new() } else { [&from[..], b"/"].concat() };
                let inside = tree.leaves.range(begins.clone()..).take_while(|(path, _)| path.starts_with(&begins));
                let leaves: Leaves = inside.map(|(path, leaf)| (path[begins.len()..].to_vec(), leaf.clone())).collect();
                if leaves.is_empty() && !from.is_empty() {
                    return Err(absent("there is no such folder").help("only what Git records counts: perhaps it is ignored, or empty"));
                }
                if rule == Rule::Writable {
                    leaves.keys().try_for_each(|path| names::check(&names::join(&from, path)))?;
                }
                Ok(leaves)
            }
        }
    }

    /// The paths of all files.
    pub(super) fn list(&self, revision: &Revision) -> Answer<Vec<String>> {
        let leaves = self.leaves(&self.at(revision)?, b"", Rule::Sound)?;
        let files = leaves.iter().filter(|(_, leaf)| matches!(leaf.kind, EntryKind::Blob | EntryKind::BlobExecutable));
        Ok(files.map(|(path, _)| encode_path(path)).collect())
    }

    pub(super) fn who_and_why(&self, revision: &Revision) -> Answer<Commit> {
        let id = self.commit_id(revision)?;
        match id.is_null() {
            true => Err(self.unborn()),
            false => self.whole(id, |repository| history::commit(repository, id)),
        }
    }

    pub(super) fn read(&self, revision: &Revision, path: &[u8]) -> Answer<Vec<u8>> {
        let at = self.at(revision)?;
        let full = names::join(&self.folder, path);
        let absent = |why: &str| self.absent(&encode_path(&full), why);
        self.whole(at.commit(), |repository| {
            let found = match &at {
                At::Commit(commit) => {
                    let found = tree::find(repository, tree::of_commit(repository, *commit)?, &full)?;
                    found.map(|(mode, id)| tree::Leaf { kind: mode.kind(), id, bytes: None })
                }
                At::WorkTree(tree) => tree.leaves.get(&full).cloned(),
            };
            let leaf = found.ok_or_else(|| absent("there is no such file"))?;
            match (leaf.kind, &at) {
                (EntryKind::Blob | EntryKind::BlobExecutable, At::Commit(_)) => repository.object_of(leaf.id, Kind::Blob),
                (EntryKind::Blob | EntryKind::BlobExecutable, At::WorkTree(tree)) => tree.read(repository, &full, &leaf),
                (EntryKind::Link, _) => Err(names::refuse(&full, "it is a link, and links are not followed here").into()),
                (EntryKind::Tree, _) => Err(absent("it is a folder").into()),
                (EntryKind::Commit, _) => Err(names::refuse(&full, "it is a submodule, and submodules are not followed").into()),
            }
        })
    }

    fn at(&self, revision: &Revision) -> Answer<At> {
        if !revision.id.contains(DIRTY) {
            return self.commit_id(revision).map(At::Commit);
        }
        if let Some(tree) = self.work_trees.find(|kept| kept.id == revision.id) {
            return Ok(At::WorkTree(tree));
        }
        // Another process saw it; it may still be as it was then.
        self.work_tree()?;
        self.work_trees.find(|kept| kept.id == revision.id).map(At::WorkTree).ok_or_else(|| {
            let message =
                format!("read revision {} of source {}: the working tree is no longer as it was then", revision.short(), self.name);
            Refusal::new(Code::Changed, message)
        })
    }

    /// The commit of a revision; for a working tree the one beside it.
    fn commit_id(&self, revision: &Revision) -> Answer<ObjectId> {
        let id = revision.id.split_once(DIRTY).map_or(revision.id.as_str(), |(commit, _)| commit);
        settings::commit_id(id)
    }

    /// Does reading that needs whole objects. What is missing or torn in the store of a remote is fetched again; a
    /// repository on this machine is opened again, because somebody may just have packed it.
    pub(super) fn whole<T>(&self, commit: impl Into<Option<ObjectId>>, work: impl Fn(&Repository) -> Result<T, Fault>) -> Answer<T> {
        let first = self.repository()?;
        let torn = match work(&first) {
            Err(Fault::Torn(torn)) => torn,
            other => return other.map_err(Fault::refusal),
        };
        let (store, commit) = match (&self.home, commit.into()) {
            (Home::Local { .. }, _) => return work(&*self.reopened()?).map_err(Fault::refusal),
            (Home::Remote(_), None) => return Err(torn.refusal()),
            (Home::Remote(store), Some(commit)) => (store, commit),
        };
        if torn.is_missing(commit) {
            // Not damage: it is only not here. Whoever has been rewritten on the other side is gone for good.
            store.bring(commit).map_err(unreadable)?;
            match work(&*self.repository()?) {
                Err(Fault::Torn(_)) => {}
                other => return other.map_err(Fault::refusal),
            }
        }
        tracing::warn!(source = %self.name, why = %torn.refusal(), "the object store is torn, fetching it afresh");
        work(&*store.heal(commit, &first).map_err(unreadable)?).map_err(|fault| match fault {
            Fault::Refused(refusal) => refusal,
            Fault::Torn(torn) => {
                let message = format!("{}, and {} does not have it whole either", torn.refusal().message, store.host());
                Refusal::new(Code::Unreachable, message).help("the revision is gone from the source")
            }
        })
    }

    /// The objects as they were opened last.
    fn repository(&self) -> Answer<Arc<Repository>> {
        match &self.home {
            Home::Remote(store) => match store.repository()? {
                Some(repository) => Ok(repository),
                None => store.fetch(&[Wanted::followed(&self.followed)]).map_err(unreadable).and_then(|_| self.opened(store)),
            },
            Home::Local { open, .. } => {
                let opened = open.lock().unwrap_or_else(PoisonError::into_inner).clone();
                opened.map_or_else(|| self.reopened(), Ok)
            }
        }
    }

    fn opened(&self, store: &Store) -> Answer<Arc<Repository>> {
        store.repository()?.ok_or_else(|| Refusal::new(Code::Unknown, format!("read source {}: its objects vanished", self.name)))
    }

    /// The objects as they are now: a repository that somebody works in is opened again, to see new packs and settings.
    fn reopened(&self) -> Answer<Arc<Repository>> {
        match &self.home {
            Home::Remote(_) => self.repository(),
            Home::Local { path, open } => {
                let repository = Arc::new(Repository::open(path).map_err(unreadable)?);
                *open.lock().unwrap_or_else(PoisonError::into_inner) = Some(repository.clone());
                Ok(repository)
            }
        }
    }

    pub(super) fn absent(&self, what: &str, why: &str) -> Refusal {
        Refusal::new(Code::Absent, format!("find {what} in source {}: {why}", self.name))
    }

    fn unborn(&self) -> Refusal {
        self.absent("a commit", "the repository has no commit yet").help("commit first: git add -A && git commit")
    }
}

/// A repository or a commit that is gone says nothing about what is in it: that is not an absent folder, it cannot be read.
fn unreadable(refusal: Refusal) -> Refusal {
    match refusal.code {
        Code::Absent => Refusal { code: Code::Unreachable, ..refusal },
        _ => refusal,
    }
}

impl At {
    pub(super) fn commit(&self) -> Option<ObjectId> {
        match self {
            At::Commit(id) => Some(*id),
            At::WorkTree(_) => None,
        }
    }
}
