//! Runs what the documents show: the README, the guides and the examples, each from top to bottom in a folder of its own.
//! The convention is in docs/guides/README.md.

use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// All documents with commands; `every_document_with_commands_is_run` keeps the list whole.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "docs/guides/build.md",
    "docs/guides/drift.md",
    "docs/guides/getting-started.md",
    "docs/guides/kubernetes.md",
    "docs/guides/reach.md",
    "docs/guides/record.md",
    "examples/built-website/README.md",
    "examples/host-files/README.md",
    "examples/two-environments/README.md",
    "examples/website/README.md",
];

/// A background command that is asked to stop and does not within this time hangs.
const DRAIN: Duration = Duration::from_secs(30);

/// A `serve` that does not answer within this time does not start.
const AWAKE: Duration = Duration::from_secs(120);

#[test]
fn readme() {
    run("README.md");
}

#[test]
fn guide_build() {
    run("docs/guides/build.md");
}

#[test]
fn example_built_website() {
    run("examples/built-website/README.md");
}

#[test]
fn guide_drift() {
    run("docs/guides/drift.md");
}

#[test]
fn guide_getting_started() {
    run("docs/guides/getting-started.md");
}

#[test]
fn guide_kubernetes() {
    run("docs/guides/kubernetes.md");
}

#[test]
fn guide_reach() {
    run("docs/guides/reach.md");
}

#[test]
fn guide_record() {
    run("docs/guides/record.md");
}

#[test]
fn example_host_files() {
    run("examples/host-files/README.md");
}

#[test]
fn example_two_environments() {
    run("examples/two-environments/README.md");
}

#[test]
fn example_website() {
    run("examples/website/README.md");
}

#[test]
fn every_document_with_commands_is_run() {
    let mut found = Vec::new();
    for folder in ["", "docs/guides", "docs/decisions", "examples"] {
        collect(&root().join(folder), folder == "examples", &mut found);
    }
    found.sort();
    assert_eq!(found, DOCUMENTS);
}

#[test]
fn every_verb_is_in_the_readme() {
    let help = Command::new(env!("CARGO_BIN_EXE_trued")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1).take_while(|line| !line.trim().is_empty());
    let verbs: Vec<&str> = listed
        .filter(|line| line.starts_with("  ") && !line.starts_with("    "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(verbs.len() > 20, "found only {verbs:?} in\n{help}");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for verb in verbs.into_iter().filter(|verb| *verb != "help") {
        assert!(readme.contains(&format!("`{verb}`")) || readme.contains(&format!("`{verb} ")), "`{verb}` is not in README.md");
    }
}

/// One thing a document does.
#[derive(Debug, PartialEq)]
enum Step {
    /// Writes a file.
    File { path: String, text: String },
    /// Runs a command; `expect` is what standard output must look like, when the document shows it.
    Run { line: usize, command: String, exit: i32, expect: Option<Vec<String>>, background: bool },
}

fn run(document: &str) {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let place = tempfile::tempdir().unwrap();
    let here = place.path().join("here");
    let home = place.path().join("home");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join(".gitconfig"), "[user]\n\tname = Ada\n\temail = ada@example.org\n").unwrap();
    match document.strip_prefix("examples/").and_then(|path| path.split_once('/')) {
        Some((example, _)) => copy(&root().join("examples").join(example), &here),
        None => fs::create_dir_all(&here).unwrap(),
    }
    if document == "docs/guides/kubernetes.md" {
        let help = "no Kubernetes API server: run `cargo xtask partners --run -- cargo test -p trued --test docs`";
        fs::copy(std::env::var_os("TRUED_TEST_KUBECONFIG").expect(help), here.join("kubeconfig")).unwrap();
    }
    let mut running = Vec::new();
    for step in parse(&text) {
        match step {
            Step::File { path, text } => {
                let path = here.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Step::Run { command, background: true, .. } => {
                running.push(Running(
                    shell(&command, &here, &home).process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
                ));
                if command.contains("trued serve") {
                    awake(&here);
                }
            }
            Step::Run { line, command, exit, expect, background: false } => {
                let output = shell(&command, &here, &home).output().unwrap();
                let out = String::from_utf8_lossy(&output.stdout);
                let told = format!("{document}:{line}: {command}\n{out}{}", String::from_utf8_lossy(&output.stderr));
                assert_eq!(output.status.code(), Some(exit), "exit status of {told}");
                if let Some(expect) = expect {
                    let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
                    assert!(matches(&expect, &lines), "expected\n{}\nof {told}", expect.join("\n"));
                }
            }
        }
    }
    for background in running {
        background.stop();
    }
}

/// Waits until somebody answers at the one control socket below a folder: a person types more slowly than a script runs.
fn awake(here: &Path) {
    let since = Instant::now();
    while !sockets(here).iter().any(|socket| UnixStream::connect(socket).is_ok()) {
        assert!(since.elapsed() < AWAKE, "`trued serve` does not answer");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn sockets(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let below = |path: PathBuf| match path.symlink_metadata() {
        Ok(found) if found.is_dir() => sockets(&path),
        Ok(_) if path.file_name().is_some_and(|name| name == "control.sock") => vec![path],
        _ => Vec::new(),
    };
    entries.flat_map(below).collect()
}

fn shell(command: &str, here: &Path, home: &Path) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_trued")).parent().unwrap();
    let mut path = OsString::from(program);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(here).stdin(Stdio::null()).env("PATH", path).env("HOME", home);
    shell.env("LC_ALL", "C").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", home.join(".gitconfig"));
    for name in ["TRUED_CONFIG", "TRUED_STATE", "TRUED_COUNTERS", "XDG_CONFIG_HOME"] {
        shell.env_remove(name);
    }
    shell
}

/// A command that runs until its document ends; killed when a step before that fails.
struct Running(Child);

impl Running {
    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-s", signal, "--", &group]).status();
    }

    fn stop(mut self) {
        self.signal("TERM");
        let asked = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(asked.elapsed() < DRAIN, "a background command does not stop when asked");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.signal("KILL");
            let _ = self.0.wait();
        }
    }
}

/// Reads the steps of a document, in order.
fn parse(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((_, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```").filter(|language| !language.is_empty()) else { continue };
        let block: Vec<(usize, &str)> = lines.by_ref().take_while(|(_, line)| *line != "```").map(|(at, line)| (at + 1, line)).collect();
        match language {
            "console" => steps.extend(commands(&block)),
            "yaml" => steps.extend(file(&block)),
            _ => {}
        }
    }
    let runs = steps.iter().any(|step| matches!(step, Step::Run { .. }));
    if runs { steps } else { Vec::new() }
}

fn file(block: &[(usize, &str)]) -> Option<Step> {
    let (_, first) = block.first()?;
    let path = first.strip_prefix("# ").filter(|path| path.ends_with(".yaml") && !path.contains(' '))?;
    let text = block[1..].iter().map(|(_, line)| format!("{line}\n")).collect();
    Some(Step::File { path: path.to_owned(), text })
}

fn commands(block: &[(usize, &str)]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut goes_on = false;
    for (at, text) in block {
        if let Some(start) = text.strip_prefix("$ ") {
            steps.push(Step::Run { line: *at, command: start.to_owned(), exit: 0, expect: None, background: false });
            goes_on = start.ends_with('\\');
            continue;
        }
        let Some(Step::Run { command, expect, .. }) = steps.last_mut() else {
            panic!("line {at} of a console block belongs to no command")
        };
        if goes_on {
            command.push('\n');
            command.push_str(text);
            goes_on = text.ends_with('\\');
        } else {
            expect.get_or_insert_default().push(text.trim_end().to_owned());
        }
    }
    for step in &mut steps {
        let Step::Run { command, exit, background, .. } = step else { continue };
        if let Some((before, status)) = command.rsplit_once(" # exits ").or_else(|| command.rsplit_once("# exits ")) {
            *exit = status.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a status after `# exits`");
            *command = before.trim_end().to_owned();
        }
        if let Some(before) = command.strip_suffix('&').filter(|before| !before.ends_with('&')) {
            *command = before.trim_end().to_owned();
            *background = true;
        }
    }
    steps
}

/// Whether lines look as expected: `...` alone stands for any lines, `[..]` within a line for any text.
fn matches(expect: &[String], lines: &[&str]) -> bool {
    match expect.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..])),
        Some((first, rest)) => lines.split_first().is_some_and(|(line, lines)| line_matches(first, line) && matches(rest, lines)),
    }
}

fn line_matches(expect: &str, line: &str) -> bool {
    match expect.split_once("[..]") {
        None => expect == line,
        Some((before, after)) => {
            let Some(rest) = line.strip_prefix(before) else { return false };
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| line_matches(after, &rest[at..]))
        }
    }
}

#[test]
fn a_document_is_read_as_its_convention_says() {
    let text =
        "```yaml\n# a/b.yaml\nx: 1\n```\n```console\n$ one \\\n    two   # exits 3\nout\n...\n$ three &\n```\n```sh\n$ not run\n```\n";
    let run = |line, command: &str, exit, expect: Option<Vec<&str>>, background| Step::Run {
        line,
        command: command.to_owned(),
        exit,
        expect: expect.map(|lines| lines.into_iter().map(str::to_owned).collect()),
        background,
    };
    let file = Step::File { path: "a/b.yaml".to_owned(), text: "x: 1\n".to_owned() };
    let expect = vec![file, run(6, "one \\\n    two", 3, Some(vec!["out", "..."]), false), run(10, "three", 0, None, true)];
    assert_eq!(parse(text), expect);
    assert!(matches(&["a[..]c".to_owned(), "...".to_owned()], &["abbc", "x", "y"]));
    assert!(!matches(&["a".to_owned()], &["a", "b"]));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

fn collect(folder: &Path, deep: bool, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && deep {
            collect(&path, deep, found);
        } else if path.extension().is_some_and(|extension| extension == "md")
            && fs::read_to_string(&path).unwrap().contains("\n```console\n$ ")
        {
            found.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
        }
    }
}

/// Copies an example as a clone would have it: no state and nothing it made.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match (entry.file_type().unwrap().is_dir(), entry.file_name() == ".trued") {
            (true, true) => {}
            (true, false) => copy(&entry.path(), &to.join(entry.file_name())),
            (false, _) => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}
