//! Opening sources, and reading them, in few words.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use trued_doors::{Answer, Bundle, Clock, Runner, Secrets, Source, SourceOpening};
use trued_model::{Code, Name, Refusal, Revision, Secret, SourceSpec, Timestamp, Want};

/// Opens a source of a kind with its cache in `cache`.
pub fn open_at(kind: &str, settings: Value, cache: &Path) -> Arc<dyn Source> {
    try_open(kind, settings, cache).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

pub fn try_open(kind: &str, settings: Value, cache: &Path) -> Answer<Arc<dyn Source>> {
    open_with(kind, settings, cache, Arc::new(OneSecret), Arc::new(programs()))
}

/// Starts programs as `trued` does, whose part another program plays here.
pub fn programs() -> trued_sandbox::Programs {
    let here = std::env::current_exe().unwrap();
    let stage = here.ancestors().nth(2).unwrap().join("examples/stage");
    assert!(stage.exists(), "{} is not built: `cargo test -p trued-sources --examples` does", stage.display());
    trued_sandbox::Programs::through(stage)
}

/// Opens a source with other secrets, or somebody else who starts programs.
pub fn open_with(kind: &str, settings: Value, cache: &Path, secrets: Arc<dyn Secrets>, runner: Arc<dyn Runner>) -> Answer<Arc<dyn Source>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kinds = trued_sources::kinds();
    let found = kinds.iter().find(|known| known.describe().kind == kind).expect("the kind is known");
    let spec = SourceSpec { name: "shop".parse().unwrap(), kind: kind.to_owned(), settings };
    found.open(SourceOpening { spec, cache: cache.to_owned(), secrets, runner, clock: Arc::new(WallClock) })
}

/// For sources that need no cache.
pub fn open(kind: &str, settings: Value) -> Arc<dyn Source> {
    open_at(kind, settings, Path::new("/nonexistent"))
}

pub async fn newest(source: &Arc<dyn Source>) -> Revision {
    source.resolve(Want::Newest).await.unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

pub async fn bundle(source: &Arc<dyn Source>, revision: &Revision, folder: &str) -> Bundle {
    source.bundle(revision, folder).await.unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

/// The paths of a bundle.
pub fn paths(bundle: &Bundle) -> Vec<&str> {
    bundle.entries.keys().map(|path| path.as_str()).collect()
}

pub fn revision(id: &str) -> Revision {
    Revision { source: "shop".parse().unwrap(), id: id.to_owned() }
}

/// Expects a refusal; a bundle or a revision has no `Debug` to unwrap with.
#[track_caller]
pub fn refused<T>(answer: Answer<T>) -> Refusal {
    match answer {
        Ok(_) => panic!("it was not refused"),
        Err(refusal) => refusal,
    }
}

pub use crate::servers::{Mood, Repo, Server, git_command};

pub const PASSWORD: &str = "correct-horse";

struct OneSecret;

impl Secrets for OneSecret {
    fn get(&self, name: &Name) -> Answer<Secret> {
        match name.as_str() {
            "good" => Ok(Secret::new(format!("{PASSWORD}\n").into_bytes())),
            "bad" => Ok(Secret::new(b"battery-staple".to_vec())),
            _ => Err(Refusal::new(Code::Absent, format!("read secret {name}: there is none"))),
        }
    }
}

struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "files on disk have the machine's own times")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(since.as_millis()).unwrap())
    }
    fn monotonic(&self) -> u64 {
        0
    }
    fn fresh_id(&self) -> String {
        String::new()
    }
    fn chance(&self, _bound: u64) -> u64 {
        0
    }
}

/// Runs something as a user who may not do everything. Root may, and a test about what is denied would pass emptily.
pub fn unprivileged<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                // Of this thread only, and of those it starts.
                let (user, group) = (rustix::thread::Uid::from_raw(65_534), rustix::thread::Gid::from_raw(65_534));
                rustix::thread::set_thread_gid(group).unwrap();
                rustix::thread::set_thread_uid(user).unwrap();
            }
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
        });
        thread.join().unwrap()
    })
}

/// All files below a folder with their bytes and times: to say that nothing was written.
pub fn snapshot(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime, Vec<u8>)> {
    let mut all = Vec::new();
    let mut ahead = vec![folder.to_owned()];
    while let Some(folder) = ahead.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stat = path.symlink_metadata().unwrap();
            if stat.is_dir() {
                ahead.push(path.clone());
            }
            let bytes = if stat.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            all.push((path, stat.modified().unwrap(), bytes));
        }
    }
    all.sort();
    all
}
