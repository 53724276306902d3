//! Decisions: value in, value out. No I/O, no clock, no ids, no chance; nothing of ours below it but `model`.

pub mod age;
mod assess;
mod bounds;
mod coverage;
mod errands;
mod gate;
mod health;
pub mod history;
mod holds;
mod limits;
mod memory;
mod order;
mod plan;
pub mod planted;
mod removal;
mod sides;
mod step;

pub use assess::{Assessment, assess, drift_set};
pub use bounds::Bounds;
pub use coverage::{Coverage, Ground, Unmanaged, coverage};
pub use errands::{Course, Errands, course};
pub use gate::{Standing, gate};
pub use health::{Wellness, wellness};
pub use limits::over_limit;
pub use memory::{ERRAND, OpenDrift, OpenIncident, OpenIntent, Release, Rolled, StackMemory, fold};
pub use plan::{Claims, PlanInput, Settled, Wish, candidates, plan};
pub use sides::Sides;
pub use step::{Effect, Event, Phase, Planned, step};
