//! The folders that changes lie in: made where they are missing, removed again where we made them and they are empty,
//! and made durable once a batch is in place.

use std::collections::BTreeSet;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use trued_model::{Refusal, encode_path};

use crate::below::{folder_of, last_name};
use crate::own::{Made, OwnFolder, Stage};
use crate::probe::Moment;
use crate::root::{Barrier, Root, refusal};
use crate::rules::Attributes;
use crate::stage::{ONE_BY_ONE, make_folder};
use crate::tree::Tree;

/// The stage's name for a folder on its way to its place.
const ON_THE_WAY: &str = "folder";

pub(crate) struct Folders<'a> {
    tree: &'a Tree,
    root: &'a Root,
    own: &'a OwnFolder,
    stage: &'a Stage,
    /// The list of those we made, read when first needed.
    made: Option<Made<'a>>,
    /// Those whose listings changed.
    touched: BTreeSet<Vec<u8>>,
    /// Those from which something was removed.
    thinned: BTreeSet<Vec<u8>>,
    /// Those that the batch itself wants to be there.
    wanted: BTreeSet<&'a [u8]>,
}

impl<'a> Folders<'a> {
    pub fn new(tree: &'a Tree, root: &'a Root, own: &'a OwnFolder, stage: &'a Stage, wanted: BTreeSet<&'a [u8]>) -> Folders<'a> {
        Folders { tree, root, own, stage, made: None, touched: BTreeSet::new(), thinned: BTreeSet::new(), wanted }
    }

    /// Notes that something was put into a folder.
    pub fn touch(&mut self, folder: &[u8]) {
        self.touched.insert(folder.to_vec());
    }

    /// Notes that something was removed from a folder.
    pub fn thin(&mut self, folder: &[u8]) {
        self.touched.insert(folder.to_vec());
        self.thinned.insert(folder.to_vec());
    }

    /// Notes a folder as made by us, before it is made: a crash leaves a note without a folder, not the reverse.
    pub fn own(&mut self, folder: &[u8]) -> rustix::io::Result<()> {
        self.made()?.add(folder)
    }

    /// Notes that a folder of ours is gone, or no folder any more.
    pub fn disown(&mut self, folder: &[u8]) -> rustix::io::Result<()> {
        let made = self.made()?;
        if made.has(folder) { made.remove(folder) } else { Ok(()) }
    }

    /// Makes the folders that are missing down to a path, each with its mode from the beginning.
    pub fn make(&mut self, path: &[u8]) -> Result<(), Refusal> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            match self.root.folder(&path[..end]) {
                Ok(_) => {}
                Err(Barrier::Missing) => self.make_one(&path[..end])?,
                Err(barrier) => return Err(barrier.refusal()),
            }
        }
        Ok(())
    }

    fn make_one(&mut self, path: &[u8]) -> Result<(), Refusal> {
        let outer = self.root.folder(folder_of(path)).map_err(Barrier::refusal)?;
        let made = self.tree.probe.at(Moment::Folder).and_then(|()| self.own(path)).and_then(|()| {
            make_folder(self.stage.fd(), ON_THE_WAY, &Attributes::default())?;
            let renaming = self.tree.probe.at(Moment::Renaming);
            let alone = RenameFlags::NOREPLACE;
            match renaming.and_then(|()| rustix::fs::renameat_with(self.stage.fd(), ON_THE_WAY, &outer, last_name(path), alone)) {
                // Somebody else made it meanwhile: as good.
                Err(Errno::EXIST) => self.stage.remove(self.own, ON_THE_WAY),
                Err(Errno::INVAL) => rustix::fs::renameat(self.stage.fd(), ON_THE_WAY, &outer, last_name(path)),
                other => other,
            }
        });
        made.map_err(|errno| refusal(errno, &format!("make the folder {}", encode_path(path))))?;
        self.touched.insert(folder_of(path).to_vec());
        Ok(())
    }

    /// Removes the folders that we made and that are empty now. After an interrupted batch all are looked at, because it
    /// may have emptied some and not come to remove them.
    pub fn remove_empty(&mut self, interrupted: bool) {
        let thinned = std::mem::take(&mut self.thinned).into_iter().rev().collect();
        let from = if interrupted { self.made().map(|made| made.deepest_first()) } else { Ok(thinned) };
        if let Err(errno) = from.and_then(|from| self.remove_if_empty(from)) {
            tracing::warn!(%errno, "empty folders stay behind");
        }
    }

    /// The same at once, for what lies in one folder that something else is to replace.
    pub fn remove_empty_in(&mut self, folder: &[u8]) -> rustix::io::Result<()> {
        let inside = |path: &[u8]| path.strip_prefix(folder).is_some_and(|rest| rest.first() == Some(&b'/'));
        let from = self.thinned.iter().rev().filter(|path| inside(path)).cloned().collect();
        self.remove_if_empty(from)
    }

    /// Removes these folders if they are empty, and then those they lie in.
    fn remove_if_empty(&mut self, from: Vec<Vec<u8>>) -> rustix::io::Result<()> {
        for path in from {
            let mut path = path.as_slice();
            while !path.is_empty() && !self.wanted.contains(path) && !self.tree.is_asked_for(path) && self.made()?.has(path) {
                let Ok(outer) = self.root.folder(folder_of(path)) else { break };
                match rustix::fs::unlinkat(&outer, last_name(path), AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(_) => break,
                }
                self.disown(path)?;
                self.touched.insert(folder_of(path).to_vec());
                path = folder_of(path);
            }
        }
        Ok(())
    }

    /// Makes the folders' listings durable, and with them what was put in place.
    pub fn settle(&mut self) -> rustix::io::Result<()> {
        if self.touched.len() > ONE_BY_ONE {
            return self.own.sync_all();
        }
        for folder in &self.touched {
            match self.root.folder_to_read(folder) {
                Ok(open) => rustix::fs::fsync(open)?,
                // Removed again in this batch; the folder it lay in is touched too.
                Err(Barrier::Missing | Barrier::File(_)) => {}
                Err(_) => return self.own.sync_all(),
            }
        }
        self.made.as_mut().map_or(Ok(()), Made::settle)
    }

    fn made(&mut self) -> rustix::io::Result<&mut Made<'a>> {
        if self.made.is_none() {
            self.made = Some(self.own.made()?);
        }
        self.made.as_mut().ok_or(Errno::IO)
    }
}
