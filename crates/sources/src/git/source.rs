//! The door in front of a repository: its blocking work, moved off the async worker.

use std::sync::Arc;

use tokio::runtime::Handle;
use trued_doors::{Answer, BoxFuture, Bundle, Judgement, Source, SourceOpening};
use trued_model::{Commit, Patience, Relation, Revision, Timestamp, Want};

use super::place::Place;
use crate::{Readers, blocking, names};

/// Opens a source. Reads nothing of the repository, asks nobody.
pub(super) fn open(opening: SourceOpening) -> Answer<Arc<dyn Source>> {
    Ok(Arc::new(GitSource { place: Arc::new(Place::new(opening)?), readers: Readers::new() }))
}

struct GitSource {
    place: Arc<Place>,
    readers: Readers,
}

impl GitSource {
    fn place(&self) -> Arc<Place> {
        if let Ok(handle) = Handle::try_current() {
            self.place.attended_by(handle);
        }
        self.place.clone()
    }
}

impl Source for GitSource {
    fn resolve(&self, want: Want) -> BoxFuture<'_, Answer<Revision>> {
        let place = self.place();
        blocking(move || place.resolve(want))
    }

    fn bundle<'a>(&'a self, revision: &'a Revision, folder: &'a str) -> BoxFuture<'a, Answer<Bundle>> {
        let (place, revision, folder) = (self.place(), revision.clone(), folder.to_owned());
        self.readers.read(move || place.bundle(revision, &names::parse_path(&folder)?))
    }

    fn read<'a>(&'a self, revision: &'a Revision, path: &'a str) -> BoxFuture<'a, Answer<Vec<u8>>> {
        let (place, revision, path) = (self.place(), revision.clone(), path.to_owned());
        self.readers.read(move || place.read(&revision, &names::parse_path(&path)?))
    }

    fn list<'a>(&'a self, revision: &'a Revision) -> BoxFuture<'a, Answer<Vec<String>>> {
        let (place, revision) = (self.place(), revision.clone());
        blocking(move || place.list(&revision))
    }

    fn relation<'a>(&'a self, old: &'a Revision, new: &'a Revision) -> BoxFuture<'a, Answer<Relation>> {
        let (place, old, new) = (self.place(), old.clone(), new.clone());
        let decided = blocking(move || place.relation(&old, &new));
        Box::pin(async move {
            match decided.await {
                Err(refusal) if !refusal.passing() => Ok(Relation::Rewinds),
                decided => decided,
            }
        })
    }

    fn commit<'a>(&'a self, revision: &'a Revision) -> BoxFuture<'a, Answer<Commit>> {
        let (place, revision) = (self.place(), revision.clone());
        blocking(move || place.who_and_why(&revision))
    }

    fn verify<'a>(&'a self, revision: &'a Revision, since: Option<&'a str>, now: Timestamp) -> BoxFuture<'a, Answer<Judgement>> {
        let (place, revision, since) = (self.place(), revision.clone(), since.map(str::to_owned));
        blocking(move || place.verify(&revision, since.as_deref(), now))
    }

    fn patience(&self) -> Patience {
        self.place.patience()
    }

    fn fetches(&self) -> u64 {
        self.place.fetches()
    }
}
