//! The configuration as the runtime asks for it: the operator's file from disk or from its own source's revision, app
//! files from their sources' revisions.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::{self, StreamExt as _};
use trued_doors::{BoxFuture, Configuration, Configured, Source};
use trued_model::{Code, Estate, Finding, Name, Revision, SecretSource, SourceSpec, encode_path};
use trued_yaml::Budget;

use crate::files::{Gathered, NoFiles};
use crate::kinds::Kinds;
use crate::load::{Load, Loaded, Own, Wanted, own_name};

/// App files that are read at once.
const READERS: usize = 16;

/// One operator's file, and what it lies in.
pub struct OperatorConfiguration {
    /// The file, absolute.
    pub path: PathBuf,
    /// The file as people know it; stands in findings.
    pub shown: String,
    pub own: Own,
    /// The state folder, absolute.
    pub state: PathBuf,
    pub kinds: Arc<Kinds>,
    pub remembered: Remembered,
}

/// What was read last, and from what: sources are asked again and again, and mostly nothing has changed.
#[derive(Default)]
pub struct Remembered {
    alone: Mutex<Option<ReadAlone>>,
    loaded: Mutex<Option<ReadEstate>>,
}

type ReadAlone = (Vec<u8>, Result<Alone, Vec<Finding>>);
type ReadEstate = (Vec<u8>, BTreeMap<Name, Revision>, Configured);

/// What the operator's file says by itself, before any source was asked.
#[derive(Clone)]
pub struct Alone {
    pub sources: BTreeMap<Name, SourceSpec>,
    pub secrets: BTreeMap<Name, SecretSource>,
}

type Revisions = BTreeMap<Name, (Arc<dyn Source>, Revision)>;

impl OperatorConfiguration {
    /// Reads everything at these revisions, with all that `config show` tells.
    pub async fn loaded(&self, at: &Revisions) -> Result<Loaded, Vec<Finding>> {
        let bytes = self.operators_file(at).await.map_err(|finding| vec![finding])?;
        Ok(self.loaded_from(&bytes, at).await.0)
    }

    /// Resolves an operator's file, and says whether all app files could be read.
    async fn loaded_from(&self, bytes: &[u8], at: &Revisions) -> (Loaded, bool) {
        let wanted = crate::wanted(&self.input(bytes));
        let gathered = gather(&wanted, at).await;
        let whole = at.keys().filter(|name| wanted.wants_of(name)).all(|name| gathered.is_whole(name));
        (crate::load(&self.input(bytes), &gathered), whole)
    }

    fn last(&self) -> MutexGuard<'_, Option<ReadEstate>> {
        self.remembered.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the operator's file on disk; findings when it cannot be read.
    pub fn alone(&self) -> Result<Alone, Vec<Finding>> {
        let bytes = self.on_disk().map_err(|finding| vec![finding])?;
        let mut last = self.remembered.alone.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, alone)) = last.as_ref().filter(|(read, _)| *read == bytes) {
            return alone.clone();
        }
        let wanted = crate::wanted(&self.input(&bytes));
        let secrets = || crate::load(&self.input(&bytes), &NoFiles).estate.secrets;
        let alone = if wanted.read { Ok(Alone { sources: wanted.sources, secrets: secrets() }) } else { Err(wanted.findings) };
        *last = Some((bytes, alone.clone()));
        alone
    }

    fn input<'a>(&'a self, bytes: &'a [u8]) -> Load<'a> {
        let folder = self.path.parent().unwrap_or(&self.path);
        Load { file: &self.shown, bytes, folder, own: &self.own, state: &self.state, kinds: &self.kinds }
    }

    /// The operator's file: of an own Git source the one at its revision, else the one on disk.
    async fn operators_file(&self, at: &Revisions) -> Result<Vec<u8>, Finding> {
        let Some((source, revision)) = at.get(&own_name()).filter(|_| matches!(self.own, Own::Git { .. })) else {
            return self.on_disk();
        };
        let name = self.path.file_name().map(|name| encode_path(name.as_encoded_bytes())).unwrap_or_default();
        source.read(revision, &name).await.map_err(|refusal| match refusal.code {
            Code::Absent => self.finding(format!("this file is not part of revision {}", revision.short()), "commit it"),
            _ => self.finding(format!("this file cannot be read: {refusal}"), &refusal.help),
        })
    }

    /// One small file, read where it is asked for.
    fn on_disk(&self) -> Result<Vec<u8>, Finding> {
        let mut bytes = Vec::new();
        // One byte more than is accepted, so that what is too large is refused and not cut short.
        let most = Budget::default().bytes as u64 + 1;
        let read = std::fs::File::open(&self.path).and_then(|file| file.take(most).read_to_end(&mut bytes));
        read.map_err(|error| self.finding(format!("this file cannot be read: {error}"), "name another with `--config FILE`"))?;
        Ok(bytes)
    }

    fn finding(&self, message: String, help: &str) -> Finding {
        Finding::new(message, help).at(self.shown.as_str(), 1, 1)
    }
}

impl Configuration for OperatorConfiguration {
    fn sources(&self) -> Result<BTreeMap<Name, SourceSpec>, Vec<Finding>> {
        self.alone().map(|alone| alone.sources)
    }

    fn load<'a>(&'a self, at: &'a Revisions) -> BoxFuture<'a, Configured> {
        Box::pin(async move {
            let bytes = match self.operators_file(at).await {
                Ok(bytes) => bytes,
                Err(finding) => return Configured { estate: None, findings: vec![finding], digest: trued_model::Digest::of(b"") },
            };
            let revisions: BTreeMap<Name, Revision> = at.iter().map(|(name, (_, revision))| (name.clone(), revision.clone())).collect();
            if let Some((_, _, configured)) = self.last().as_ref().filter(|(read, of, _)| *read == bytes && *of == revisions) {
                return configured.clone();
            }
            let (loaded, whole) = self.loaded_from(&bytes, at).await;
            let estate = loaded.usable.then(|| Arc::new(loaded.estate));
            let configured = Configured { estate, findings: loaded.findings, digest: loaded.digest };
            // What could not be read now may be there the next time.
            *self.last() = whole.then(|| (bytes, revisions, configured.clone()));
            configured
        })
    }

    fn differences(&self, old: &Estate, new: &Estate) -> Vec<String> {
        crate::differences(old, new)
    }

    fn loosened(&self, old: &Estate, new: &Estate) -> Vec<String> {
        crate::loosened(old, new)
    }
}

/// Reads the app files of every source that can be listed.
async fn gather(wanted: &Wanted, at: &Revisions) -> Gathered {
    let mut gathered = Gathered::default();
    for (name, (source, revision)) in at.iter().filter(|(name, _)| wanted.wants_of(name)) {
        let Ok(paths) = source.list(revision).await else { continue };
        gathered.source(name.clone());
        let apps: Vec<String> = paths.into_iter().filter(|path| wanted.wants(name, path)).collect();
        let reads = stream::iter(apps).map(|path| async move {
            let bytes = source.read(revision, &path).await;
            (path, bytes)
        });
        let read: Vec<_> = reads.buffer_unordered(READERS).collect().await;
        read.into_iter().for_each(|(path, bytes)| gathered.file(name.clone(), path, bytes));
    }
    gathered
}
