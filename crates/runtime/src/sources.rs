//! Following sources: which revision is accepted, how stale it is, and when history was rewritten.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trued_doors::{Answer, Query, Source, SourceOpening};
use trued_engine::age;
use trued_engine::planted::{self, Bug};
use trued_model::body::{Answered, Closed, Incident};
use trued_model::{Code, Finding, Kind, Name, Refusal, Relation, Revision, SourceSpec, Timestamp, Want};

use crate::record::{Drafting, draft};
use crate::runtime::{Aim, Runtime};
use crate::verified::{Judged, LastVerified, Unverified};

/// What is remembered of a source between processes; a note beside the record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Followed {
    pub accepted: Option<String>,
    /// Since when the remote has not answered.
    pub stale_since: Option<Timestamp>,
    pub failures: u32,
    /// Open incident about fetching.
    pub fetch_incident: Option<u64>,
    /// Open incident about a rewind, and to which revision.
    pub rewind: Option<(u64, String)>,
    /// What the remote showed last, and since when it shows just that.
    #[serde(default)]
    pub still: Option<Still>,
    /// What was verified last, as the record has it.
    #[serde(default)]
    pub verified: Option<LastVerified>,
    /// The revision that is not accepted because of its signatures.
    #[serde(default)]
    pub unverified: Option<Unverified>,
}

/// A revision that a remote has shown again and again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Still {
    pub revision: String,
    /// When it was first seen.
    pub since: Timestamp,
    /// The open incident about it.
    pub incident: Option<u64>,
}

impl Runtime {
    /// Opens a configured source, once for as long as its settings stay: another address, key or policy is another source.
    pub(crate) fn open_source(&self, spec: &SourceSpec) -> Answer<Arc<dyn Source>> {
        if let Some((opened, source)) = self.state().sources.get(&spec.name)
            && opened == spec
        {
            return Ok(source.clone());
        }
        let kind = self.doors.sources.get(&spec.kind);
        let kind = kind.ok_or_else(|| Refusal::new(Code::Unsupported, format!("no source kind {} in this build", spec.kind)))?;
        let source = kind.open(SourceOpening {
            spec: spec.clone(),
            cache: self.doors.source_cache.join(spec.name.as_str()),
            secrets: self.doors.secrets.clone(),
            runner: self.doors.runner.clone(),
            clock: self.doors.clock.clone(),
        })?;
        self.state().sources.insert(spec.name.clone(), (spec.clone(), source.clone()));
        Ok(source)
    }

    /// Finds the revision of a source that is to be used now. A newer one is accepted when it follows the last one;
    /// a failed ask or a rewind leaves the last good one, and says so.
    pub(crate) async fn follow(&self, spec: &SourceSpec, aim: &Aim, findings: &mut Vec<Finding>) -> Option<Revision> {
        let name = &spec.name;
        let mut followed = self.followed(name).await;
        let good = followed.accepted.clone().map(|id| Revision { source: name.clone(), id });
        self.state().stale.remove(name);
        let source = match self.open_source(spec) {
            Ok(source) => source,
            Err(refusal) => {
                self.stale(name, &mut followed, &refusal, aim, findings).await;
                return good;
            }
        };
        let asked = source.fetches();
        let found = match source.resolve(aim.want.clone()).await {
            // Only a repository of one's own has a working tree to read; of the others the newest revision counts.
            Err(refusal) if refusal.code == Code::Unsupported && aim.want == Want::WorkTree => source.resolve(Want::Newest).await,
            found => found,
        };
        crate::Counters::add(&self.counters.fetches, source.fetches() - asked);
        let found = match found {
            Ok(found) => found,
            Err(refusal) => {
                self.stale(name, &mut followed, &refusal, aim, findings).await;
                return good;
            }
        };
        let named = matches!(aim.want, Want::Named(_));
        let relation = match &good {
            Some(good) if !named && !planted::has(Bug::FollowRewind) => source.relation(good, &found).await,
            _ => Ok(Relation::Follows),
        };
        let relation = match relation {
            Ok(relation) => relation,
            // The history in between could not be had: that is no sign of a rewritten one.
            Err(refusal) => {
                self.stale(name, &mut followed, &refusal, aim, findings).await;
                return good;
            }
        };
        if aim.writes {
            self.fresh(name, &mut followed).await;
        }
        if aim.writes && matches!(aim.want, Want::Newest | Want::WorkTree) {
            self.aged(name, &mut followed, &found, source.patience()).await;
        }
        if relation == Relation::Rewinds && !self.accepted_anyway(name, &mut followed, &found, aim, findings).await {
            return good;
        }
        // What a person let pass although it does not follow is judged as at first contact.
        let judged = Judged { source: &source, found: &found, follows: relation != Relation::Rewinds };
        if !self.verified(spec, &mut followed, judged, aim, findings).await {
            return good;
        }
        if aim.writes && followed.accepted.as_deref() != Some(&found.id) {
            followed.accepted = Some(found.id.clone());
            self.remember(name, &followed).await;
        }
        if aim.writes {
            self.close_rewind(name, &mut followed).await;
        }
        Some(found)
    }

    pub(crate) async fn followed(&self, name: &Name) -> Followed {
        let note = self.doors.store.note(&key(name)).await.ok().flatten();
        note.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub(crate) async fn remember(&self, name: &Name, followed: &Followed) {
        if let Ok(bytes) = serde_json::to_vec(followed)
            && let Err(refusal) = self.doors.store.set_note(&key(name), &bytes).await
        {
            tracing::warn!(source = %name, "failed to remember the source's state: {refusal}");
        }
    }

    /// The remote did not answer: keep the last good revision, say since when, and open an incident after a while.
    pub(crate) async fn stale(&self, name: &Name, followed: &mut Followed, refusal: &Refusal, aim: &Aim, findings: &mut Vec<Finding>) {
        self.state().stale.insert(name.clone());
        let now = self.doors.clock.now();
        let since = *followed.stale_since.get_or_insert(now);
        let last = match &followed.accepted {
            Some(id) => format!("revision {} stays, stale since {since}", id.chars().take(12).collect::<String>()),
            None => "there is no earlier revision".to_owned(),
        };
        findings.push(Finding::new(format!("source {name}: {refusal}; {last}"), refusal.help.clone()));
        if !aim.writes {
            return;
        }
        followed.failures = followed.failures.saturating_add(1);
        // One that cannot even be opened says nothing of its patience.
        let patience = self.state().sources.get(name).map(|(_, source)| source.patience()).unwrap_or_default();
        if followed.fetch_incident.is_none() && age::unanswered(since, followed.failures, patience, now) {
            let incident = Incident {
                kind: "fetch".to_owned(),
                source: Some(name.clone()),
                message: format!("cannot be fetched: {refusal}; {last}"),
                next: "make the source reachable; nothing is deleted meanwhile".to_owned(),
                words: Vec::new(),
                recurrence: 0,
            };
            let opened = self.append(vec![draft(Kind::IncidentOpened, None, now, "observation", &incident)], None).await;
            followed.fetch_incident = opened.ok().and_then(|placed| placed.first().map(|indexed| indexed.index));
        }
        self.remember(name, followed).await;
    }

    /// The remote answered again.
    async fn fresh(&self, name: &Name, followed: &mut Followed) {
        if followed.failures == 0 && followed.fetch_incident.is_none() && followed.stale_since.is_none() {
            return;
        }
        if let Some(index) = followed.fetch_incident.take() {
            self.close_loose_incident("source", index, "recovered").await;
        }
        followed.failures = 0;
        followed.stale_since = None;
        self.remember(name, followed).await;
    }

    /// Whether a person accepted this rewind; if not, an incident asks, once per rewound revision.
    async fn accepted_anyway(
        &self,
        name: &Name,
        followed: &mut Followed,
        found: &Revision,
        aim: &Aim,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let good = followed.accepted.clone().unwrap_or_default();
        let message = format!(
            "source {name}: history was rewritten: {} does not follow {}; not followed",
            found.short(),
            good.chars().take(12).collect::<String>()
        );
        if let Some((index, to)) = followed.rewind.clone()
            && to == found.id
        {
            if self.answered(index, "accept").await {
                return true;
            }
            findings.push(Finding::new(message, format!("to follow it: trued answer #{index} accept --reason TEXT")));
            return false;
        }
        if aim.writes {
            let incident = Incident {
                kind: "rewind".to_owned(),
                source: Some(name.clone()),
                message: message.clone(),
                next: "push a commit that follows the old one, or trued answer #N accept --reason TEXT".to_owned(),
                words: vec!["accept".to_owned()],
                recurrence: 0,
            };
            self.close_rewind(name, followed).await;
            let now = self.doors.clock.now();
            let opened = draft(Kind::IncidentOpened, None, now, "source", &incident).revision(Some(found.id.clone()));
            if let Ok(placed) = self.append(vec![opened], None).await {
                followed.rewind = placed.first().map(|indexed| (indexed.index, found.id.clone()));
                self.remember(name, followed).await;
            }
        }
        let index = followed.rewind.as_ref().map_or("N".to_owned(), |(index, _)| index.to_string());
        findings.push(Finding::new(message, format!("to follow it: trued answer #{index} accept --reason TEXT")));
        false
    }

    async fn close_rewind(&self, name: &Name, followed: &mut Followed) {
        if let Some((index, _)) = followed.rewind.take() {
            self.close_loose_incident("source", index, "answered").await;
            self.remember(name, followed).await;
        }
    }

    /// Closes an incident that is about no stack.
    pub(crate) async fn close_loose_incident(&self, cause: &str, index: u64, how: &str) {
        let closed = draft(Kind::IncidentClosed, None, self.doors.clock.now(), cause, &Closed { how: how.to_owned() });
        if let Err(refusal) = self.append(vec![closed.link("closes", Some(index))], None).await {
            tracing::warn!("failed to close incident #{index}: {refusal}");
        }
    }

    /// Whether a person said a word on an item.
    pub(crate) async fn answered(&self, item: u64, word: &str) -> bool {
        let query = Query { kinds: vec![Kind::Answered], after: Some(item), ..Query::default() };
        let answers = self.doors.store.find(query).await.unwrap_or_default();
        let says = |answer: &trued_model::Entry| answer.body::<Answered>().is_ok_and(|answered| answered.word == word);
        answers.iter().any(|answer| answer.entry.link("answers") == Some(item) && says(&answer.entry))
    }
}

fn key(name: &Name) -> String {
    format!("source/{name}")
}
