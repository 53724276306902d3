//! The one place where concrete types meet: stores, sources, renderers, drivers, checks. A new one costs one word here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use trued_config::{Kinds, OperatorConfiguration, Own, Remembered};
use trued_doors::{
    Answer, Ask, Blobs, Check, Clock, Connection, Descriptor, Driver, Renderer, Runner, Source, SourceKind, SourceOpening, Store,
};
use trued_ledger::{Ledger, Mode};
use trued_model::{Code, Extent, Level, Refusal, RenderStep, SourceSpec, Target};
use trued_runtime::Doors;
use trued_secrets::Granted;
pub use trued_server::Listening;
pub use trued_server::control::{ControlSocket, Controlled, Peer, Request, Response, user_name};
pub use trued_server::health::Health;
pub use trued_server::reports::{Reports, Tally};
pub use trued_server::secure::Papers;

use crate::acting::cache::FolderCache;
use crate::acting::clock::SystemClock;
use crate::acting::granting::Granting;
use crate::place::{self, Asked};

/// What this program does when it is started between us and a program of others; `None` when a person started it.
pub fn stage() -> Option<ExitCode> {
    trued_sandbox::stage(trued_render::TASKS)
}

pub fn sources() -> Vec<Arc<dyn SourceKind>> {
    trued_sources::kinds()
}

pub fn renderers() -> Vec<Arc<dyn Renderer>> {
    trued_render::kinds()
}

pub fn drivers() -> Vec<Arc<dyn Driver>> {
    vec![trued_files::driver(), trued_kubernetes::driver()]
}

/// Whether the resources of a kind of target are objects.
pub fn objects(kind: &str) -> bool {
    drivers().iter().any(|driver| driver.describe().kind == kind && driver.objects())
}

pub fn checks() -> Vec<Arc<dyn Check>> {
    trued_checks::kinds()
}

/// What can be configured in this build.
pub fn kinds() -> Answer<Kinds> {
    fn described<T: ?Sized>(all: Vec<Arc<T>>, describe: impl Fn(&T) -> Descriptor) -> Vec<Descriptor> {
        all.iter().map(|one| describe(one)).collect()
    }
    let described_sources = described(sources(), SourceKind::describe);
    let kinds = Kinds::new(described_sources, described(renderers(), Renderer::describe), drivers(), described(checks(), Check::describe))?;
    kinds.checked_by(sources()).pulled_by(Arc::new(trued_sources::Charts))
}

/// What reading the record needs.
pub struct Opened {
    pub store: Arc<dyn Store>,
    pub blobs: Arc<dyn Blobs>,
    pub clock: Arc<dyn Clock>,
}

/// Opens a state folder for reading only; one that is not there reads as empty.
pub fn open_to_read(state: &Path) -> Answer<Opened> {
    let clock: Arc<dyn Clock> = clock();
    let Ledger { store, blobs, .. } = Ledger::open(state, clock.clone(), Mode::ReadOnly)?;
    Ok(Opened { store, blobs, clock })
}

/// The ledger itself, for what only it can do: prove and export.
pub fn ledger(state: &Path) -> Answer<Ledger> {
    Ledger::open(state, Arc::new(SystemClock), Mode::ReadOnly)
}

/// The ledger, to turn its data keys; `Code::Absent` when there is none.
pub fn ledger_to_rotate(state: &Path) -> Answer<Ledger> {
    Ledger::open(state, Arc::new(SystemClock), Mode::Existing)
}

/// Takes a record that came from a backup as the true one.
pub fn accept_backup(state: &Path) -> Answer<()> {
    Ledger::open(state, clock(), Mode::Existing)?.accept()
}

/// The operator's file and what it lies in. Reads neither.
pub fn operator(at: &Asked) -> anyhow::Result<OperatorConfiguration> {
    operator_of(at.config()?, place::canonical(&at.state()?), kinds()?)
}

fn operator_of(file: PathBuf, state: PathBuf, kinds: Kinds) -> anyhow::Result<OperatorConfiguration> {
    let folder = place::canonical(place::folder_of(&file));
    let own = match trued_sources::find_repository(&folder) {
        Some(found) => Own::Git { root: found.root, folder: found.folder_in_it },
        None => Own::Folder,
    };
    let path = folder.join(file.file_name().unwrap_or(file.as_os_str()));
    Ok(OperatorConfiguration { path, shown: place::shown(&file), own, state, kinds: Arc::new(kinds), remembered: Remembered::default() })
}

/// How well programs are confined on this machine, and what of its kernel that rests on.
pub async fn sandbox() -> (Level, Vec<trued_sandbox::Fact>) {
    (Runner::level(&trued_sandbox::Programs::new()).await, trued_sandbox::facts())
}

/// Whether a stack is rendered by a program of others.
pub fn runs_a_program(render: &RenderStep) -> bool {
    renderers().iter().any(|kind| kind.describe().kind == render.kind && !kind.programs(&render.settings).is_empty())
}

/// Opens a configured source, to read what of it is here. It is granted no secret.
pub fn source(spec: &SourceSpec, state: &Path) -> Answer<Arc<dyn Source>> {
    let kind = sources().into_iter().find(|kind| kind.describe().kind == spec.kind);
    let kind =
        kind.ok_or_else(|| Refusal::new(Code::Unsupported, format!("open source {}: no kind {} in this build", spec.name, spec.kind)))?;
    kind.open(SourceOpening {
        spec: spec.clone(),
        cache: source_cache(state).join(spec.name.as_str()),
        secrets: Arc::new(Granted::default()),
        runner: Arc::new(trued_sandbox::Programs::new().with_rooms(state.join("cache").join("rooms"))),
        clock: Arc::new(SystemClock),
    })
}

fn source_cache(state: &Path) -> PathBuf {
    state.join("cache").join("sources")
}

/// Makes the state folder, or what of it is not there yet.
pub fn make_state(state: &Path, mode: Mode) -> Answer<()> {
    Ledger::open(state, Arc::new(SystemClock), mode).map(drop)
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// Whether a target can be seen at all; `Some` says why not. Looks at nothing that is managed.
pub async fn reach(target: &Target, state: &Path) -> Answer<Option<String>> {
    let driver = drivers().into_iter().find(|driver| driver.describe().kind == target.kind);
    let driver = driver.ok_or_else(|| Refusal::new(Code::Unsupported, format!("no driver for {} in this build", target.kind)))?;
    let Ledger { store, blobs, seal, .. } = ledger(state)?;
    let link = driver
        .connect(Connection {
            target: target.clone(),
            ledger: store.origin().await?.unwrap_or_default(),
            blobs,
            seal,
            secrets: Arc::new(Granted::default()),
            clock: clock(),
            written: false,
        })
        .await?;
    Ok(match link.observe(Ask::These(Vec::new())).await?.extent {
        Extent::Complete => None,
        Extent::Partial(why) | Extent::Unknown(why) => Some(why),
    })
}

/// What a verb does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// Nothing but `cache/`.
    None,
    /// Appends to the record.
    Records,
    /// Changes targets, and appends to the record.
    Writes,
}

/// What acting needs.
pub struct Acting {
    pub doors: Doors,
    pub state: PathBuf,
}

/// Opens everything the runtime may touch. A configuration file that is gone is no reason to stop: what was configured
/// last is on record.
pub fn open_to_act(at: &Asked, hand: Hand, verb: &str) -> anyhow::Result<Acting> {
    // Fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file = at.config_to_act()?;
    let state = place::canonical(&at.state()?);
    let cache = Arc::new(FolderCache::new(state.join("cache")));
    let operator = operator_of(file, state.clone(), kinds()?.remembering(cache.clone()))?;
    let mode = if hand == Hand::None { Mode::Planning } else { Mode::Create };
    let ledger = Ledger::open(&state, clock(), mode)?;
    if ledger.restored_from_backup && hand == Hand::Writes {
        let said = format!("act on the record in {}: it is older than what was seen here, so it comes from a backup", state.display());
        return Err(Refusal::new(Code::Rewound, said)
            .help("look at `trued doctor`; `trued verify --accept-backup` takes it as it is")
            .into());
    }
    make_cache(&state);
    let granted = Arc::new(Granted::default());
    let doors = Doors {
        store: ledger.store,
        blobs: ledger.blobs,
        seal: ledger.seal,
        secrets: granted.clone(),
        clock: clock(),
        cache,
        configuration: Arc::new(Granting { operator, granted }),
        runner: Arc::new(trued_sandbox::Programs::new().with_rooms(state.join("cache").join("rooms"))),
        sources: by_kind(sources(), SourceKind::describe),
        renderers: by_kind(renderers(), Renderer::describe),
        drivers: by_kind(drivers(), Driver::describe),
        checks: by_kind(checks(), Check::describe),
        puller: Arc::new(trued_sources::Charts),
        holder: trued_ledger::this_process(verb)?,
        source_cache: source_cache(&state),
    };
    Ok(Acting { doors, state })
}

fn by_kind<T: ?Sized>(all: Vec<Arc<T>>, describe: impl Fn(&T) -> Descriptor) -> BTreeMap<String, Arc<T>> {
    all.into_iter().map(|one| (describe(&one).kind.to_owned(), one)).collect()
}

/// Makes the folder of what may be forgotten, hidden from Git by itself: a plan may come before any record. Where it
/// cannot be made, nothing is cached.
fn make_cache(state: &Path) {
    let cache = state.join("cache");
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&cache);
    let hidden = made.and_then(|()| fs::OpenOptions::new().write(true).create_new(true).open(cache.join(".gitignore")));
    let hidden = hidden.and_then(|mut file| file.write_all(b"*\n"));
    if let Err(error) = hidden.or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }) {
        tracing::debug!("nothing is cached: {error}");
    }
}

/// Asks the `serve` on this state folder; `None` when none runs.
pub async fn ask_serve(state: &Path, verb: &str, arguments: serde_json::Value) -> Answer<Option<Response>> {
    trued_server::control::ask(state, &Request { verb: verb.to_owned(), arguments }).await
}

/// How long a `serve` may take over what it answers at once.
const PROMPT: std::time::Duration = std::time::Duration::from_secs(3);

/// Who listens in a state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    Nobody,
    Answers,
    /// Somebody who says nothing: it was stopped, or has no time. Its leases tell whether it still counts.
    Silent,
}

/// Asks whether a `serve` runs on this state folder.
pub async fn serving(state: &Path) -> Answer<Serving> {
    match tell_serve(state, "ping").await {
        Ok(Some(_)) => Ok(Serving::Answers),
        Ok(None) => Ok(Serving::Nobody),
        Err(refusal) if refusal.code == Code::TimedOut => Ok(Serving::Silent),
        Err(refusal) => Err(refusal),
    }
}

/// Asks the `serve` on this state folder something that it answers at once.
pub async fn tell_serve(state: &Path, verb: &str) -> Answer<Option<Response>> {
    let request = Request { verb: verb.to_owned(), arguments: serde_json::Value::Null };
    trued_server::control::ask_within(state, &request, PROMPT).await
}

/// Answers what others ask on this machine, through the socket in the state folder; in place of a silent one too.
pub fn control(state: &Path, controlled: Arc<dyn Controlled>, over: bool) -> Answer<ControlSocket> {
    match over {
        true => trued_server::control::listen_over(state, controlled),
        false => trued_server::control::listen(state, controlled),
    }
}

/// Answers health questions on loopback, and takes reports there.
pub async fn health(address: SocketAddr, health: Arc<dyn Health>, reports: Arc<dyn Reports>, tally: Arc<Tally>) -> Answer<Listening> {
    trued_server::health::listen_with(address, health, Some((reports, tally))).await
}

/// Takes reports from anywhere, over https.
pub async fn reports(address: SocketAddr, papers: Papers, reports: Arc<dyn Reports>, tally: Arc<Tally>) -> Answer<Listening> {
    trued_server::secure::listen(address, papers, reports, tally, trued_server::Bounds::default()).await
}
