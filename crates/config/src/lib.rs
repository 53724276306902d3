//! Configuration files, read into one resolved [`trued_model::Estate`], with all findings at once and a place for each.
//!
//! Pure: text in, values out. Which files there are comes through [`Files`]; which kinds there are, through [`Kinds`].
//! Nothing here decides what happens to a target.

mod after;
mod app;
mod called;
mod compare;
mod door;
mod example;
mod files;
mod grants;
mod health;
mod kinds;
mod later;
mod limits;
mod load;
mod operator;
mod paths;
mod previously;
mod pull;
mod render;
mod roots;
mod rules;
mod shape;
mod show;
mod stack;
mod suggest;
mod text;
mod valid;
mod words;

pub use compare::{differences, loosened};
pub use door::{Alone, OperatorConfiguration, Remembered};
pub use example::example;
pub use files::{Files, Gathered, NoFiles};
pub use kinds::{Kinds, Which};
pub use load::{Load, Loaded, OWN, Own, Wanted, load, wanted};
pub use show::show;
