//! One file for each room that reads what others wrote.

pub mod addresses;
pub mod charts;
pub mod cluster;
pub mod configuration;
pub mod control;
pub mod git;
pub mod record;
pub mod secrets;
pub mod signatures;
pub mod target;
pub mod template;
pub mod words;
pub mod yaml;

use std::cell::RefCell;

use tokio::runtime::{Builder, Runtime};
use trued_doors::{Answer, BoxFuture, Confined, Confines, Exit, Program, Runner, Secrets, Talk};
use trued_model::{Code, Duration, Level, Name, Refusal, Secret};

/// Waits for a room that answers later.
fn wait<T>(answer: impl Future<Output = T>) -> T {
    thread_local!(static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().enable_all().build().expect("a runtime")));
    RUNTIME.with(|runtime| runtime.borrow().block_on(answer))
}

/// Gives no secret and starts no program.
struct Nothing;

impl Secrets for Nothing {
    fn get(&self, name: &Name) -> Answer<Secret> {
        Err(Refusal::new(Code::Denied, format!("secret {name} is not granted")))
    }
}

impl Runner for Nothing {
    fn run(&self, _: Program) -> BoxFuture<'_, Answer<Exit>> {
        panic!("a program was started");
    }

    fn open(&self, _: Program, _: Duration) -> BoxFuture<'_, Answer<Talk>> {
        panic!("a program was started");
    }

    /// Our own tasks need no process to be fed with anything.
    fn task(&self, name: &'static str, input: Vec<u8>, _: Confines) -> BoxFuture<'_, Answer<Confined>> {
        let mut output = Vec::new();
        let (_, task) = trued_render::TASKS.iter().find(|(known, _)| *known == name).expect("a task");
        let ended = task(input, &mut output);
        let exit = Exit { status: Some(i32::from(ended.is_err())), output, error: Vec::new() };
        Box::pin(async { Ok(Confined { level: Level::Base, passed: None, exit }) })
    }
}
