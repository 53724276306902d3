//! One file per verb. Each takes its words and a session, prints its result, and gives the exit status.

use std::sync::Arc;

use trued_runtime::Counters;

use crate::cli::Verb;
use crate::exit::Exit;
use crate::place::Asked;
use crate::screen::Screen;

pub mod adopt;
pub mod answer;
pub mod apply;
pub mod approve;
pub mod at;
pub mod check;
pub mod completions;
pub mod config;
pub mod coverage;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod export;
pub mod import;
pub mod incidents;
pub mod init;
pub mod keys;
pub mod log;
pub mod plan;
pub mod reconcile;
pub mod render;
pub mod rollback;
pub mod schema;
pub mod serve;
pub mod show;
pub mod state;
pub mod status;
pub mod suspend;
pub mod verify;
pub mod whole;
pub mod why;

/// What every verb may use.
pub struct Session<'a> {
    pub at: Asked,
    pub screen: &'a Screen,
    pub counters: Arc<Counters>,
}

/// Runs one verb.
pub async fn run(verb: Verb, session: Session<'_>) -> anyhow::Result<Exit> {
    let session = &session;
    match verb {
        Verb::Init(args) => init::run(args, session),
        Verb::Check(args) => check::run(args, session).await,
        Verb::Render(args) => render::run(args, session).await,
        Verb::Schema(args) => schema::run(args, session),
        Verb::Config(args) => config::run(args, session).await,
        Verb::Plan(args) => plan::run(args, session).await,
        Verb::Apply(args) => apply::run(args, session).await,
        Verb::Serve(args) => serve::run(args, session).await,
        Verb::Reconcile(args) => reconcile::run(args, session).await,
        Verb::Status(args) => status::run(args, session).await,
        Verb::Coverage(args) => coverage::run(args, session).await,
        Verb::Import(args) => import::run(args, session).await,
        Verb::State(args) => state::run(args, session).await,
        Verb::Log(args) => log::run(args, session).await,
        Verb::Show(args) => show::run(args, session).await,
        Verb::At(args) => at::run(args, session).await,
        Verb::Diff(args) => diff::run(args, session).await,
        Verb::Why(args) => why::why(args, session).await,
        Verb::Who(args) => why::who(args, session).await,
        Verb::Verify(args) => verify::run(args, session).await,
        Verb::Export(args) => export::run(args, session).await,
        Verb::Incidents(args) => incidents::run(args, session).await,
        Verb::Approve(args) => approve::run(args, session).await,
        Verb::Answer(args) => answer::run(args, session).await,
        Verb::Adopt(args) => adopt::run(args, session).await,
        Verb::Suspend(args) => suspend::suspend(args, session).await,
        Verb::Resume(args) => suspend::resume(args, session).await,
        Verb::Rollback(args) => rollback::run(args, session).await,
        Verb::Keys(args) => keys::run(args, session).await,
        Verb::Doctor(args) => doctor::run(args, session).await,
        Verb::Completions(args) => completions::run(args),
        Verb::Demo(args) => demo::run(args, session).await,
    }
}
