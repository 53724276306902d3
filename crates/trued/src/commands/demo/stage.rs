//! The demo's stage: a folder of its own, commands shown with their prompt, a `serve` in the background, and pauses.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::screen::Screen;

/// How long the demo waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Stage<'a> {
    screen: &'a Screen,
    program: PathBuf,
    pub folder: PathBuf,
    kept: Option<tempfile::TempDir>,
    serve: Option<Child>,
    pace: u32,
    pub begun: Instant,
    /// An instant at which all was in place and nothing happened.
    pub quiet_since: Instant,
}

impl<'a> Stage<'a> {
    /// Makes the folder: a repository, two roots, a state folder.
    pub fn set(screen: &'a Screen, pace: u32) -> anyhow::Result<Stage<'a>> {
        let program = std::env::current_exe().context("failed to find this program")?;
        let kept = tempfile::Builder::new().prefix("trued-demo-").tempdir().context("failed to make a folder for the demo")?;
        let folder = kept.path().to_owned();
        let stage =
            Stage { screen, program, folder, kept: Some(kept), serve: None, pace, begun: Instant::now(), quiet_since: Instant::now() };
        for part in ["shop/apps/site/site", "www/dev", "www/prod"] {
            fs::create_dir_all(stage.path(part)).with_context(|| format!("failed to make {part}"))?;
        }
        stage.quiet("git", &["--version"]).context("the demo needs git")?;
        Ok(stage)
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.join(below)
    }

    /// Ends the background process; keeps the folder if asked to.
    pub fn strike(&mut self, keep: bool) -> anyhow::Result<()> {
        self.stop()?;
        if let Some(kept) = self.kept.take() {
            if keep {
                let _ = kept.keep();
            } else {
                kept.close().context("failed to remove the demo's folder")?;
            }
        }
        Ok(())
    }

    pub fn title(&self, text: &str) -> anyhow::Result<()> {
        self.screen.line("")?;
        self.screen.line(self.screen.green(&format!("── {text}")))?;
        self.pause(900);
        Ok(())
    }

    pub fn tell(&self, text: &str) -> anyhow::Result<()> {
        self.screen.line(text)?;
        self.pause(2000);
        Ok(())
    }

    pub fn pause(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis * u64::from(self.pace) / 100));
    }

    /// Shows a command as typed, and runs it: `trued …` is this program, all else is found on the `PATH`.
    pub fn run(&self, typed: &str) -> anyhow::Result<String> {
        self.screen.line(format!("{} {typed}", self.screen.dim("$")))?;
        self.pause(250);
        let words = split(typed);
        let (first, rest) = words.split_first().context("an empty command")?;
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let output = self.quiet(first, &rest)?;
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        self.screen.line(shorten(&said))?;
        self.pause(2600);
        Ok(said)
    }

    /// Runs a command without showing it.
    pub fn quiet(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::null()).output().with_context(|| format!("failed to run {program}"))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(if program == "trued" { self.program.as_os_str() } else { program.as_ref() });
        command.current_dir(&self.folder);
        command.env("TRUED_CONFIG", self.path("shop/trued.yaml")).env("TRUED_STATE", self.path("state"));
        for (name, value) in [("NAME", "Ada"), ("EMAIL", "ada@example.org")] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        command
    }

    /// The record's entries, oldest first.
    pub fn log(&self, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
        let output = self.quiet("trued", &[&["log", "--output", "json"], arguments].concat())?;
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.lines().map(|line| serde_json::from_str(line).context("an entry is no JSON")).collect()
    }

    /// Runs a command with counters and reads them.
    pub fn counted(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let file = self.path("counters.json");
        let mut command = self.command("trued");
        command.args(arguments).env("TRUED_COUNTERS", &file).output().context("failed to run trued")?;
        let text = fs::read(&file).context("no counters were written")?;
        serde_json::from_slice(&text).context("counters are no JSON")
    }

    /// Starts `trued serve` in the background.
    pub fn serve(&mut self) -> anyhow::Result<()> {
        self.screen.line(format!("{} trued serve --poll 200ms &", self.screen.dim("$")))?;
        let log = fs::File::options().create(true).append(true).open(self.path("serve.log")).context("failed to open serve.log")?;
        let mut command = self.command("trued");
        command.args(["serve", "--poll", "200ms"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.serve = Some(command.process_group(0).spawn().context("failed to start serve")?);
        Ok(())
    }

    /// Kills the background `serve` as a power cut would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut serve) = self.serve.take() {
            serve.kill().context("failed to kill serve")?;
            serve.wait().context("failed to see serve end")?;
        }
        Ok(())
    }

    /// Asks the background `serve` to stop, and waits until it has.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut serve) = self.serve.take() else { return Ok(()) };
        if let Some(pid) = i32::try_from(serve.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if serve.try_wait().context("failed to see serve end")?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        serve.kill().context("failed to kill serve")?;
        serve.wait().context("failed to see serve end")?;
        Ok(())
    }

    /// Waits until something has happened.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(found) = look()? {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("waited {} s for this: {what}; see {}", PATIENCE.as_secs(), self.path("serve.log").display())
    }

    /// Writes a file of the stage.
    pub fn write(&self, below: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path(below);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }

    /// Shows a hand edit as a shell would do it, and does it.
    pub fn append(&self, below: &str, text: &str) -> anyhow::Result<()> {
        self.screen.line(format!("{} echo '{text}' >> {below}", self.screen.dim("$")))?;
        let mut file = fs::File::options().append(true).open(self.path(below)).with_context(|| format!("failed to open {below}"))?;
        writeln!(file, "{text}").with_context(|| format!("failed to write {below}"))
    }

    pub fn commit(&self, message: &str) -> anyhow::Result<()> {
        let shop = self.path("shop");
        let shop = shop.to_string_lossy();
        self.quiet("git", &["-C", &shop, "add", "-A"])?;
        self.screen.line(format!("{} git commit -m '{message}'", self.screen.dim("$")))?;
        let done = self.quiet("git", &["-C", &shop, "commit", "-q", "-m", message])?;
        if !done.status.success() {
            bail!("git commit failed: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        self.pause(300);
        Ok(())
    }

    pub fn files(&self, below: &str) -> usize {
        fn count(folder: &Path) -> usize {
            let Ok(inside) = fs::read_dir(folder) else { return 0 };
            let paths = inside.flatten().filter(|entry| entry.file_name() != ".trued").map(|entry| entry.path());
            paths.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
        }
        count(&self.path(below))
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Splits a line into words as a shell would; double quotes hold words together.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// At most so many lines, each indented.
fn shorten(said: &str) -> String {
    const LINES: usize = 14;
    let lines: Vec<&str> = said.lines().collect();
    let mut shown: Vec<String> = lines.iter().take(LINES).map(|line| format!("  {line}")).collect();
    if lines.len() > LINES {
        shown.push(format!("  … {} more lines", lines.len() - LINES));
    }
    shown.join("\n")
}
