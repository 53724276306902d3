//! Logs go to standard error, as much as `TRUED_LOG` says (`info`, `trued_runtime=debug`, …).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Turns logging on: warnings, and what a long-lived process does. What ended a walk is told by the verb that asked for it, and what
/// a client library says of a cluster we say in our own words.
pub fn to_standard_error(long_lived: bool) {
    let usual = if long_lived { "info,kube_client=off" } else { "warn,trued_runtime::walk=error,kube_client=off" };
    let filter = EnvFilter::try_from_env("TRUED_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let terminal = std::io::stderr().is_terminal();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal).try_init();
}
