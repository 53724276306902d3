//! Programs that only their sources bring, at fixed versions: built once into the user's cache folder, under a key that
//! changes with all that goes into them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::machine;

const KUBERNETES: &str = "v1.36.3";

/// The folder of our own Go module that brings etcd and Kubernetes.
const MODULE: &str = "xtask/partners/kubernetes";

/// The files of that module that decide what is built.
const INPUTS: [&str; 5] = ["go.mod", "go.sum", "etcd/main.go", "kube-apiserver/main.go", "kube-controller-manager/main.go"];

/// Go's own toolchains fetch the one that a module asks for since then.
const OLDEST_GO: (u32, u32) = (1, 21);

/// Where they are.
pub struct Programs {
    /// A folder with `etcd`, `kube-apiserver` and `kube-controller-manager`.
    pub kubernetes: PathBuf,
    pub kustomize: PathBuf,
    pub helm: PathBuf,
    pub jsonnet: PathBuf,
}

/// Finds all in the cache, and builds those that are missing. Two at once wait for each other.
pub fn all() -> anyhow::Result<Programs> {
    Ok(Programs {
        kubernetes: kubernetes()?,
        kustomize: installed("sigs.k8s.io/kustomize/kustomize/v5", "v5.8.2", None)?,
        helm: installed("helm.sh/helm/v4/cmd/helm", "v4.3.1", Some("helm.sh/helm/v4/internal/version.version"))?,
        jsonnet: installed("github.com/google/go-jsonnet/cmd/jsonnet", "v0.22.0", None)?,
    })
}

fn kubernetes() -> anyhow::Result<PathBuf> {
    let module = machine::root().join(MODULE);
    let mut inputs = Vec::new();
    for name in INPUTS {
        inputs.extend(std::fs::read(module.join(name)).with_context(|| format!("failed to read {MODULE}/{name}"))?);
    }
    let name = format!("kubernetes-{KUBERNETES}-{:016x}", fnv1a(&inputs));
    kept(&name, |folder| {
        let (major, minor) = KUBERNETES[1..].split_once('.').and_then(|(a, b)| Some((a, b.split('.').next()?))).context("no version")?;
        let version = "k8s.io/component-base/version";
        let flags = format!("-s -w -X {version}.gitVersion={KUBERNETES} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}");
        let mut go = go()?;
        go.current_dir(&module).args(["build", "-mod=readonly", "-ldflags", &flags, "-o"]).arg(folder);
        machine::read(go.args(["./etcd", "./kube-apiserver", "./kube-controller-manager"]))
    })
}

/// One program as `go install` gives it; Go's checksum database stands for its bytes. `told` is where releases write their
/// version, for a program that does not find it out by itself.
fn installed(package: &str, version: &str, told: Option<&str>) -> anyhow::Result<PathBuf> {
    let last = |path: &str| path.rsplit('/').find(|part| !(part.starts_with('v') && part[1..].parse::<u32>().is_ok())).map(str::to_owned);
    let name = last(package).context("a package without a name")?;
    let flags = told.map_or("-s -w".to_owned(), |told| format!("-s -w -X {told}={version}"));
    let folder = kept(&format!("{name}-{version}-{:016x}", fnv1a(flags.as_bytes())), |folder| {
        let mut go = go()?;
        go.env("GOBIN", folder).args(["install", "-ldflags", &flags]);
        machine::read(go.arg(format!("{package}@{version}")))
    })?;
    Ok(folder.join(name))
}

/// The folder of that name in the cache; made by `build`, beside its place and then renamed into it, when it is missing.
#[expect(clippy::print_stderr, reason = "it takes minutes")]
fn kept(name: &str, build: impl FnOnce(&Path) -> anyhow::Result<String>) -> anyhow::Result<PathBuf> {
    let cache = machine::cache()?;
    let home = cache.join(name);
    if home.exists() {
        return Ok(home);
    }
    std::fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join(format!("{name}.lock")))?;
    lock.lock().context("failed to lock the cache")?;
    if home.exists() {
        return Ok(home);
    }
    eprintln!("building {name}, once; this takes minutes");
    let building = cache.join(format!("{name}.building"));
    let _ = std::fs::remove_dir_all(&building);
    std::fs::create_dir_all(&building)?;
    build(&building).with_context(|| format!("failed to build {name}: its sources come from the Go module proxy, over the network"))?;
    std::fs::rename(&building, &home)?;
    Ok(home)
}

/// The Go tool, set up to give the same program wherever it is built.
fn go() -> anyhow::Result<Command> {
    machine::need(&[("go", "golang-go")])?;
    let version = machine::read(Command::new("go").args(["env", "GOVERSION"]))?;
    let known = parse(&version).is_none_or(|version| version >= OLDEST_GO);
    ensure!(known, "{} is too old: install Go 1.26, or any from 1.21 on, which fetches what it needs", version.trim());
    let mut go = Command::new("go");
    go.env("CGO_ENABLED", "0").env("GOFLAGS", "-trimpath -buildvcs=false").env_remove("GOOS").env_remove("GOARCH");
    Ok(go)
}

/// Reads `go1.26.8`; `None` for a version of its own naming.
fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().strip_prefix("go")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// FNV-1a with 64 bits: a key for a folder's name, against nobody.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_compare_as_numbers() {
        assert!(parse("go1.26.8\n") > Some(OLDEST_GO) && parse("go1.9") < Some(OLDEST_GO));
        assert_eq!(parse("devel +abc"), None);
    }

    #[test]
    fn the_key_is_the_published_function() {
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
