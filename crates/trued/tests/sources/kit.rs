//! An operator's file with sources, a root for each stack, and the program to run on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::servers::Repo;

pub const TRUED: &str = env!("CARGO_BIN_EXE_trued");

/// Longer than this nothing here may take; a bound, not a measure.
const PATIENCE: Duration = Duration::from_secs(90);

/// A folder that vanishes at the end: `operator.yaml`, `www/`, `state/`; and a `serve` that ends with it.
pub struct Shop {
    folder: tempfile::TempDir,
    served: Option<Child>,
}

impl Shop {
    /// Sources by name, each with its settings as YAML. Of each, `site/` becomes `www/NAME`.
    pub fn new(sources: &[(&str, String)]) -> Shop {
        let shop = Shop { folder: tempfile::tempdir().expect("a folder"), served: None };
        shop.operator(sources);
        shop
    }

    pub fn operator(&self, sources: &[(&str, String)]) {
        let mut text = "sources:\n".to_owned();
        sources.iter().for_each(|(name, settings)| text.push_str(&format!("  {name}: {settings}\n")));
        text.push_str("environments: { prod: {} }\nsecrets:\n");
        text.push_str(&format!("  token: {{ file: {} }}\ntargets:\n", self.path("token").display()));
        for (name, _) in sources {
            let root = self.path("www").join(name);
            text.push_str(&format!("  {name}: {{ files: {{ root: {}, create: true }}, allow: [\"{name}//*\"] }}\n", root.display()));
        }
        let apps: Vec<String> = sources.iter().map(|(name, _)| format!("\"{name}//{name}.yaml\"")).collect();
        text.push_str(&format!("apps: [{}]\n", apps.join(", ")));
        fs::create_dir_all(self.path("www")).expect("made");
        fs::write(self.path("token"), "correct-horse\n").expect("written");
        fs::write(self.path("operator.yaml"), text).expect("written");
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(TRUED);
        self.known_to(&mut command);
        command
    }

    /// Tells a program that starts ours what ours needs to know.
    pub fn known_to(&self, command: &mut Command) {
        command.current_dir(self.folder.path()).stdin(Stdio::null()).env_remove("TRUED_COUNTERS");
        command.env("TRUED_CONFIG", self.path("operator.yaml")).env("TRUED_STATE", self.path("state"));
    }

    /// Runs a verb, asserts its exit status, and gives all it said.
    #[track_caller]
    pub fn run(&self, words: &[&str], status: i32) -> String {
        let output = self.command().args(words).output().expect("trued runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "trued {words:?}: {said}");
        said
    }

    /// Runs a verb that must succeed, or plan something; gives the most memory it held, in MiB, as the system counted it.
    pub fn peak(&self, words: &[&str]) -> u64 {
        const ASKS: &str = "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]); \
            print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)";
        let mut python = Command::new("python3");
        self.known_to(&mut python);
        let output = python.args(["-c", ASKS, TRUED]).args(words).output().expect("this test needs python3");
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().last().and_then(|line| line.parse::<u64>().ok()).expect("KiB") / 1024
    }

    pub fn log(&self, kind: &str) -> Vec<Value> {
        let output = self.command().args(["log", "--output", "json", "--kind", kind]).output().expect("trued runs");
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("an entry")).collect()
    }

    pub fn json(&self, words: &[&str]) -> Value {
        let output = self.command().args(words).args(["--output", "json"]).output().expect("trued runs");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    pub fn live(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path("www").join(path)).ok()
    }

    /// The object stores of a source, of which there is one for each address.
    pub fn store(&self, source: &str) -> PathBuf {
        let mut ahead = vec![self.path("state/cache")];
        while let Some(folder) = ahead.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.join("store/objects").is_dir() && path.parent().is_some_and(|parent| parent.ends_with(source)) {
                    return path.join("store");
                }
                if path.is_dir() {
                    ahead.push(path);
                }
            }
        }
        panic!("no store of {source} below {}", self.path("state/cache").display());
    }

    pub fn serve(&mut self) {
        let log = fs::File::create(self.path("serve.log")).expect("a log");
        let served = self.command().args(["serve", "--poll", "100ms"]).stdout(Stdio::null()).stderr(log).spawn();
        self.served = Some(served.expect("serve starts"));
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn until(&self, what: &str, look: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !look() {
            let said = || fs::read_to_string(self.path("serve.log")).unwrap_or_default();
            assert!(Instant::now() < end, "waited in vain for: {what}\n{}", said());
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    pub fn end(&mut self) {
        if let Some(mut served) = self.served.take() {
            let _ = served.kill();
            let _ = served.wait();
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.end();
    }
}

/// A repository whose `site/` is an app of the source of this name.
pub fn repo_of(source: &str) -> Repo {
    let repo = Repo::new();
    app(&repo, source);
    repo
}

/// Makes `site/` an app of one more source of this repository; what is not committed yet goes with the next commit.
pub fn app(repo: &Repo, source: &str) {
    let text = format!("app: {source}\nrender: {{ plain: {{ path: site }} }}\nstacks:\n  prod: {{ target: {source} }}\n");
    repo.write(&format!("{source}.yaml"), &text);
}

/// Makes a file writable and changes its bytes.
pub fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("opened");
    let mut bytes = fs::read(path).expect("read");
    change(&mut bytes);
    fs::write(path, bytes).expect("written");
}
