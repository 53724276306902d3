//! `trued at TIME STACK --whole`: what ran at an instant, all of it: the change that made it so, who had a hand in it, what
//! else happened around then, and each manifest in full.

use serde_json::{Value, json};
use trued_engine::history::{self, Answer, Doer, Story, happened_words};
use trued_model::body::Happened;
use trued_model::{Address, Duration, Indexed, Kind, Manifest, StackId, Timestamp};

use crate::commands::at;
use crate::commands::{diff, why};
use crate::gather;
use crate::record::Record;
use crate::screen::Screen;
use crate::when;
use crate::wire;

/// How near to the instant something else counts as around then.
const AROUND: Duration = Duration::from_secs(600);
/// How much of it people are shown.
const SHOWN: usize = 20;

/// All that is known of what ran.
pub struct Whole {
    /// What the last change before the instant changed: one unified difference each.
    changed: Vec<(Address, String)>,
    /// When that was.
    since: Option<Timestamp>,
    who: Vec<Doer>,
    around: Vec<Happened>,
    /// As people read them; `None` where it is sealed or no text.
    manifests: Vec<(Address, Option<String>)>,
}

impl Whole {
    pub async fn gather(record: &Record, stack: &StackId, answer: &Answer, instant: Timestamp) -> anyhow::Result<Whole> {
        let manifest = at::manifest(record, answer)?.unwrap_or_default();
        let entries = gather::chain_at(record, stack, instant).await?;
        let since = begun(record, answer, &entries).await?;
        let before = match since {
            Some(since) => at::manifest(record, &at::answer(record, stack, since - Duration(1)).await?)?.unwrap_or_default(),
            None => Manifest::default(),
        };
        let changed = diff::texts(record, ("before", &before), ("then", &manifest))?;
        let revision = entries.iter().rev().find(|e| e.entry.kind == Kind::Intent).and_then(|intent| intent.entry.revision.clone());
        let commit = match revision {
            Some(revision) => why::commit(record, stack, &revision).await,
            None => None,
        };
        let who = history::who(&Story { entries: &entries, address: None, touch: None, commit: commit.as_ref() });
        let around = gather::happened_around(record, stack, instant, AROUND).await?;
        let kind = gather::estate(record).await?.and_then(|estate| Some(estate.targets.get(&stack.target)?.kind.clone()));
        let objects = kind.is_some_and(|kind| wire::objects(&kind));
        let mut manifests = Vec::new();
        for (address, item) in &manifest.items {
            let bytes = item.content.as_ref().map(|content| record.bytes(content)).transpose()?.flatten();
            let text = bytes.and_then(|bytes| readable(bytes, objects));
            manifests.push((address.clone(), text));
        }
        Ok(Whole { changed, since, who, around, manifests })
    }

    /// For machines.
    pub fn value(&self) -> Value {
        let doer = |doer: &Doer| {
            json!({ "index": doer.index, "at": doer.at, "name": doer.name, "did": doer.did, "evidence": doer.evidence,
                "grade": doer.grade.word(), "fact": doer.grade.is_fact() })
        };
        let pair = |(address, diff): &(Address, String)| json!({ "address": address, "diff": diff });
        json!({
            "since": self.since,
            "changed": self.changed.iter().map(pair).collect::<Vec<_>>(),
            "who": self.who.iter().map(doer).collect::<Vec<_>>(),
            "around": self.around,
            "manifests": self.manifests.iter().map(|(address, text)| json!({ "address": address, "text": text })).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn show(&self, record: &Record, screen: &Screen) -> anyhow::Result<()> {
        for doer in &self.who {
            let place = doer.index.map_or_else(String::new, |index| format!("#{index}"));
            screen.line(format!("  {}  {}", screen.dim(&format!("{place:<6}")), record.speak(|voice| doer.said(voice))))?;
        }
        if !self.around.is_empty() {
            screen.line("around then:")?;
        }
        for one in self.around.iter().take(SHOWN) {
            let at = screen.dim(&when::date_and_clock(one.first));
            screen.line(format!("  {at}  {}", record.speak(|voice| happened_words(one, voice))))?;
        }
        if self.around.len() > SHOWN {
            screen.line(format!("  … and {} more; `trued log --around` lists all", self.around.len() - SHOWN))?;
        }
        if let Some(since) = self.since {
            screen.line(format!("changed last at {}:", when::date_and_clock(since)))?;
        }
        for (_, text) in &self.changed {
            diff::print(text, screen)?;
        }
        for (address, text) in &self.manifests {
            screen.line(format!("---\n# {address}"))?;
            match text {
                Some(text) => screen.bytes(text.as_bytes())?,
                None => screen.line("# sealed, or no text")?,
            }
        }
        Ok(())
    }
}

/// When what an answer shows began: the run that made it so, or the drift that was found.
async fn begun(record: &Record, answer: &Answer, entries: &[Indexed]) -> anyhow::Result<Option<Timestamp>> {
    let Some(index) = answer.entry else { return Ok(None) };
    let shown = record.entry(index).await?;
    if matches!(shown.entry.kind, Kind::DriftOpened | Kind::DriftUpdated | Kind::DriftClosed) {
        return Ok(Some(shown.entry.valid_from));
    }
    let intents = || entries.iter().filter(|e| e.entry.kind == Kind::Intent && e.index <= index);
    let of_run = intents().rfind(|e| e.entry.run.is_some() && e.entry.run == shown.entry.run);
    Ok(Some(of_run.or_else(|| intents().next_back()).map_or(shown.entry.valid_from, |intent| intent.entry.valid_from)))
}

fn readable(bytes: Vec<u8>, objects: bool) -> Option<String> {
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))?;
    match serde_json::from_str::<Value>(&text) {
        Ok(object) if objects => Some(trued_yaml::write(&object)),
        _ => Some(text),
    }
}
