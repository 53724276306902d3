//! The alarm over a source that answers and never moves. When it rings is decided in `engine::age`; this tells what was seen
//! since when, and opens and closes the incident.

use trued_engine::age;
use trued_model::body::Incident;
use trued_model::{Kind, Name, Patience, Revision, Timestamp};

use crate::record::{Drafting, draft};
use crate::runtime::Runtime;
use crate::sources::{Followed, Still};

/// The incident's kind.
const UNMOVED: &str = "unmoved";

impl Runtime {
    /// The remote answered, and this is the newest there is.
    pub(crate) async fn aged(&self, name: &Name, followed: &mut Followed, found: &Revision, patience: Patience) {
        if patience.unmoved.is_none() && followed.still.is_none() {
            return;
        }
        let now = self.doors.clock.now();
        match followed.still.take() {
            Some(still) if still.revision == found.id => self.stays(name, followed, still, patience, now).await,
            before => {
                if let Some(index) = before.and_then(|before| before.incident) {
                    self.close_loose_incident("source", index, "it moved").await;
                }
                followed.still = Some(Still { revision: found.id.clone(), since: now, incident: None });
                self.remember(name, followed).await;
            }
        }
    }

    async fn stays(&self, name: &Name, followed: &mut Followed, mut still: Still, patience: Patience, now: Timestamp) {
        let mut changed = true;
        let too_long = age::unmoved(still.since, patience, now);
        match still.incident {
            // A person has looked: it may stay so for as long again.
            Some(index) if self.answered(index, "accept").await => {
                self.close_loose_incident("source", index, "answered").await;
                still = Still { since: now, incident: None, ..still };
            }
            Some(index) if !too_long => {
                self.close_loose_incident("source", index, "it may stay longer now").await;
                still.incident = None;
            }
            None if too_long => still.incident = self.unmoved(name, &still, now).await,
            _ => changed = false,
        }
        followed.still = Some(still);
        if changed {
            self.remember(name, followed).await;
        }
    }

    async fn unmoved(&self, name: &Name, still: &Still, now: Timestamp) -> Option<u64> {
        let short: String = still.revision.chars().take(12).collect();
        let message = format!(
            "answers and has not moved from {short} since {}: nobody changed anything, or the server shows an old state of it",
            still.since
        );
        tracing::warn!(source = %name, "{message}");
        let incident = Incident {
            kind: UNMOVED.to_owned(),
            source: Some(name.clone()),
            message,
            next: "compare it with where people push to; if nobody did: trued answer #N accept --reason TEXT, or write a longer \
                   alarm.unmoved at the source"
                .to_owned(),
            words: vec!["accept".to_owned()],
            recurrence: 0,
        };
        let opened = draft(Kind::IncidentOpened, None, now, "observation", &incident).revision(Some(still.revision.clone()));
        let placed = self.append(vec![opened], None).await;
        placed.ok().and_then(|placed| placed.first().map(|indexed| indexed.index))
    }
}
