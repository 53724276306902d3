//! Builds every test of the workspace in one go, and runs the built binaries. One selection of packages for all rings:
//! a run per package would choose other features of shared libraries and build them again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::machine;
use crate::partners::Partners;
use crate::tally::{self, Tally};

/// A binary that runs longer than this hangs.
const LONGEST: Duration = Duration::from_secs(20 * 60);

/// One test binary.
pub struct TestBinary {
    pub package: String,
    /// `lib`, or the name of the file below `tests/`.
    pub target: String,
    pub is_driver: bool,
    folder: PathBuf,
    program: PathBuf,
}

/// Builds all tests, examples and programs of the workspace; gives the test binaries, sorted.
pub fn build() -> anyhow::Result<Vec<TestBinary>> {
    let mut cargo = machine::cargo();
    cargo.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    let output = cargo.stderr(Stdio::inherit()).output().context("failed to start cargo")?;
    ensure!(output.status.success(), "the tests do not build");
    let mut binaries = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).with_context(|| format!("failed to read cargo's message {line}"))?;
        if let (true, Some(program)) = (message["profile"]["test"] == true, message["executable"].as_str()) {
            binaries.push(test_binary(&message, program)?);
        }
    }
    binaries.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(binaries)
}

fn test_binary(message: &Value, program: &str) -> anyhow::Result<TestBinary> {
    let manifest = Path::new(message["manifest_path"].as_str().context("cargo names no manifest")?);
    let folder = manifest.parent().context("a manifest lies in no folder")?.to_path_buf();
    let kind = message["target"]["kind"][0].as_str().unwrap_or_default();
    let name = message["target"]["name"].as_str().unwrap_or_default();
    let target = if kind == "test" || kind == "example" { name } else { kind };
    Ok(TestBinary {
        package: package_name(message["package_id"].as_str().unwrap_or_default(), &folder),
        target: target.to_owned(),
        is_driver: folder.parent().is_some_and(|parent| parent.ends_with("crates/drivers")),
        folder,
        program: program.into(),
    })
}

/// The package's name out of `path+file:///…/crates/model#trued-model@0.1.0`, or `…/xtask#0.1.0` where the folder is the name.
fn package_name(id: &str, folder: &Path) -> String {
    match id.rsplit_once('#').and_then(|(_, last)| last.split_once('@')) {
        Some((name, _)) => name.to_owned(),
        None => folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// Runs one test binary as `cargo test` would; prints its output only when something failed. What could not be shown is added
/// to `unshown`.
#[expect(clippy::print_stdout, reason = "shows what failed")]
pub fn run(binary: &TestBinary, partners: Option<&Partners>, filters: &[String], unshown: &mut Vec<String>) -> anyhow::Result<Tally> {
    let log = machine::target()?.join("xtask").join(format!("{}-{}.log", binary.package, binary.target));
    std::fs::create_dir_all(log.parent().context("a log lies in no folder")?)?;
    let out = File::create(&log)?;
    let mut command = Command::new(&binary.program);
    command.args(filters).current_dir(&binary.folder).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    command.env("CARGO_MANIFEST_DIR", &binary.folder);
    for name in ["TRUED_CONFIG", "TRUED_STATE", "TRUED_COUNTERS"] {
        command.env_remove(name);
    }
    if let Some(partners) = partners {
        partners.show(&mut command);
    }
    let succeeded = wait(command, &binary.package)?;
    let output = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    let tally = Tally::of_run(&output, succeeded);
    if tally.failed > 0 {
        println!("{}", output.trim_end());
    }
    unshown.extend(tally::unshown(&output).into_iter().map(|what| format!("{} {}: {what}", binary.package, binary.target)));
    Ok(tally)
}

/// Runs all documentation tests.
pub fn run_doc_tests() -> anyhow::Result<Tally> {
    let output = machine::cargo().args(["test", "--workspace", "--doc", "--quiet"]).output().context("failed to start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tally = Tally::of_run(&text, output.status.success());
    if tally.failed > 0 {
        bail!("documentation tests failed\n{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(tally)
}

fn wait(mut command: Command, name: &str) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("failed to start the tests of {name}"))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if started.elapsed() > LONGEST {
            child.kill()?;
            child.wait()?;
            bail!("the tests of {name} did not end within {} minutes", LONGEST.as_secs() / 60);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
