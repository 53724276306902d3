//! Reading the estate: sources first, then configuration at their revisions; the last good one stays when it is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use trued_doors::{Answer, Configured, Query, Source, first};
use trued_model::body::{ConfigChanged, LISTED};
use trued_model::{Digest, Estate, Finding, Kind, Name, Revision, SourceSpec, Stack, StackId, Target};

use crate::asking::{Asking, Told};
use crate::record::{Drafting, draft};
use crate::runtime::{Aim, Runtime, blocking};

const NOTE: &str = "configuration";

impl Runtime {
    /// Reads the estate so that stacks can be named; walks nothing.
    pub async fn look_up(&self, aim: &Aim) -> Answer<Vec<Finding>> {
        self.refresh(aim).await
    }

    /// Asks sources, reads the configuration at what they are followed to, and finds orphans. Findings say all that is
    /// wrong; what is right goes on.
    pub(crate) async fn refresh(&self, aim: &Aim) -> Answer<Vec<Finding>> {
        self.refresh_by(aim, None).await
    }

    /// The same once more; with somebody who asks, no longer than that one waits for sources that do not answer.
    pub(crate) async fn refresh_by(&self, aim: &Aim, asking: Option<&mut Asking>) -> Answer<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut unsound = Vec::new();
        let mut broken = false;
        let specs = match self.doors.configuration.sources() {
            Ok(specs) => specs,
            Err(wrong) => {
                broken = true;
                unsound.extend(wrong);
                self.last_good().await.map(|estate| estate.sources.clone()).unwrap_or_default()
            }
        };
        let followed = self.follow_all(&specs, aim, asking, &mut findings).await;
        let revisions: BTreeMap<Name, Revision> = followed.iter().map(|(name, (_, revision))| (name.clone(), revision.clone())).collect();
        let configured = match broken {
            true => Configured { estate: None, findings: Vec::new(), digest: Digest::of(b"") },
            false => self.doors.configuration.load(&followed).await,
        };
        unsound.extend(configured.findings);
        let before = self.last_good().await;
        let decides = aim.writes && !matches!(aim.want, trued_model::Want::Named(_));
        if decides && before.is_some() {
            self.judge_configuration(&unsound).await;
        }
        findings.extend(unsound);
        let estate = match configured.estate {
            Some(estate) => {
                let estate = carried_over(estate, before.as_deref());
                if decides {
                    self.configuration_changed(before.as_deref(), &estate, configured.digest).await?;
                }
                self.the_same_if_equal(estate)
            }
            None => before.clone().unwrap_or_default(),
        };
        let known = {
            let mut state = self.state();
            state.revisions = revisions;
            std::mem::replace(&mut state.estate, estate.clone())
        };
        self.look_where_targets_changed(&known, &estate);
        self.follow_orphans(&estate).await?;
        Ok(findings)
    }

    /// What was seen last on a target says nothing of it under other settings: it may be another place.
    /// Whoever has seen nothing yet looks anyway.
    fn look_where_targets_changed(&self, before: &Arc<Estate>, now: &Arc<Estate>) {
        if Arc::ptr_eq(before, now) {
            return;
        }
        let other = |target: &Target| {
            before.targets.get(&target.name).is_some_and(|was| (&was.kind, &was.settings) != (&target.kind, &target.settings))
        };
        let changed: BTreeSet<&Name> = now.targets.values().filter(|target| other(target)).map(|target| &target.name).collect();
        for id in now.stacks.keys().filter(|id| changed.contains(&id.target)) {
            let cell = self.cell(id);
            let mut kept = cell.kept();
            (kept.hinted, kept.whole_look) = (true, None);
        }
    }

    /// What did not change stays the very same: much is remembered for as long as it does. What was read is compared once.
    fn the_same_if_equal(&self, read: Arc<Estate>) -> Arc<Estate> {
        let mut state = self.state();
        let known = state.equal.as_ref().is_some_and(|equal| Arc::ptr_eq(equal, &read));
        let same = known || Arc::ptr_eq(&state.estate, &read) || *state.estate == *read;
        state.equal = same.then(|| read.clone());
        if same { state.estate.clone() } else { read }
    }

    /// Looks for orphans, unless neither configuration nor record moved since they were looked for.
    async fn follow_orphans(&self, estate: &Arc<Estate>) -> Answer<()> {
        let size = self.doors.store.head().await?.size;
        let searched = |of: &(Arc<Estate>, u64)| Arc::ptr_eq(&of.0, estate) && of.1 == size;
        if self.state().searched.as_ref().is_some_and(searched) {
            return Ok(());
        }
        let orphans = self.find_orphans(estate).await?;
        let mut state = self.state();
        state.orphans = orphans;
        state.searched = Some((estate.clone(), size));
        Ok(())
    }

    async fn follow_all(
        &self,
        specs: &BTreeMap<Name, SourceSpec>,
        aim: &Aim,
        asking: Option<&mut Asking>,
        findings: &mut Vec<Finding>,
    ) -> BTreeMap<Name, (Arc<dyn Source>, Revision)> {
        let told = match asking {
            Some(asking) => asking.turn(specs, aim).await,
            None => join_all(specs.values().map(|spec| self.ask(spec.clone(), aim.clone()))).await,
        };
        let mut all = BTreeMap::new();
        for Told { spec, revision, findings: found } in told {
            findings.extend(found);
            if let (Some(revision), Ok(source)) = (revision, self.open_source(&spec)) {
                all.insert(spec.name.clone(), (source, revision));
            }
        }
        all
    }

    /// The estate that was read last, by this process or an earlier one.
    async fn last_good(&self) -> Option<Arc<Estate>> {
        let known = self.estate();
        if !known.stacks.is_empty() || !known.sources.is_empty() {
            return Some(known);
        }
        // Changes to who may sign are of this kind too, and bring no configuration.
        let changes = Query { kinds: vec![Kind::ConfigChanged], ..Query::default() };
        let newest = first(self.doors.store.as_ref(), changes, |change| change.entry.blob("configuration").is_some()).await.ok()??;
        let blob = *newest.entry.blob("configuration")?;
        let bytes = blocking(|| self.doors.blobs.get(&blob.digest)).ok()?;
        serde_json::from_slice(&bytes).ok().map(Arc::new)
    }

    /// A change to configuration is a fact of its own: it may loosen what guards everything else.
    async fn configuration_changed(&self, before: Option<&Estate>, estate: &Estate, digest: Digest) -> Answer<()> {
        let noted = self.doors.store.note(NOTE).await?.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| text.parse().ok());
        if noted == Some(digest) && before.is_some() {
            return Ok(());
        }
        let whole = without_findings(estate);
        let bytes = serde_json::to_vec(&whole).unwrap_or_default();
        let same = before.is_some_and(|before| without_findings(before) == whole);
        if !same {
            let blob = self.put_durably(&bytes).await?;
            let configuration = &self.doors.configuration;
            let mut lines = before.map_or_else(Vec::new, |before| configuration.differences(before, estate));
            let mut loosened = before.map_or_else(Vec::new, |before| configuration.loosened(before, estate));
            lines.truncate(LISTED);
            loosened.truncate(LISTED);
            let body = ConfigChanged { before: noted, after: digest, lines, loosened };
            let changed = draft(Kind::ConfigChanged, None, self.doors.clock.now(), "configuration", &body);
            self.append(vec![changed.blob("configuration", Some(blob))], None).await?;
        }
        self.doors.store.set_note(NOTE, digest.to_string().as_bytes()).await
    }

    /// Stacks of the record that nobody configures any more and that still have something on a target, or may have: a run that
    /// was interrupted is closed first, whoever configured it. While any part
    /// of the configuration cannot be read, nothing is an orphan: it is only not known.
    pub(crate) async fn find_orphans(&self, estate: &Estate) -> Answer<Vec<StackId>> {
        if estate.incomplete {
            return Ok(Vec::new());
        }
        let mut orphans = Vec::new();
        for id in self.doors.store.stacks().await? {
            if estate.stacks.contains_key(&id) || estate.unreadable.contains(&id.app) || !estate.targets.contains_key(&id.target) {
                continue;
            }
            let cell = self.cell(&id);
            let interrupted = cell.memory(self).await?.intents.values().any(|open| open.intent.command.is_none());
            if interrupted || !cell.inventory(self).await?.items.is_empty() {
                orphans.push(id);
            }
        }
        Ok(orphans)
    }

    /// The stacks a pass walks: configured ones first, then orphans.
    pub(crate) fn aimed(&self, aim: &Aim) -> Vec<StackId> {
        let state = self.state();
        let all = state.estate.stacks.keys().chain(&state.orphans);
        all.filter(|id| aim.stacks.is_empty() || aim.stacks.contains(id)).cloned().collect()
    }
}

/// The stacks of apps whose file cannot be read now stay as they were configured last.
fn carried_over(mut estate: Arc<Estate>, before: Option<&Estate>) -> Arc<Estate> {
    let Some(before) = before else { return estate };
    let unknown = |id: &StackId| estate.unreadable.contains(&id.app) || estate.incomplete;
    let lost = |id: &StackId| unknown(id) && !estate.stacks.contains_key(id) && estate.targets.contains_key(&id.target);
    let lost: Vec<(StackId, Stack)> =
        before.stacks.iter().filter(|(id, _)| lost(id)).map(|(id, stack)| (id.clone(), stack.clone())).collect();
    if !lost.is_empty() {
        Arc::make_mut(&mut estate).stacks.extend(lost);
    }
    estate
}

fn without_findings(estate: &Estate) -> Estate {
    Estate { findings: Vec::new(), ..estate.clone() }
}
