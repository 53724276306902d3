//! One repository as a source sees it: opened, read whole, fetched again where it is torn, its signatures judged. Blocks.

mod contents;
mod revision;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use gix::ObjectId;
use tokio::runtime::Handle;
use trued_doors::{Answer, Judgement, SourceOpening};
use trued_model::{Code, Commit, Name, Patience, Refusal, Relation, Revision, Timestamp};

use super::held::Held;
use super::history::{self, Descent};
use super::repository::{Fault, Repository};
use super::settings::{self, Followed, Settings};
use super::signed::{self, Question};
use super::signing::Signing;
use super::store::{self, Store, Wanted};
use super::tree::Sizes;
use super::url::Address;
use super::way::Way;
use super::worktree::WorkTree;
use crate::kept::Kept;
use crate::names::{self, Excluded};

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
    held: Held,
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
            held: Held::default(),
        })
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

    pub(super) fn who_and_why(&self, revision: &Revision) -> Answer<Commit> {
        let id = self.commit_id(revision)?;
        match id.is_null() {
            true => Err(self.unborn()),
            false => self.whole(id, |repository| history::commit(repository, id)),
        }
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
