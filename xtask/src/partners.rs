//! `cargo xtask partners`: the programs of others that tests work with, built from their sources and kept in the cache, and
//! one Kubernetes control plane, without nodes, for a whole test run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::machine;

mod cluster;
mod programs;

/// What tests find in their environment; alive as long as this is.
pub struct Partners {
    environment: BTreeMap<&'static str, OsString>,
    _cluster: cluster::Cluster,
}

impl Partners {
    /// Builds what is missing and starts the control plane.
    pub fn start() -> anyhow::Result<Partners> {
        let programs = programs::all()?;
        let cluster = cluster::Cluster::start(&programs.kubernetes)?;
        let environment = [
            ("TRUED_TEST_KUBECONFIG", cluster.kubeconfig.clone()),
            ("TRUED_TEST_KUBE_AUDIT", cluster.audit.clone()),
            ("TRUED_TEST_KUSTOMIZE", programs.kustomize),
            ("TRUED_TEST_HELM", programs.helm),
            ("TRUED_TEST_JSONNET", programs.jsonnet),
        ];
        let paths = environment.into_iter().map(|(name, path): (_, PathBuf)| (name, path.into_os_string()));
        let environment = paths.chain([("TRUED_TEST_KUBE_REPORTS", OsString::from(&cluster.reports))]).collect();
        Ok(Partners { environment, _cluster: cluster })
    }

    /// What tests find under a name.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.environment.get(name).map(PathBuf::from)
    }

    /// Lets a command find them.
    pub fn show(&self, command: &mut Command) {
        command.envs(&self.environment);
    }
}

/// Warms the cache; with `--run -- COMMAND…`, runs that with the partners up, and says whether it succeeded.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for people; the command's output is its own")]
pub fn partners(words: &[String]) -> anyhow::Result<bool> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {
            let programs = programs::all()?;
            for path in [&programs.kubernetes, &programs.kustomize, &programs.helm, &programs.jsonnet] {
                println!("{}", path.display());
            }
            Ok(true)
        }
        ["--run", "--", program, rest @ ..] => {
            let started = Instant::now();
            let partners = Partners::start()?;
            eprintln!("partners are up after {:.1} s", started.elapsed().as_secs_f64());
            let mut command = Command::new(program);
            command.args(rest).stdin(Stdio::inherit());
            machine::forget_cargo(&mut command);
            partners.show(&mut command);
            Ok(command.status().with_context(|| format!("failed to start {program}"))?.success())
        }
        _ => bail!("usage: cargo xtask partners [--run -- COMMAND…]"),
    }
}
