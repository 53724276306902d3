//! Signatures of revisions: a revision whose source asks for signatures is accepted only with a verdict on record, made
//! for its id. Everything else leaves the last accepted one in force, and says so.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trued_doors::{Answer, Judgement, Query, Source, first};
use trued_model::body::{ConfigChanged, Incident, LISTED};
use trued_model::{Digest, Entry, Finding, Kind, Name, Revision, SignerPolicy, SourceSpec, Timestamp, Verified, canonical};

use crate::record::{Drafting, draft};
use crate::runtime::{Aim, Runtime, blocking};
use crate::sources::Followed;

/// A newest revision that a source gave.
pub(crate) struct Judged<'a> {
    pub source: &'a Arc<dyn Source>,
    pub found: &'a Revision,
    /// Whether it follows what was accepted before.
    pub follows: bool,
}

/// What was verified last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastVerified {
    pub revision: String,
    /// The policy that is on record last; it may have changed since the verdict.
    pub policy: Digest,
}

/// A revision that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unverified {
    pub revision: String,
    /// What it was refused for.
    pub why: String,
    /// Since when newer revisions are refused.
    pub since: Timestamp,
    /// The open incident.
    pub incident: Option<u64>,
}

impl Runtime {
    /// Whether a revision may be accepted as far as signatures go.
    pub(crate) async fn verified(
        &self,
        spec: &SourceSpec,
        followed: &mut Followed,
        judged: Judged<'_>,
        aim: &Aim,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let (name, Judged { source, found, follows }) = (&spec.name, judged);
        // Without a policy the record need not be asked.
        if followed.verified.is_none() {
            // Asked about a revision that is known already, a source only says whether it asks for signatures at all.
            match source.verify(found, Some(&found.id), self.doors.clock.now()).await {
                Ok(Judgement::Unasked) => return self.nothing_refused(name, followed, aim).await,
                // A record that cannot be read is not one without verdicts: that would be first contact, which asks for less.
                _ => match self.last_verified(name).await {
                    Ok(last) => followed.verified = last,
                    Err(refusal) => {
                        let message = format!("source {name}: {refusal}; {} is not accepted", found.short());
                        findings.push(Finding::new(message, refusal.help));
                        return false;
                    }
                },
            }
        }
        let since = followed.verified.as_ref().filter(|last| follows || last.revision == found.id).map(|last| last.revision.clone());
        match source.verify(found, since.as_deref(), self.doors.clock.now()).await {
            Ok(Judgement::Unasked) => {}
            Ok(Judgement::Known(policy)) => {
                if aim.writes
                    && let Err(refusal) = self.signers_changed(name, followed, &policy, &found.id).await
                {
                    tracing::warn!(source = %name, "failed to record who may sign: {refusal}");
                }
            }
            Ok(Judgement::Verified(policy, verified)) => {
                if aim.writes
                    && let Err(refusal) = self.record_verdict(name, followed, &policy, &verified, found).await
                {
                    findings.push(Finding::new(format!("source {name}: {refusal}; {} is not accepted", found.short()), refusal.help));
                    return false;
                }
            }
            Ok(Judgement::Refused(why)) => {
                self.unverified(name, followed, found, why, aim, findings).await;
                return false;
            }
            Err(refusal) => {
                self.stale(name, followed, &refusal, aim, findings).await;
                return false;
            }
        }
        self.nothing_refused(name, followed, aim).await
    }

    /// The newest verdict that the record has about a source.
    async fn last_verified(&self, name: &Name) -> Answer<Option<LastVerified>> {
        let verdict = |entry: &Entry| entry.body::<Verified>().ok().filter(|verified| verified.source == *name && entry.revision.is_some());
        let verdicts = Query { kinds: vec![Kind::Verified], ..Query::default() };
        let newest = first(self.doors.store.as_ref(), verdicts, |indexed| verdict(&indexed.entry).is_some()).await?;
        Ok(newest.and_then(|indexed| {
            let policy = verdict(&indexed.entry)?.policy;
            Some(LastVerified { revision: indexed.entry.revision?, policy })
        }))
    }

    /// Puts a verdict on record, with the policy it was made by.
    async fn record_verdict(
        &self,
        name: &Name,
        followed: &mut Followed,
        policy: &SignerPolicy,
        verified: &Verified,
        found: &Revision,
    ) -> Answer<()> {
        self.signers_changed(name, followed, policy, &found.id).await?;
        let blob = self.put_durably(&canonical(policy)).await?;
        let verdict = draft(Kind::Verified, None, self.doors.clock.now(), "source", verified).revision(Some(found.id.clone()));
        self.append(vec![verdict.blob("policy", Some(blob))], None).await?;
        followed.verified = Some(LastVerified { revision: found.id.clone(), policy: verified.policy });
        self.remember(name, followed).await;
        Ok(())
    }

    /// Who may sign is configuration, also where it stands in files of its own: a change is an entry.
    async fn signers_changed(&self, name: &Name, followed: &mut Followed, policy: &SignerPolicy, revision: &str) -> Answer<()> {
        let after = policy.digest();
        let Some(before) = followed.verified.as_ref().map(|last| last.policy).filter(|before| *before != after) else { return Ok(()) };
        let blob = self.put_durably(&canonical(policy)).await?;
        // The policy's digest is that of its bytes.
        let old = blocking(|| self.doors.blobs.get(&before)).ok().and_then(|bytes| serde_json::from_slice::<SignerPolicy>(&bytes).ok());
        let of_source = |lines: Vec<String>| lines.into_iter().take(LISTED).map(|line| format!("source {name}: {line}")).collect();
        let lines = of_source(old.as_ref().map_or_else(|| vec!["who may sign changed".to_owned()], |old| old.differences(policy)));
        let loosened = of_source(old.as_ref().map_or_else(Vec::new, |old| old.loosened(policy)));
        let body = ConfigChanged { before: Some(before), after, lines, loosened };
        let changed = draft(Kind::ConfigChanged, None, self.doors.clock.now(), "signers", &body);
        self.append(vec![changed.blob("signers", Some(blob))], None).await?;
        // Only what is on record is remembered; the verdict itself stays.
        let revision = followed.verified.take().map_or_else(|| revision.to_owned(), |last| last.revision);
        followed.verified = Some(LastVerified { revision, policy: after });
        self.remember(name, followed).await;
        Ok(())
    }

    /// A revision is refused: the last accepted one stays, an incident says why, once per revision and reason.
    async fn unverified(
        &self,
        name: &Name,
        followed: &mut Followed,
        found: &Revision,
        why: Vec<Finding>,
        aim: &Aim,
        findings: &mut Vec<Finding>,
    ) {
        let now = self.doors.clock.now();
        let before = followed.unverified.take();
        let since = before.as_ref().map_or(now, |before| before.since);
        let last = match &followed.accepted {
            Some(id) if *id == found.id => format!("{} is in force already and stays", found.short()),
            Some(id) => format!("revision {} stays, stale since {since}", id.chars().take(12).collect::<String>()),
            None => "there is no earlier revision".to_owned(),
        };
        let words: Vec<String> = why.iter().map(|finding| finding.message.clone()).collect();
        let next = why.first().map(|finding| finding.help.clone()).unwrap_or_default();
        let said = words.join("; ");
        for finding in why {
            let message = format!("source {name}: {} is not accepted: {}; {last}", found.short(), finding.message);
            findings.push(Finding { message, ..finding });
        }
        if !aim.writes {
            followed.unverified = before;
            return;
        }
        let same = before.as_ref().is_some_and(|before| before.revision == found.id && before.why == said && before.incident.is_some());
        let incident = match before.as_ref().and_then(|before| before.incident) {
            Some(index) if same => Some(index),
            earlier => {
                if let Some(index) = earlier {
                    self.close_loose_incident("source", index, "superseded").await;
                }
                let body = Incident {
                    kind: "unverified".to_owned(),
                    source: Some(name.clone()),
                    message: format!("{} is not accepted: {said}; {last}", found.short()),
                    next,
                    words: Vec::new(),
                    recurrence: 0,
                };
                let opened = draft(Kind::IncidentOpened, None, now, "source", &body).revision(Some(found.id.clone()));
                self.append(vec![opened], None).await.ok().and_then(|placed| placed.first().map(|indexed| indexed.index))
            }
        };
        followed.unverified = Some(Unverified { revision: found.id.clone(), why: said, since, incident });
        if !same {
            self.remember(name, followed).await;
        }
    }

    /// What was refused is no longer the newest, or no longer refused.
    async fn nothing_refused(&self, name: &Name, followed: &mut Followed, aim: &Aim) -> bool {
        if aim.writes
            && let Some(refused) = followed.unverified.take()
        {
            if let Some(index) = refused.incident {
                self.close_loose_incident("source", index, "recovered").await;
            }
            self.remember(name, followed).await;
        }
        true
    }
}
