//! A remote repository's objects on this machine: one bare store, shared by all who read the source. It has no work
//! tree, no hooks and no configuration of its own, and may be deleted at any time.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gix::ObjectId;
use gix::remote::Direction;
use gix::remote::fetch::Tags;
use gix_transport::Protocol;
use gix_transport::client::blocking_io::http::Transport;
use trued_doors::{Answer, Secrets};
use trued_model::{Code, Digest, Refusal, Relation};

use super::history;
use super::http::{Identity, Wire};
use super::repository::{Fault, Repository, errno, isolated};
use super::settings::{Credentials, Followed, Limits, Settings};
use super::url::RemoteUrl;

/// Where what is followed, and what was asked for by name, stands in the store.
pub(super) const HERE: &str = "refs/trued/";
/// Where tags that may bear signatures stand in the store.
pub(super) const APPROVALS: &str = "refs/trued/approvals/";
/// How long one process waits between two looks at a lock that another one holds.
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// Most characters of an error that is not in our own words.
const LONGEST_WORDS: usize = 400;
/// How Git's own servers say that they do not have a commit that was asked for by its id.
const NOT_THERE: &str = "not our ref";

/// A store and the way to its remote.
pub(super) struct Store {
    url: RemoteUrl,
    folder: PathBuf,
    followed: Followed,
    /// Tags that are fetched besides: the beginning of their names, and `*`.
    tags: Option<String>,
    credentials: Credentials,
    ca: Option<PathBuf>,
    limits: Limits,
    secrets: Arc<dyn Secrets>,
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
enum Failure {
    /// The other side, or our settings.
    Remote(Refusal),
    /// Perhaps what is here already: a lock that nobody holds, a torn pack.
    Local(String),
}

impl Store {
    /// Names the store below `cache`; touches nothing.
    pub(super) fn new(url: RemoteUrl, settings: &Settings, cache: &Path, secrets: Arc<dyn Secrets>) -> Store {
        Store {
            folder: cache.join(format!("git-{}", Digest::of(url.as_str().as_bytes()).short())),
            url,
            followed: settings.followed.clone(),
            tags: settings.signing.tags(),
            credentials: settings.credentials.clone(),
            ca: settings.ca.clone(),
            limits: settings.limits,
            secrets,
            fetches: AtomicU64::new(0),
            open: Mutex::new(None),
        }
    }

    pub(super) fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    pub(super) fn host(&self) -> String {
        self.url.host()
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
    pub(super) fn fetch(&self, wanted: &[Wanted]) -> Answer<Vec<ObjectId>> {
        let _lock = self.lock()?;
        let before = self.repository().ok().flatten();
        let packs = self.packs();
        create(&self.place()).map_err(|error| self.unwritable(&error))?;
        let found = match self.fetch_into(&self.place(), wanted) {
            Ok(found) => found,
            Err(Failure::Remote(refusal)) => return Err(refusal),
            Err(Failure::Local(why)) => {
                tracing::warn!(host = self.url.host(), why, "the object store is torn, fetching it afresh");
                self.fetch_afresh(wanted)?
            }
        };
        let mut tips = self.tips(&found);
        if let Err(Fault::Torn(torn)) = &tips {
            tracing::warn!(host = self.url.host(), why = %torn.refusal(), "the object store is torn, fetching it afresh");
            tips = self.tips(&self.fetch_afresh(wanted)?);
        }
        let tips = tips.map_err(Fault::refusal)?;
        if self.packs() > packs.max(self.limits.packs) {
            self.repack(&found, before.as_deref(), &tips);
        }
        Ok(tips)
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
        let mut found = match self.fetch_into(&fresh, &all) {
            Ok(found) => found,
            Err(Failure::Remote(refusal)) => return Err(refusal),
            Err(Failure::Local(why)) => {
                let message = format!("fetch from {}: what the server sent cannot be used: {why}", self.url.host());
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
        let lost = |(wanted, tip): (&Wanted, &ObjectId)| {
            let old = before.and_then(|before| history::tip(before, &wanted.here).ok().flatten());
            old.is_some_and(|old| history::relation(&now, old, *tip) == Relation::Rewinds)
        };
        if found.iter().zip(tips).any(lost) {
            return;
        }
        if let Err(refusal) = self.fetch_afresh(found).and_then(|_| self.reopen()) {
            tracing::warn!(host = self.url.host(), packs = self.packs(), why = %refusal, "the object store stays in many packs");
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
    fn fetch_into(&self, place: &Path, wanted: &[Wanted]) -> Result<Vec<Wanted>, Failure> {
        let stopped = || Failure::Remote(Refusal::new(Code::Broken, format!("fetch from {}: the client stopped", self.url.host())));
        std::thread::scope(|scope| scope.spawn(|| self.ask(place, wanted)).join().unwrap_or_else(|_| Err(stopped())))
    }

    fn ask(&self, place: &Path, wanted: &[Wanted]) -> Result<Vec<Wanted>, Failure> {
        let wire = self.wire().map_err(Failure::Remote)?;
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let outcome = wire.outcome();
        let local = |error: gix::Error| Failure::Local(words(&error));
        let remote = |error: gix::Error| {
            let message = format!("fetch from {}: the server does not answer as a Git server: {}", self.url.host(), words(&error));
            Failure::Remote(outcome.take().unwrap_or_else(|| Refusal::new(Code::Invalid, message).help("check the url")))
        };
        let repository = isolated().open(place).map_err(local)?.to_thread_local();
        let url = gix::url::parse(self.url.as_str()).map_err(local)?;
        let mut specs: Vec<String> = wanted.iter().map(|wanted| format!("+{}:{}", wanted.there, wanted.here)).collect();
        specs.extend(self.tags.iter().map(|tags| format!("+refs/tags/{tags}:{APPROVALS}{tags}")));
        let way = repository
            .remote_at_without_url_rewrite(url.clone())
            .and_then(|remote| remote.with_fetch_tags(Tags::None).with_refspecs(specs.iter().map(gix::bstr::BStr::new), Direction::Fetch))
            .map_err(local)?;
        let transport = Transport::new_http(wire, url, Protocol::V2, false);
        let connection = way
            .to_connection_with_transport(transport)
            // Credentials are in the wire's own headers; nobody is asked for others.
            .with_credentials(|_| Ok(None))
            .with_transport_options(Box::new(()));
        let prepared = connection.prepare_fetch(gix::progress::Discard, Default::default()).map_err(remote)?;
        let is_there = |wanted: &&Wanted| {
            let mut mappings = prepared.ref_map().mappings.iter();
            mappings.any(|mapping| mapping.local.as_ref().is_some_and(|local| local == wanted.here.as_str()))
        };
        let found: Vec<Wanted> = wanted.iter().filter(is_there).cloned().collect();
        if found.is_empty() {
            let names: Vec<&str> = wanted.iter().map(|wanted| wanted.there.as_str()).collect();
            let message = format!("fetch from {}: the server has no {}", self.url.host(), names.join(" and no "));
            return Err(Failure::Remote(Refusal::new(Code::Absent, message)));
        }
        let locals = prepared.ref_map().mappings.iter().filter_map(|mapping| mapping.local.as_ref());
        let approvals: HashSet<String> = locals.map(ToString::to_string).filter(|local| local.starts_with(APPROVALS)).collect();
        match prepared.receive(gix::progress::Discard, &AtomicBool::new(false)) {
            Ok(_) => withdraw(&repository, &approvals).map_err(local).map(|()| found),
            Err(error) => Err(match (outcome.take(), words(&error)) {
                (Some(refusal), _) => Failure::Remote(refusal),
                (None, words) if words.contains(NOT_THERE) => {
                    let message = format!("fetch from {}: the server has no such commit", self.url.host());
                    Failure::Remote(Refusal::new(Code::Absent, message))
                }
                (None, words) => Failure::Local(words),
            }),
        }
    }

    /// Prepares a client, with the secret as it is now.
    fn wire(&self) -> Answer<Wire> {
        let identity = match &self.credentials {
            Credentials::None => None,
            Credentials::Token { user, secret } | Credentials::Basic { user, secret } => {
                Some(Identity { user: user.clone(), password: self.secrets.get(secret)? })
            }
        };
        Wire::new(&self.url, identity.as_ref(), self.ca.as_deref(), &self.limits)
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
                    let message = format!("fetch from {}: another process has been fetching for too long", self.url.host());
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

/// Removes the approvals that stand here and no longer at the remote: whoever withdrew a tag vouches no more.
fn withdraw(repository: &gix::Repository, there: &HashSet<String>) -> Result<(), gix::Error> {
    let all = repository.references().map_err(gix::Error::from_error)?;
    for reference in all.prefixed(APPROVALS).map_err(gix::Error::from_error)?.flatten() {
        if !there.contains(&reference.name().as_bstr().to_string()) {
            reference.delete().map_err(gix::Error::from_error)?;
        }
    }
    Ok(())
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

/// What gix says, with its causes, in one line that moves no cursor: a server's words may be in it.
fn words(error: &gix::Error) -> String {
    let mut text = String::new();
    for cause in error.iter_errors() {
        let words = cause.to_string();
        let words: String = words.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect();
        if !text.contains(&words) {
            text = if text.is_empty() { words } else { format!("{text}: {words}") };
        }
    }
    text.chars().take(LONGEST_WORDS).collect()
}
