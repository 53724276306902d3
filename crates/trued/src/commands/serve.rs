//! `trued serve`: keeps stacks true until told to stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use trued_doors::BoxFuture;
use trued_model::{Duration, Name, Revision, Want};
use trued_runtime::{Aim, Pace, Runtime};

use crate::acting::{Acting, find, view};
use crate::commands::Session;
use crate::exit::Exit;
use crate::screen::{Output, Screen};
use crate::tuning;
use crate::wire::{self, Hand};

/// How often a render is repeated, to see whether it gives the same.
const REPEAT: Duration = Duration::from_secs(3600);

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued serve
  trued serve --poll 30s --listen 127.0.0.1:9080
  trued serve --reports 0.0.0.0:9443 --certificate tls.crt --key tls.key")]
pub struct Args {
    /// How often sources are asked
    #[arg(long, value_name = "SPAN", default_value = "30s")]
    pub poll: trued_model::Duration,
    /// Answer health questions and take what audit webhooks report here; loopback only
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<std::net::SocketAddr>,
    /// Take what audit webhooks of other machines report here, over https; each with its target's token
    #[arg(long, value_name = "ADDRESS", requires_all = ["certificate", "key"])]
    pub reports: Option<std::net::SocketAddr>,
    /// The certificate that is shown there, as PEM; read anew when it changes
    #[arg(long, value_name = "FILE", requires = "reports")]
    pub certificate: Option<PathBuf>,
    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "reports")]
    pub key: Option<PathBuf>,
    /// Who connects there must have a certificate of this authority too
    #[arg(long, value_name = "FILE", requires = "reports")]
    pub client_authority: Option<PathBuf>,
}

impl Args {
    /// Where reports of other machines are taken, and with which papers.
    fn reports(&self) -> Option<(std::net::SocketAddr, wire::Papers)> {
        let Args { reports, certificate, key, client_authority, .. } = self;
        let papers = wire::Papers { certificate: certificate.clone()?, key: key.clone()?, authority: client_authority.clone() };
        Some(((*reports)?, papers))
    }
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let state = session.at.state()?;
    let found = wire::serving(&state).await?;
    if found == wire::Serving::Answers {
        anyhow::bail!("a serve runs on {} already", state.display());
    }
    let acting = Acting::open(session, Hand::Writes, "serve").await?;
    if found == wire::Serving::Silent {
        // Stopped, or out of time: as long as its leases hold it is the one that serves here.
        if let Some(holder) = acting.opened.doors.store.holders().await?.first() {
            anyhow::bail!(
                "a serve runs on {} already (process {}); it does not answer, and it keeps its leases for a while yet",
                state.display(),
                holder.pid
            );
        }
        session.screen.say("another serve on this state folder does not answer and holds nothing any more; taking over");
    }
    let (stop, stopped) = watch::channel(false);
    let wake = Arc::new(Notify::new());
    let control = Control { runtime: acting.runtime.clone(), wake: wake.clone() };
    let socket = wire::control(&state, Arc::new(control), found == wire::Serving::Silent)?;
    let tally = Arc::new(wire::Tally::default());
    let awake = Arc::new(Awake { runtime: acting.runtime.clone(), tally: tally.clone() });
    let mut listening = Vec::new();
    if let Some(address) = args.listen {
        listening.push(wire::health(address, awake.clone(), awake.clone(), tally.clone()).await?);
    }
    if let Some((address, papers)) = args.reports() {
        listening.push(wire::reports(address, papers, awake, tally).await?);
    }
    tokio::spawn(async move {
        stop_asked().await;
        let _ = stop.send(true);
    });
    session.screen.say(&format!("serving; state in {}; ask with `trued status`, stop with Ctrl-C", state.display()));
    let pace = Pace { poll: args.poll, heartbeat: Duration::from_secs(60), repeat: tuning::repeat()?.unwrap_or(REPEAT) };
    let served = acting.runtime.serve(pace, wake, stopped).await;
    socket.close().await;
    drop(listening);
    served?;
    Ok(Exit::Done)
}

/// Waits for SIGTERM or SIGINT.
async fn stop_asked() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
}

/// What others may ask of a running `serve` through its socket.
struct Control {
    runtime: Arc<Runtime>,
    wake: Arc<Notify>,
}

impl wire::Controlled for Control {
    fn call<'a>(&'a self, request: wire::Request, _peer: wire::Peer) -> BoxFuture<'a, wire::Response> {
        Box::pin(async move {
            match request.verb.as_str() {
                "ping" => said("awake", json!({})),
                "wake" => {
                    self.wake.notify_one();
                    said("woken", json!({}))
                }
                "apply" | "reconcile" => self.pass(&request.arguments).await,
                other => wire::Response::refused(format!("serve knows no {other}")),
            }
        })
    }
}

impl Control {
    /// One pass over the named stacks. An apply names the revisions it would use; others than ours are refused.
    async fn pass(&self, arguments: &Value) -> wire::Response {
        let mut aim = Aim { want: Want::Newest, stacks: Vec::new(), writes: true, look: true, waits: arguments["waits"] == true };
        if let Err(refusal) = self.runtime.look_up(&aim).await {
            return wire::Response::refused(refusal.to_string());
        }
        let asked: BTreeMap<Name, Revision> =
            arguments.get("revisions").and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default();
        let ours = self.runtime.revisions();
        if let Some((name, revision)) = asked.iter().find(|(name, revision)| ours.get(*name) != Some(*revision)) {
            let follows = ours.get(name).map_or_else(|| "nothing".to_owned(), Revision::short);
            return wire::Response::refused(format!(
                "a serve runs here and follows {follows} of source {name}, not {}; commit it, or stop the serve",
                revision.short()
            ));
        }
        let names = self.runtime.names();
        let named: Vec<String> = arguments.get("stacks").and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default();
        for name in &named {
            match find(&names, name) {
                Ok(stack) => aim.stacks.push(stack),
                Err(error) => return wire::Response::refused(error.to_string()),
            }
        }
        match self.runtime.pass(&aim).await {
            Ok(report) => {
                let status = report.status(false);
                let mut body = view::applied(&report);
                if let Some(body) = body.as_object_mut() {
                    body.insert("status".to_owned(), json!(status));
                }
                let view::Told { results, remarks } = view::told(&report, &Screen::new(Output::Text));
                wire::Response { ok: true, body, message: results.join("\n"), remarks }
            }
            Err(refusal) => wire::Response::refused(refusal.to_string()),
        }
    }
}

fn said(message: &str, body: Value) -> wire::Response {
    wire::Response { ok: true, body, message: message.to_owned(), remarks: Vec::new() }
}

/// What health questions are answered with, and who takes reports.
struct Awake {
    runtime: Arc<Runtime>,
    tally: Arc<wire::Tally>,
}

impl wire::Health for Awake {
    fn report(&self) -> Value {
        json!({
            "stacks": self.runtime.estate().stacks.len(),
            "sources": self.runtime.revisions().len(),
            "counters": self.runtime.counters().report(),
            "reports": self.tally.report(),
        })
    }

    fn ready(&self) -> bool {
        !self.runtime.estate().stacks.is_empty()
    }
}

impl wire::Reports for Awake {
    fn admits<'a>(&'a self, target: &'a str, token: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(self.runtime.admits(target, token))
    }

    fn take<'a>(&'a self, target: &'a str, said: &'a [u8]) -> BoxFuture<'a, trued_doors::Answer<u64>> {
        Box::pin(self.runtime.hear(target, said))
    }
}
