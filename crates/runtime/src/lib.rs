//! Performs what the engine decides: wakes, leases, looks, writes, records. Alone knows the order of stages; names no
//! concrete source, renderer, driver or store.

mod age;
mod asking;
mod cell;
mod claims;
mod counters;
mod coverage;
mod doors;
mod estate;
mod gained;
mod happenings;
mod import;
mod incidents;
mod inputs;
mod keys;
mod lease;
mod neighbours;
mod pieces;
mod pulled;
mod record;
mod remembered;
mod render;
mod repeat;
mod report;
mod runtime;
mod say;
mod secrets;
mod serve;
mod sources;
mod tasks;
mod turn;
mod unsound;
mod verified;
mod waiting;
mod walk;

pub use counters::Counters;
pub use coverage::Reach;
pub use doors::Doors;
pub use import::{Imported, Wanted as ToImport};
pub use keys::{Keyed, Keys};
pub use render::Shown;
pub use repeat::difference;
pub use report::{Pending, Report, StackReport};
pub use runtime::{Aim, Runtime, Told, Waiting, snapshot_key};
pub use say::{Adopted, Answer as AnswerWord, Word};
pub use serve::{Pace, Stop};
