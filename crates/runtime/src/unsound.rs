//! The incident over configuration that cannot be used: whoever serves has nobody who reads what `check` would say.

use trued_model::body::Incident;
use trued_model::{Finding, Kind};

use crate::record::draft;
use crate::runtime::Runtime;

/// The incident's kind.
const KIND: &str = "configuration";
/// The note that names the open incident.
const NOTE: &str = "configuration/unsound";

impl Runtime {
    /// Opens one incident while anything is wrong with the configuration, and closes it when nothing is.
    pub(crate) async fn judge_configuration(&self, findings: &[Finding]) {
        let noted = match self.doors.store.note(NOTE).await {
            Ok(noted) => noted.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<u64>().ok()),
            Err(_) => return,
        };
        match (noted, findings) {
            (None, [first, rest @ ..]) => {
                let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
                let incident = Incident {
                    kind: KIND.to_owned(),
                    source: None,
                    message: format!("{first}{more}"),
                    next: "correct it (trued check); what it concerns stays as it was configured last".to_owned(),
                    words: Vec::new(),
                    recurrence: 0,
                };
                let opened = draft(Kind::IncidentOpened, None, self.doors.clock.now(), "configuration", &incident);
                if let Ok(placed) = self.append(vec![opened], None).await
                    && let Some(indexed) = placed.first()
                {
                    self.note_unsound(&indexed.index.to_string()).await;
                }
            }
            (Some(index), []) => {
                self.close_loose_incident("configuration", index, "corrected").await;
                self.note_unsound("").await;
            }
            _ => {}
        }
    }

    async fn note_unsound(&self, index: &str) {
        if let Err(refusal) = self.doors.store.set_note(NOTE, index.as_bytes()).await {
            tracing::warn!("failed to remember the incident about the configuration: {refusal}");
        }
    }
}
