//! A remote repository's objects on this machine: one bare store, shared by all who read the source. It has no work
//! tree, no hooks and no configuration of its own, and may be deleted at any time.

use std::fs::{self, File, TryLockError};
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gix::ObjectId;
use tokio::runtime::Handle;
use trued_doors::Answer;
use trued_model::{Code, Digest, Refusal, Relation};

use super::ask::{self, Depth, Question};
use super::history;
use super::repository::{Fault, Repository, errno};
use super::settings::{Followed, Limits, Settings};
use super::watch::Bounds;
use super::way::Way;

/// Where what is followed, and what was asked for by name, stands in the store.
pub(super) const HERE: &str = "refs/trued/";
/// Where tags that may bear signatures stand in the store.
pub(super) const APPROVALS: &str = "refs/trued/approvals/";
/// How long one process waits between two looks at a lock that another one holds.
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// Generations asked for when nothing is known of a commit that must be among them.
const GENERATIONS: NonZeroU32 = NonZeroU32::new(1000).unwrap();

/// A store and the way to its remote.
pub(super) struct Store {
    way: Way,
    folder: PathBuf,
    followed: Followed,
    /// Tags that are fetched besides: the beginning of their names, and `*`.
    tags: Option<String>,
    /// Whether all of the history is kept: who judges signatures reads back to what was judged last.
    whole: bool,
    limits: Limits,
    fetches: AtomicU64,
    open: Mutex<Option<Arc<Repository>>>,
}

/// One thing to fetch: what it is called there and here.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) there: String,
    pub(super) here: String,
}

impl Wanted {
    pub(super) fn followed(followed: &Followed) -> Wanted {
        match followed {
            Followed::Head => Wanted { there: "HEAD".to_owned(), here: format!("{HERE}HEAD") },
            Followed::Branch(name) => Wanted { there: format!("refs/heads/{name}"), here: format!("{HERE}heads/{name}") },
            Followed::Tag(name) => Wanted { there: format!("refs/tags/{name}"), here: format!("{HERE}tags/{name}") },
            Followed::Commit(id) => Wanted { there: id.to_string(), here: format!("{HERE}commits/{id}") },
        }
    }
}

/// Why a fetch into a store failed.
pub(super) enum Failure {
    /// The other side, or our settings.
    Remote(Refusal),
    /// Perhaps what is here already: a lock that nobody holds, a torn pack.
    Local(String),
}

impl Store {
    /// Names the store below `cache`; touches nothing.
    pub(super) fn new(way: Way, settings: &Settings, cache: &Path) -> Store {
        Store {
            folder: cache.join(format!("git-{}", Digest::of(way.url().as_bytes()).short())),
            way,
            followed: settings.followed.clone(),
            tags: settings.signing.tags(),
            whole: settings.signing.asks(),
            limits: settings.limits,
            fetches: AtomicU64::new(0),
            open: Mutex::new(None),
        }
    }

    /// See [`Way::attended_by`].
    pub(super) fn attended_by(&self, handle: Handle) {
        self.way.attended_by(handle);
    }

    pub(super) fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    pub(super) fn host(&self) -> String {
        self.way.host()
    }

    /// The objects that are here; `None` when nothing was fetched yet.
    pub(super) fn repository(&self) -> Answer<Option<Arc<Repository>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.place();
        if !place.is_dir() {
            *open = None;
        } else if open.is_none() {
            *open = Some(Arc::new(Repository::open(&place)?));
        }
        Ok(open.clone())
    }

    /// Asks the remote for all that is wanted and there; gives the commits of what it has, in the order they were wanted.
    /// Of the history before them only what is here already is here.
    pub(super) fn fetch(&self, wanted: &[Wanted]) -> Answer<Vec<ObjectId>> {
        self.fetch_deep(wanted, Depth::Tips)
    }

    fn fetch_deep(&self, wanted: &[Wanted], depth: Depth) -> Answer<Vec<ObjectId>> {
        let _lock = self.lock()?;
        self.fetch_alone(wanted, depth)
    }

    /// Fetches one commit by its id, unless somebody else has just done so.
    pub(super) fn bring(&self, commit: ObjectId) -> Answer<()> {
        let _lock = self.lock()?;
        if self.place().is_dir() && history::commit_of(&*self.reopen()?, commit).is_ok() {
            return Ok(());
        }
        self.fetch_alone(&[Wanted::followed(&Followed::Commit(commit))], Depth::Tips).map(drop)
    }

    /// Fetches while nobody else does.
    fn fetch_alone(&self, wanted: &[Wanted], depth: Depth) -> Answer<Vec<ObjectId>> {
        let before = self.repository().ok().flatten();
        let packs = self.packs();
        create(&self.place()).map_err(|error| self.unwritable(&error))?;
        let mut asked = self.fetch_into(&self.place(), wanted, depth);
        if let Err(Failure::Local(why)) = &asked
            && ask::wants_all(why)
        {
            asked = self.fetch_into(&self.place(), wanted, Depth::Whole);
        }
        let found = match asked {
            Ok(found) => found,
            Err(Failure::Remote(refusal)) => return Err(refusal),
            // Only a part of the history was to come; without it the rest is as good as before.
            Err(Failure::Local(why)) if depth != Depth::Tips => {
                return Err(Refusal::new(Code::Unknown, format!("fetch from {}: {why}", self.host())));
            }
            Err(Failure::Local(why)) => {
                tracing::warn!(host = self.host(), why, "the object store is torn, fetching it afresh");
                self.fetch_afresh(wanted)?
            }
        };
        let mut tips = self.tips(&found);
        if let Err(Fault::Torn(torn)) = &tips {
            tracing::warn!(host = self.host(), why = %torn.refusal(), "the object store is torn, fetching it afresh");
            tips = self.tips(&self.fetch_afresh(wanted)?);
        }
        let tips = tips.map_err(Fault::refusal)?;
        if self.packs() > packs.max(self.limits.packs) {
            self.repack(&found, before.as_deref(), &tips);
        }
        Ok(tips)
    }

    /// Fetches what lies between two commits, so that it can be said whether the newer one descends from the older one.
    pub(super) fn connect(&self, old: ObjectId, new: ObjectId) -> Answer<Arc<Repository>> {
        let time = |store: &Store| store.repository().ok().flatten().and_then(|here| history::time_of(&here, old));
        let since = time(self).or_else(|| {
            // A server that does not have it, or does not give commits by their id, says no.
            self.fetch(&[Wanted::followed(&Followed::Commit(old))]).ok()?;
            time(self)
        });
        let followed = Wanted::followed(&self.followed);
        let here = self.repository()?;
        let is_new = here.and_then(|here| history::tip(&here, &followed.here).ok().flatten()) == Some(new);
        let wanted = if is_new { followed } else { Wanted::followed(&Followed::Commit(new)) };
        let depth = since.map_or(Depth::Generations(GENERATIONS), |time| Depth::Since(time.saturating_sub(history::SKEW)));
        self.fetch_deep(&[wanted], depth)?;
        self.reopen()
    }

    /// Fetches the whole history of what is followed, to find in it what a person typed.
    pub(super) fn unfold(&self) -> Answer<Arc<Repository>> {
        if self.place().join("shallow").exists() {
            self.fetch_deep(&[Wanted::followed(&self.followed)], Depth::Whole)?;
        }
        self.reopen()
    }

    /// Fetches everything again, because something in `torn` is torn, with one commit that must be in it. Whoever comes
    /// while that happens gets what came of it.
    pub(super) fn heal(&self, commit: ObjectId, torn: &Arc<Repository>) -> Answer<Arc<Repository>> {
        let _lock = self.lock()?;
        if let Some(healed) = self.repository()?.filter(|now| !Arc::ptr_eq(now, torn)) {
            let whole = history::commit_of(&healed, commit).is_ok();
            if whole {
                return Ok(healed);
            }
        }
        // A commit that no branch leads to any more may still be had by its id, if the server lets us ask so.
        self.fetch_afresh(&[Wanted::followed(&Followed::Commit(commit))]).or_else(|refusal| match refusal.code {
            Code::Unreachable | Code::TimedOut | Code::Denied => Err(refusal),
            _ => self.fetch_afresh(&[]),
        })?;
        self.reopen()
    }

    /// Fetches into a new store, which then takes the place of the old one: what is wanted, what is followed, and the
    /// branches and tags that were asked for before.
    fn fetch_afresh(&self, wanted: &[Wanted]) -> Answer<Vec<Wanted>> {
        let mut all = wanted.to_vec();
        for more in std::iter::once(Wanted::followed(&self.followed)).chain(self.wanted_before()) {
            if !all.contains(&more) {
                all.push(more);
            }
        }
        let (fresh, dropped) = (self.folder.join("fresh"), self.folder.join("dropped"));
        let unwritable = |error: io::Error| self.unwritable(&error);
        remove(&fresh).and_then(|()| remove(&dropped)).and_then(|()| create(&fresh)).map_err(unwritable)?;
        let asked = match self.fetch_into(&fresh, &all, Depth::Tips) {
            Err(Failure::Local(why)) if ask::wants_all(&why) => self.fetch_into(&fresh, &all, Depth::Whole),
            asked => asked,
        };
        let mut found = match asked {
            Ok(found) => found,
            Err(Failure::Remote(refusal)) => return Err(refusal),
            Err(Failure::Local(why)) => {
                let message = format!("fetch from {}: what the server sent cannot be used: {why}", self.host());
                return Err(Refusal::new(Code::Unknown, message));
            }
        };
        match fs::rename(self.place(), &dropped) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(error)),
            _ => fs::rename(&fresh, self.place()).and_then(|()| remove(&dropped)).map_err(unwritable)?,
        }
        found.retain(|found| wanted.contains(found));
        Ok(found)
    }

    /// Replaces many packs by one, unless a commit that may still be in use could be lost by it. Failing is no harm.
    fn repack(&self, found: &[Wanted], before: Option<&Repository>, tips: &[ObjectId]) {
        let Some(now) = self.repository().ok().flatten() else { return };
        let old = |wanted: &Wanted| before.and_then(|before| history::tip(before, &wanted.here).ok().flatten());
        let lost = |(wanted, tip): (&Wanted, &ObjectId)| {
            old(wanted).is_some_and(|old| history::descent(&now, old, *tip).relation() == Relation::Rewinds)
        };
        if found.iter().zip(tips).any(lost) {
            return;
        }
        // What was newest until now may be what stacks still use.
        let mut all = found.to_vec();
        all.extend(found.iter().filter_map(old).map(|old| Wanted::followed(&Followed::Commit(old))));
        if let Err(refusal) = self.fetch_afresh(&all).and_then(|_| self.reopen()) {
            tracing::warn!(host = self.host(), packs = self.packs(), why = %refusal, "the object store stays in many packs");
        }
    }

    /// The commits of references that were just fetched.
    fn tips(&self, found: &[Wanted]) -> Result<Vec<ObjectId>, Fault> {
        let repository = self.reopen()?;
        let mut tips = Vec::with_capacity(found.len());
        for wanted in found {
            tips.extend(history::tip(&repository, &wanted.here)?);
        }
        Ok(tips)
    }

    /// The branches and tags that stand in the store.
    fn wanted_before(&self) -> Vec<Wanted> {
        let references = |handle: &gix::Repository| -> Option<Vec<String>> {
            let all = handle.references().ok()?;
            let names = all.prefixed(HERE).ok()?.flatten().map(|reference| reference.name().as_bstr().to_string());
            Some(names.collect())
        };
        let names = self.repository().ok().flatten().and_then(|repository| repository.with(references)).unwrap_or_default();
        let followed = |name: &String| {
            let name = name.strip_prefix(HERE)?;
            let branch = name.strip_prefix("heads/").map(|name| Followed::Branch(name.to_owned()));
            branch.or_else(|| name.strip_prefix("tags/").map(|name| Followed::Tag(name.to_owned())))
        };
        names.iter().filter_map(followed).map(|followed| Wanted::followed(&followed)).collect()
    }

    /// Asks the remote on a thread of its own: the client runs a small runtime, which may not end inside another one.
    fn fetch_into(&self, place: &Path, wanted: &[Wanted], depth: Depth) -> Result<Vec<Wanted>, Failure> {
        let depth = if self.whole { Depth::Whole } else { depth };
        let stopped = || Failure::Remote(Refusal::new(Code::Broken, format!("fetch from {}: the client stopped", self.host())));
        self.fetches.fetch_add(1, Ordering::Relaxed);
        std::thread::scope(|scope| scope.spawn(|| self.ask(place, wanted, depth)).join().unwrap_or_else(|_| Err(stopped())))
    }

    fn ask(&self, place: &Path, wanted: &[Wanted], depth: Depth) -> Result<Vec<Wanted>, Failure> {
        let here = Arc::new(Repository::open(place).map_err(|refusal| Failure::Local(refusal.message))?);
        let bounds = Bounds::new(self.host(), &self.limits, here.clone());
        let (transport, spoken) = self.way.open(&self.folder, &bounds, &self.limits).map_err(Failure::Remote)?;
        let question = Question { wanted, approvals: self.tags.as_deref(), depth };
        let asked = ask::ask(&here, &self.way.name(), transport, &question, &bounds);
        // What ssh says of itself says more than a pipe that broke.
        match (asked, spoken) {
            (asked, None) => asked.map_err(|failed| failed.failure(&bounds, None)),
            (Ok(found), Some(spoken)) => {
                drop(spoken);
                Ok(found)
            }
            (Err(failed), Some(spoken)) => {
                let said = spoken.end(&bounds.host);
                Err(failed.failure(&bounds, said))
            }
        }
    }

    fn place(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn reopen(&self) -> Answer<Arc<Repository>> {
        let repository = Arc::new(Repository::open(&self.place())?);
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(repository.clone());
        Ok(repository)
    }

    fn packs(&self) -> u64 {
        let packs = fs::read_dir(self.place().join("objects/pack")).into_iter().flatten().flatten();
        packs.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack")).count() as u64
    }

    /// Keeps other fetches out, of this process and of others, until the file is dropped.
    fn lock(&self) -> Answer<File> {
        let unwritable = |error: io::Error| self.unwritable(&error);
        fs::create_dir_all(&self.folder).map_err(unwritable)?;
        let file = File::options().create(true).truncate(false).write(true).open(self.folder.join("lock")).map_err(unwritable)?;
        let until = Instant::now() + self.limits.fetch_time.to_std();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(unwritable(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    let message = format!("fetch from {}: another process has been fetching for too long", self.host());
                    return Err(Refusal::new(Code::TimedOut, message));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            }
        }
    }

    fn unwritable(&self, error: &io::Error) -> Refusal {
        let message = format!("keep objects in {}: {error}", self.folder.display());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Refusal::new(Code::Full, message).help("make room; it is tried again")
            }
            _ => crate::disk::refuse(&format!("the object store in {}", self.folder.display()), errno(error)),
        }
    }
}

/// Makes an empty bare store, if there is none; complete or not at all.
fn create(place: &Path) -> io::Result<()> {
    if place.is_dir() {
        return Ok(());
    }
    let half = place.with_extension("half");
    remove(&half)?;
    fs::create_dir_all(half.join("objects/pack"))?;
    fs::create_dir_all(half.join("objects/info"))?;
    fs::create_dir_all(half.join("refs"))?;
    fs::write(half.join("config"), "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")?;
    fs::write(half.join("HEAD"), "ref: refs/heads/none\n")?;
    fs::rename(half, place)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
