//! The stages alone, for tests: what `trued` does first in its `main`. Asked by a variable, it plays the asking process.

use std::process::ExitCode;

use trued_doors::{Program, Runner as _};
use trued_sandbox::{Programs, stage};

fn main() -> ExitCode {
    if let Some(ended) = stage(&[("echo", |input, to| to.write_all(&input))]) {
        return ended;
    }
    let Ok(script) = std::env::var("TRUED_STAGE_RUNS") else { return ExitCode::FAILURE };
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let program = Program {
        argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), script],
        env: std::collections::BTreeMap::new(),
        folder: None,
        input: Vec::new(),
        deadline: trued_model::Duration::from_secs(120),
        output_cap: 1 << 16,
    };
    let ran = executor.map(|executor| executor.block_on(Programs::new().run(program)));
    if matches!(ran, Ok(Ok(_))) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
