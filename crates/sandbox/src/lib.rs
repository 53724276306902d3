//! Starts other programs; nothing else does. The operator's run as this user, bounded in time and output; programs of
//! others run confined, as well as the kernel allows, and that is a value ([`Level`]) that can be told.
//!
//! Between us and every program stands a keeper, which is our own program started once more (see [`stage`]): it holds
//! every process that the program starts, and ends them all.

use std::path::PathBuf;

use tokio::sync::OnceCell;
use trued_doors::{Answer, BoxFuture, Confined, Confines, Exit, Program, Runner, Talk, Workspace};
use trued_model::{Code, Digest, Duration, Level, Limits, Size};

mod ground;
mod group;
mod identity;
mod lookup;
mod run;
mod spec;
mod stage;
mod talk;
mod workspace;

use spec::Start;

pub use ground::{Fact, facts};
pub use lookup::PATH;
pub use stage::{Task, stage};

/// How long finding out the level may take.
const PROBE: Duration = Duration::from_secs(10);

/// The task that finds out whether a level can be reached.
const NOTHING: &str = "nothing";

/// Runs programs: fixed `PATH`, an environment of what is given and nothing else, a process group of its own, no shell,
/// no inherited files.
pub struct Programs {
    /// Our own program, which knows [`stage`].
    own: PathBuf,
    /// Where confined programs get their folders.
    rooms: PathBuf,
    /// The best level that is tried.
    at_most: Level,
    level: OnceCell<Level>,
    /// What the first task reached, which needs less than a program does.
    of_tasks: OnceCell<Level>,
    identities: identity::Identities,
}

impl Programs {
    /// Runs programs through this very program, which calls [`stage`] first in its `main`.
    pub fn new() -> Programs {
        Programs::through("/proc/self/exe")
    }

    /// Runs programs through another program that calls [`stage`].
    pub fn through(own: impl Into<PathBuf>) -> Programs {
        Programs {
            own: own.into(),
            rooms: std::env::temp_dir(),
            at_most: Level::Namespaced,
            level: OnceCell::new(),
            of_tasks: OnceCell::new(),
            identities: identity::Identities::default(),
        }
    }

    /// Gives confined programs their folders below this one.
    pub fn with_rooms(self, rooms: impl Into<PathBuf>) -> Programs {
        Programs { rooms: rooms.into(), ..self }
    }

    /// Tries no better level than this.
    pub fn at_most(self, level: Level) -> Programs {
        Programs { at_most: level, ..self }
    }

    async fn reached(&self) -> Level {
        *self.level.get_or_init(|| self.probe()).await
    }

    /// Tries each level with a task that does nothing, the best first.
    async fn probe(&self) -> Level {
        let limits = Limits { time: PROBE, memory: Size::mib(256), ..Limits::default() };
        let confines = Confines { limits, ..Confines::default() };
        for level in self.worth_a_try() {
            let tried = run::confined(&self.own, level, Start::Task(NOTHING.to_owned()), Vec::new(), confines.clone()).await;
            if tried.is_ok_and(|ended| ended.exit.status == Some(0)) {
                return level;
            }
        }
        Level::Unsafe
    }

    /// The levels that this kernel may reach, the best first.
    fn worth_a_try(&self) -> impl Iterator<Item = Level> {
        let (at_most, version) = (self.at_most, ground::landlock());
        [Level::Namespaced, Level::Base].into_iter().filter(move |level| {
            // Without a uid of its own, only the newer Landlock keeps a program from signalling ours.
            let enough = match level {
                Level::Base if !rustix::process::geteuid().is_root() => version >= ground::SCOPED,
                _ => version > 0,
            };
            *level <= at_most && enough
        })
    }

    /// Runs a task as well confined as it can be. The first one finds out the level by itself: that saves a process.
    async fn tasked(&self, name: &str, input: Vec<u8>, confines: Confines) -> Answer<Confined> {
        let start = || Start::Task(name.to_owned());
        if let Some(level) = self.level.get().or(self.of_tasks.get()) {
            return run::confined(&self.own, *level, start(), input, confines).await;
        }
        for level in self.worth_a_try() {
            let ended = run::confined(&self.own, level, start(), input.clone(), confines.clone()).await;
            if !ended.as_ref().is_err_and(|refusal| refusal.code == Code::Denied) {
                // Another may have found out meanwhile, and found the same.
                let _ = self.of_tasks.set(level);
                return ended;
            }
        }
        run::confined(&self.own, Level::Unsafe, start(), input, confines).await
    }
}

impl Default for Programs {
    fn default() -> Programs {
        Programs::new()
    }
}

impl Runner for Programs {
    fn run(&self, program: Program) -> BoxFuture<'_, Answer<Exit>> {
        Box::pin(run::free(&self.own, program))
    }

    fn open(&self, program: Program, silence: Duration) -> BoxFuture<'_, Answer<Talk>> {
        Box::pin(talk::open(&self.own, program, silence))
    }

    fn confine(&self, mut program: Program, confines: Confines) -> BoxFuture<'_, Answer<Confined>> {
        Box::pin(async move {
            let input = std::mem::take(&mut program.input);
            let start = run::start_confined(program, &confines.read)?;
            run::confined(&self.own, self.reached().await, start, input, confines).await
        })
    }

    fn task(&self, name: &'static str, input: Vec<u8>, confines: Confines) -> BoxFuture<'_, Answer<Confined>> {
        Box::pin(self.tasked(name, input, confines))
    }

    fn level(&self) -> BoxFuture<'_, Level> {
        Box::pin(self.reached())
    }

    fn workspace(&self) -> Answer<Workspace> {
        // A program with a uid of its own passes through every folder above; below a private one it could not.
        let own_uid = rustix::process::geteuid().is_root() && self.level.get() == Some(&Level::Base);
        if own_uid { workspace::make(std::path::Path::new("/var/tmp")) } else { workspace::make(&self.rooms) }
    }

    fn identify(&self, name: &str, tools: &[PathBuf]) -> Answer<Digest> {
        self.identities.of(name, tools)
    }
}
