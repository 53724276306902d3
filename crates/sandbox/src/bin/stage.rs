//! The stages alone, for tests: what `trued` does first in its `main`. Asked by a variable, it plays the asking process.

use std::process::ExitCode;

use trued_doors::{Program, Runner as _};
use trued_sandbox::{Programs, stage};

fn main() -> ExitCode {
    if let Some(ended) = stage(&[("echo", |input, to| to.write_all(&input))]) {
        return ended;
    }
    let asked = |name: &str| std::env::var(name).ok();
    let (script, talks) = match (asked("TRUED_STAGE_RUNS"), asked("TRUED_STAGE_TALKS")) {
        (Some(script), _) => (script, false),
        (None, Some(script)) => (script, true),
        (None, None) => return ExitCode::FAILURE,
    };
    let Ok(executor) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return ExitCode::FAILURE };
    let deadline = trued_model::Duration::from_secs(120);
    let program = Program {
        argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), script],
        env: std::collections::BTreeMap::new(),
        folder: None,
        input: Vec::new(),
        deadline,
        output_cap: 1 << 16,
    };
    let ended = executor.block_on(async {
        if !talks {
            return Programs::new().run(program).await.is_ok();
        }
        let Ok(talk) = Programs::new().open(program, deadline).await else { return false };
        tokio::time::sleep(deadline.to_std()).await;
        talk.program.end().is_ok()
    });
    if ended { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
