//! Which revision is meant: what is followed, what is here, the working tree, or what a person named.

use std::sync::Arc;

use gix::ObjectId;
use trued_doors::Answer;
use trued_model::{Code, Refusal, Revision, Want};

use super::{Home, Place};
use crate::git::history::{self, Descent};
use crate::git::repository::Fault;
use crate::git::settings::{self, Followed};
use crate::git::store::{Store, Wanted};
use crate::git::worktree::{self, Look};
use crate::names;

impl Place {
    pub(in crate::git) fn resolve(&self, want: Want) -> Answer<Revision> {
        let id = match want {
            Want::Newest => self.newest()?.to_string(),
            Want::Known => self.known()?.to_string(),
            Want::WorkTree => self.work_tree()?,
            Want::Named(name) => self.named(&name)?.to_string(),
        };
        Ok(Revision { source: self.name.clone(), id })
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
    pub(super) fn work_tree(&self) -> Answer<String> {
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
}
