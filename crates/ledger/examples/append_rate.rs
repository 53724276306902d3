//! Prints how many entries a second the SQLite store appends durably, in batches as a busy runtime writes them.
#![expect(clippy::print_stdout, reason = "one number, for `cargo xtask bench`")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use kit::Counting;
use serde_json::json;
use trued_ledger::{Ledger, Mode};
use trued_model::{Actor, Draft, Kind, StackId, Timestamp};

mod kit;

const ENTRIES: usize = 20_000;
const BATCH: usize = 256;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // On the disk of the build folder: a temporary folder may lie in memory, where nothing is durable.
    let program = std::env::current_exe()?;
    let folder = tempfile::tempdir_in(program.parent().ok_or("this program lies in no folder")?)?;
    let ledger = Ledger::open(folder.path(), Arc::new(Counting::default()), Mode::Create)?;
    let started = Instant::now();
    for batch in 0..ENTRIES.div_ceil(BATCH) {
        ledger.store.append((0..BATCH).map(|at| draft(batch * BATCH + at)).collect(), None).await?;
    }
    let entries = (ENTRIES.div_ceil(BATCH) * BATCH) as f64;
    println!("{:.0}", entries / started.elapsed().as_secs_f64());
    Ok(())
}

/// An entry of usual size.
fn draft(at: usize) -> Draft {
    Draft {
        kind: Kind::Receipt,
        stack: StackId::from_key(&format!("prod/site-{}@web-1", at % 50)),
        run: Some(kit::run(at / 4)),
        valid_from: Timestamp(at as i64),
        actor: Actor::engine(),
        cause: "source".to_owned(),
        revision: Some("4f2c1c7b7a1e4d0f9f0e8a1b2c3d4e5f60718293".to_owned()),
        links: Vec::new(),
        body: json!({ "batch": at, "done": 256, "so_far": 256, "of": 2000 }),
        blobs: Vec::new(),
    }
}
