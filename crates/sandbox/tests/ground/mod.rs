//! A place to run confined programs in, and the same tests again as a user without rights.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use trued_doors::{Answer, Confined, Confines, Program, Runner as _, Workspace};
use trued_model::{Duration, Level, Limits};
use trued_sandbox::Programs;

/// Both levels of confinement. This machine must reach the better one.
pub const LEVELS: [Level; 2] = [Level::Namespaced, Level::Base];

/// One confined program being set up.
pub struct Ground {
    pub programs: Programs,
    pub workspace: Workspace,
    pub limits: Limits,
    pub read: Vec<PathBuf>,
    rooms: tempfile::TempDir,
}

impl Ground {
    pub fn at(level: Level) -> Ground {
        let rooms = tempfile::tempdir().unwrap();
        let programs = Programs::through(env!("CARGO_BIN_EXE_trued-stage")).with_rooms(rooms.path()).at_most(level);
        let reached = block(programs.level());
        assert_eq!(reached, level, "this machine cannot confine: see `trued doctor`");
        let workspace = programs.workspace().unwrap();
        std::fs::write(workspace.room.folder.join("input"), "input\n").unwrap();
        let limits = Limits { time: Duration::from_secs(60), ..Limits::default() };
        Ground { programs, workspace, limits, read: Vec::new(), rooms }
    }

    pub fn folder(&self) -> &Path {
        &self.workspace.room.folder
    }

    pub fn shell(&self, script: &str) -> Confined {
        self.run(&["/bin/sh", "-c", script]).unwrap_or_else(|refusal| panic!("{script}: {refusal}"))
    }

    pub fn run(&self, argv: &[&str]) -> Answer<Confined> {
        self.run_with(argv, &[])
    }

    pub fn run_with(&self, argv: &[&str], env: &[(String, String)]) -> Answer<Confined> {
        let program = Program {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: env.iter().cloned().collect::<BTreeMap<_, _>>(),
            folder: None,
            input: Vec::new(),
            deadline: Duration::from_secs(0),
            output_cap: 0,
        };
        let confines = Confines {
            read: self.read.clone(),
            room: Some(self.workspace.room.clone()),
            limits: self.limits,
            one_log: true,
            elsewhere: false,
            even_unsafe: false,
        };
        block(self.programs.confine(program, confines))
    }
}

pub fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub fn said(ended: &Confined) -> String {
    String::from_utf8_lossy(&ended.exit.output).into_owned()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a test as it is, and, where that is root, once more as a user without rights.
pub fn twice(test: &str, body: impl FnOnce()) {
    body();
    if !is_root() {
        return;
    }
    // A program of root that anybody may start, for those who are to gain nothing by it.
    let shared = tempfile::Builder::new().prefix("trued-shared-").tempdir_in("/var/tmp").unwrap();
    let suid = shared.path().join("id");
    std::fs::copy("/usr/bin/id", &suid).unwrap();
    for (path, mode) in [(shared.path(), 0o755), (&suid, 0o4755)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let here = std::env::current_exe().unwrap();
    let mut again = std::process::Command::new("setpriv");
    again.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(here).args(["--exact", test, "--nocapture"]);
    let output = again.env("TEST_SUID", &suid).output().expect("setpriv is there");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("1 passed"), "as uid 65534:\n{told}");
}
