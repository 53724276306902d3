//! Simulated worlds: the real runtime on a paused clock, with doors that fail, strangers that edit and processes that
//! die; and the checkers that watch every step. One seed is one world.

mod blobs;
mod books;
mod chance;
mod clock;
mod doors;
mod driver;
mod history;
mod process;
mod promise;
mod render;
mod script;
mod seed;
mod target;
mod universe;
mod verdicts;
mod wellbeing;
mod witness;
mod words;
mod world;

pub use chance::Chance;
pub use history::{BROKEN, History, PANICS, Tree, UNSTEADY, fingerprint};
pub use process::Process;
pub use promise::{Promise, Violation};
pub use seed::{Failure, Seen, record, run, run_unwell};
pub use target::{Edit, Faults, Target};
pub use universe::Universe;
pub use wellbeing::{Temper, Wellbeing};
pub use witness::{Witness, wishes};
pub use words::name;
pub use world::{Counts, INTERVAL, PACE, Passed, World, person, simulate};
