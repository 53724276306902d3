//! What happens in a cluster: its events, and what others do to workloads (scale, roll out, restart). Heard by watches of
//! whole objects, of which only a few words are kept. Decides nothing.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use http::StatusCode;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::mpsc;
use trued_doors::{BoxStream, Told};
use trued_model::{Code, Refusal};

use crate::api::Api;
use crate::cluster::Cluster;
use crate::events::Events;
use crate::workloads::Workloads;

/// Happenings that may wait to be taken; more are counted as missed.
const WAITING: usize = 4_096;
/// Pauses before a list is tried again: after an end, and where it was refused.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_A_NO: Duration = Duration::from_secs(300);
/// A watch tells at least once a minute where it stands.
const SILENT_FOR: Duration = Duration::from_secs(150);

/// What is taken from a watch of whole objects.
pub(crate) trait Hearing: Send {
    /// A list begins, perhaps after one that broke off.
    fn listing(&mut self);
    /// One object of it, in no order that means something.
    fn listed(&mut self, object: &Value, tell: &mut dyn FnMut(Told));
    /// That was everything there is.
    fn all_listed(&mut self, tell: &mut dyn FnMut(Told));
    fn changed(&mut self, object: &Value, gone: bool, tell: &mut dyn FnMut(Told));
}

/// Where happenings go to.
#[derive(Clone)]
pub(crate) struct Telling {
    to: mpsc::Sender<Told>,
    lost: Arc<std::sync::atomic::AtomicU64>,
}

impl Telling {
    fn tell(&self, told: Told) {
        use std::sync::atomic::Ordering;
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 && self.to.try_send(Told::Missed(format!("{lost} happenings came faster than they were taken"))).is_err() {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
        if self.to.try_send(told).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Hears a cluster from a mark on, until the stream is dropped.
pub(crate) fn happenings(cluster: &Arc<Cluster>, events: bool, after: Option<String>) -> BoxStream<'static, Told> {
    let (to, told) = mpsc::channel(WAITING);
    let telling = Telling { to, lost: Arc::default() };
    let began = cluster.clock.now();
    let after = after.and_then(|after| after.parse().ok());
    let mut tasks = Vec::new();
    if events {
        tasks.push(tokio::spawn(hear(cluster.api.clone(), "/api/v1/events".to_owned(), Events::new(began, after), telling.clone())));
    }
    let workloads = [("Deployment", "deployments"), ("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")];
    for (kind, plural) in workloads.into_iter().filter(|_| events) {
        let workloads = Workloads::new(kind, cluster.clock.clone());
        tasks.push(tokio::spawn(hear(cluster.api.clone(), format!("/apis/apps/v1/{plural}"), workloads, telling.clone())));
    }
    let mut acts = cluster.acts.subscribe();
    tasks.push(tokio::spawn(async move {
        loop {
            match acts.recv().await {
                Ok(act) => telling.tell(Told::Happened(Box::new(act))),
                Err(tokio::sync::broadcast::error::RecvError::Lagged(lost)) => {
                    telling.tell(Told::Missed(format!("{lost} audited acts came faster than they were taken")));
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            }
        }
    }));
    let tasks = Ending(tasks);
    stream::unfold((told, tasks), |(mut told, tasks)| async move { told.recv().await.map(|one| (one, (told, tasks))) }).boxed()
}

/// Ends what hears when nobody listens any more.
struct Ending(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn hear(api: Api, path: String, mut hearing: impl Hearing, telling: Telling) {
    let mut said = None;
    loop {
        hearing.listing();
        let mut tell = |told| telling.tell(told);
        let pause = match api.list_whole(&path, |object| hearing.listed(&object, &mut tell)).await {
            Ok(listed) => {
                hearing.all_listed(&mut tell);
                said = None;
                follow(&api, &path, listed.version, &mut hearing, &telling).await;
                AGAIN_AFTER
            }
            Err(fault) => {
                let refusal = fault.refusal(&format!("list {path}"), false);
                let pause = if matches!(refusal.code, Code::Denied | Code::Absent) { AGAIN_AFTER_A_NO } else { AGAIN_AFTER };
                once(&mut said, &refusal, &telling);
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Says a reason for which nothing is heard, once as long as it is the same.
fn once(said: &mut Option<Code>, refusal: &Refusal, telling: &Telling) {
    if *said != Some(refusal.code) {
        *said = Some(refusal.code);
        telling.tell(Told::Missed(refusal.message.clone()));
    }
}

/// Follows changes until the watch ends, for whatever reason: then all is listed anew, and what it tells that is new is told.
async fn follow(api: &Api, path: &str, mut version: String, hearing: &mut impl Hearing, telling: &Telling) {
    while let Ok(events) = api.watch_whole(path, &version).await {
        let opened = tokio::time::Instant::now();
        let mut events = std::pin::pin!(events);
        loop {
            match tokio::time::timeout(SILENT_FOR, events.next()).await {
                Ok(Some(Ok(WatchEvent::Bookmark(bookmark)))) => version = bookmark.metadata.resource_version,
                Ok(Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)))) => {
                    hearing.changed(&object, false, &mut |told| telling.tell(told));
                    version = version_of(&object).unwrap_or(version);
                }
                Ok(Some(Ok(WatchEvent::Deleted(object)))) => {
                    hearing.changed(&object, true, &mut |told| telling.tell(told));
                    version = version_of(&object).unwrap_or(version);
                }
                Ok(Some(Ok(WatchEvent::Error(status)))) if status.code == StatusCode::GONE.as_u16() => return,
                Ok(Some(_)) | Err(_) => return,
                Ok(None) => break,
            }
        }
        if opened.elapsed() < AGAIN_AFTER {
            return;
        }
    }
}

fn version_of(object: &Value) -> Option<String> {
    crate::object::text(object, &["metadata", "resourceVersion"]).map(str::to_owned)
}
