//! One entry as one sentence: the same words in the terminal, the page and a notification. Decides nothing.

use trued_model::body::{
    Answered, Approved, Blind, Closed, ConfigChanged, Drift, DriftItem, Happened, Happenings, Heartbeat, Held, Incident, Intent,
    KeyRotated, Observed, Outcome, Receipt, Refused, RefusedItem, Rollback, Said, Verdict,
};
use trued_model::{DriftPolicy, Entry, Indexed, Kind, Level, StackId, StackNames, Timestamp, Verified};

use super::evidence::{actor_words, witness_words};

/// How stacks and instants are spelled for the people who read: engine code knows no time zone.
#[derive(Clone, Copy)]
pub struct Voice<'a> {
    pub names: &'a StackNames,
    pub clock: &'a dyn Fn(Timestamp) -> String,
}

impl Voice<'_> {
    pub fn stack(&self, id: &StackId) -> String {
        self.names.write(id)
    }

    pub fn time(&self, at: Timestamp) -> String {
        (self.clock)(at)
    }
}

/// Writes a number with commas: `2,000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Says what an entry says: `prod/site: drift: index.html line 4 changed from outside since 14:03:07; held; kept as #17`.
pub fn sentence(entry: &Indexed, voice: &Voice) -> String {
    let said = fact(entry, voice).unwrap_or_else(|_| format!("{} in a form this version does not know", entry.entry.kind));
    match &entry.entry.stack {
        Some(stack) => format!("{}: {said}", voice.stack(stack)),
        None => said,
    }
}

fn fact(indexed: &Indexed, voice: &Voice) -> Result<String, serde_json::Error> {
    let entry = &indexed.entry;
    let who = || actor_words(&entry.actor);
    Ok(match entry.kind {
        Kind::Intent => intent(entry.body()?),
        Kind::Receipt => receipt(entry.body()?),
        Kind::Refusal => refusal(entry.body()?),
        Kind::Verdict => verdict(entry, entry.body()?),
        Kind::Held => held(entry.body()?, &|next| advice(next, indexed, voice)),
        Kind::Answered => answered(entry, entry.body()?, &who(), voice),
        Kind::Observed => {
            if let Ok(happenings) = entry.body::<Happenings>() {
                return Ok(happened(&happenings, voice));
            }
            let observed: Observed = entry.body()?;
            with_why(format!("{} looked at", things(observed.count, "resource")), &observed.why)
        }
        Kind::DriftOpened => format!("drift: {}", drift(indexed, entry.body()?, voice)),
        Kind::DriftUpdated => format!("drift goes on: {}", drift(indexed, entry.body()?, voice)),
        Kind::DriftClosed => format!("drift{} closed: {}", of_link(entry, "closes"), entry.body::<Closed>()?.how),
        Kind::IncidentOpened => {
            let incident: Incident = entry.body()?;
            let again = if incident.recurrence > 0 { format!(" (again, {} before)", count(incident.recurrence)) } else { String::new() };
            let whose = incident.source.map(|source| format!("source {source}: ")).unwrap_or_default();
            next(format!("incident: {whose}{}{again}", incident.message), &advice(&incident.next, indexed, voice))
        }
        Kind::IncidentClosed => format!("incident{} closed: {}", of_link(entry, "closes"), entry.body::<Closed>()?.how),
        Kind::Rollback => {
            let rollback: Rollback = entry.body()?;
            with_why(format!("{} goes back to the release of #{}", who(), rollback.to), &rollback.reason)
        }
        Kind::Approval => {
            let approved: Approved = entry.body()?;
            with_why(format!("{} approved {} until {}", who(), approved.digest.short(), voice.time(approved.until)), &approved.reason)
        }
        Kind::Denial => with_why(format!("{} denied it", who()), &entry.body::<Said>()?.reason),
        Kind::Suspend => with_why(format!("{} suspended it", who()), &entry.body::<Said>()?.reason),
        Kind::Resume => with_why(format!("{} resumed it", who()), &entry.body::<Said>()?.reason),
        Kind::ConfigChanged => config_changed(entry.body()?),
        Kind::Verified => verified(entry, entry.body()?),
        Kind::BlindStart => with_why("cannot be seen".to_owned(), &entry.body::<Blind>()?.why),
        Kind::BlindEnd => "can be seen again".to_owned(),
        Kind::Heartbeat => {
            let heartbeat: Heartbeat = entry.body()?;
            format!("awake, watching {}", things(heartbeat.stacks, "stack"))
        }
        Kind::KeyRotated => {
            let rotated: KeyRotated = entry.body()?;
            let old = match &rotated.lost {
                Some(lost) => format!("{lost} is lost with all it sealed"),
                None => format!("{} kept to open", things(rotated.kept.len() as u64, "older key")),
            };
            with_why(format!("{} rotated the data key: {} seals from now on, {old}", who(), rotated.key), &rotated.reason)
        }
        Kind::Promotion | Kind::Freeze => entry.kind.word().to_owned(),
    })
}

fn intent(intent: Intent) -> String {
    let unconfined = if intent.sandbox == Some(Level::Unsafe) { "; unsafe: the program that rendered this was not confined" } else { "" };
    match intent.command {
        Some(command) => format!("will run {command}"),
        None => format!("will make {} of plan {}{unconfined}", things(intent.changes, "change"), intent.plan.short()),
    }
}

fn receipt(receipt: Receipt) -> String {
    match receipt.exit {
        Some(status) => format!("command ended with status {status}"),
        None => format!("{} of {} done", count(receipt.so_far), things(receipt.of, "change")),
    }
}

fn refusal(refused: Refused) -> String {
    let first = refused.items.first().map(|item| format!(": {}: {}", item.address, item.message)).unwrap_or_default();
    let more = more(refused.count, usize::from(!refused.items.is_empty()));
    let advice = refused.items.first().map(|item| item.next.as_str()).unwrap_or_default();
    next(format!("{} refused{first}{more}", things(refused.count, "change")), advice)
}

/// Says why one change was refused and what to do: `index.html: refused: no space left; make room`.
pub fn refused_words(item: &RefusedItem) -> String {
    next(format!("{}: refused: {}", item.address, item.message), &item.next)
}

fn verdict(entry: &Entry, verdict: Verdict) -> String {
    let revision = entry.revision.as_deref().map(|id| format!(" {}", short(id))).unwrap_or_default();
    let done = match verdict.outcome {
        Outcome::Landed if verdict.done == verdict.of => things(verdict.of, "change"),
        _ => format!("{} of {}", count(verdict.done), things(verdict.of, "change")),
    };
    let said = match verdict.outcome {
        Outcome::Landed if verdict.verified => format!("landed{revision}, verified: {done}"),
        Outcome::Landed => format!("landed{revision}: {done}"),
        Outcome::Interrupted => format!("stopped after {done}; looked; closed"),
        Outcome::Failed | Outcome::Superseded | Outcome::Blocked => format!("{}{revision} after {done}", verdict.outcome.word()),
    };
    let said = match verdict.awaits.is_empty() {
        true => said,
        false => format!("{said}; not ready yet: {}", verdict.awaits),
    };
    let failed: Vec<_> = verdict.checks.iter().filter(|check| !check.passed).collect();
    // Mostly why it failed is what did not pass, and that is told once.
    let why = verdict.why.as_str();
    let why = if failed.iter().any(|check| why == format!("{}: {}", check.check, check.why)) { "" } else { why };
    let failed: Vec<String> = failed.iter().map(|check| with_why(format!("check {} failed", check.check), &check.why)).collect();
    with_why(if failed.is_empty() { said } else { format!("{said}; {}", failed.join("; ")) }, why)
}

fn held(held: Held, advice: &dyn Fn(&str) -> String) -> String {
    match held.parts.as_slice() {
        [] => "nothing is held any more".to_owned(),
        parts => {
            let said = parts.iter().map(|part| next(format!("{} held: {}", things(part.count, "change"), part.why), &advice(&part.next)));
            said.collect::<Vec<_>>().join("; ")
        }
    }
}

fn answered(entry: &Entry, answered: Answered, who: &str, voice: &Voice) -> String {
    let until = answered.until.map(|until| format!(" until {}", voice.time(until))).unwrap_or_default();
    let item = entry.link("answers").map(|index| format!(" on #{index}")).unwrap_or_default();
    with_why(format!("{who} answered {}{until}{item}", answered.word), &answered.reason)
}

fn drift(indexed: &Indexed, drift: Drift, voice: &Voice) -> String {
    let first = drift.items.first().map(|item| drift_words(item, voice)).unwrap_or_else(|| "nothing differs".to_owned());
    let more = more(drift.count, usize::from(!drift.items.is_empty()));
    let policy = match drift.policy {
        DriftPolicy::Revert => "is put back",
        DriftPolicy::Alert => "is left alone",
        DriftPolicy::Hold => "held",
    };
    let kept = indexed.entry.blobs.iter().any(|note| note.role.starts_with("kept:"));
    let kept = if kept { format!("; kept as #{}", indexed.index) } else { String::new() };
    format!("{first}{more}; {policy}{kept}")
}

/// Says what is the matter with one address: `index.html line 4 changed from outside since 14:03:07`.
pub fn drift_words(item: &DriftItem, voice: &Voice) -> String {
    let line = item.line.map(|line| format!(" line {line}")).unwrap_or_default();
    let what = match (&item.made, &item.found) {
        (_, None) => "removed",
        (None, Some(_)) => "appeared",
        (Some(_), Some(_)) => "changed",
    };
    let who = witness_words(&item.evidence).map(|who| format!(", by {who}")).unwrap_or_default();
    let who = who.replacen(", by probably", ", probably by", 1);
    format!("{}{line} {what} {} since {}{who}", item.address, item.cause.words(), voice.time(item.since))
}

fn happened(happenings: &Happenings, voice: &Voice) -> String {
    let told = happenings.happened.iter().take(3).map(|one| happened_words(one, voice));
    let mut told: Vec<String> = told.collect();
    let shown = told.len();
    if let Some(last) = told.last_mut() {
        last.push_str(&more(happenings.things, shown));
    }
    told.extend(happenings.missed.iter().map(|why| format!("not all was heard: {why}")));
    format!("on {}: {}", happenings.target, told.join("; "))
}

/// Says what happened to one thing: `apps/Deployment/shop/web scaled: 2 → 7 replicas, by …`.
pub fn happened_words(one: &Happened, voice: &Voice) -> String {
    let said = if one.said.is_empty() { String::new() } else { format!(": {}", one.said) };
    let who = match witness_words(&one.evidence) {
        Some(who) => format!(", by {who}").replacen(", by probably", ", probably by", 1),
        None => String::new(),
    };
    let times = match one.count {
        0 | 1 => String::new(),
        many => format!(", {} times since {}", count(many), voice.time(one.first)),
    };
    format!("{} {}{said}{who}{times}", one.address, one.what)
}

fn config_changed(changed: ConfigChanged) -> String {
    let said = if changed.before.is_none() { "configuration read for the first time" } else { "configuration changed" };
    // What was loosened is told first: it is what one looks for.
    let (which, lines) = match changed.loosened.is_empty() {
        true => ("", &changed.lines),
        false => ("loosened: ", &changed.loosened),
    };
    match lines.first() {
        None => said.to_owned(),
        Some(first) => format!("{said}: {which}{first}{}", more(changed.lines.len().max(lines.len()) as u64, 1)),
    }
}

fn verified(entry: &Entry, verified: Verified) -> String {
    let revision = entry.revision.as_deref().map(|id| format!("{} of ", short(id))).unwrap_or_default();
    let by = match verified.signatures.first() {
        None => "vouched for by the operator".to_owned(),
        Some(first) => {
            let tag = first.tag.as_ref().map(|tag| format!(" on tag {tag}")).unwrap_or_default();
            format!("signed by {} {}{tag}{}", first.name, first.key, more(verified.count, 1))
        }
    };
    let commits = match &verified.since {
        Some(since) if verified.verify == "all" => format!("; {} since {}", things(verified.commits, "commit"), short(since)),
        _ => String::new(),
    };
    let guarded = if verified.guarded > 0 { format!("; {} of guarded paths", things(verified.guarded, "file")) } else { String::new() };
    format!("{revision}source {} {by}{commits}{guarded}", verified.source)
}

/// Shortens a revision id for people, as [`trued_model::Revision::short`] does.
pub fn short(id: &str) -> String {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    let (commit, dirty) = id.split_once('+').map_or((id, None), |(commit, dirty)| (commit, Some(dirty)));
    let commit: String = commit.chars().take(12).collect();
    dirty.map(|dirty| format!("{commit}+{dirty}")).unwrap_or(commit)
}

/// Counts things: `1 change`, `2,000 changes`.
pub fn things(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

fn more(all: u64, shown: usize) -> String {
    match all.saturating_sub(shown as u64) {
        0 => String::new(),
        rest => format!(", and {} more", count(rest)),
    }
}

fn of_link(entry: &Entry, rel: &str) -> String {
    entry.link(rel).map(|index| format!(" of #{index}")).unwrap_or_default()
}

/// What a person can do, with an item's number and a stack's name where they are left open.
pub fn filled(next: &str, index: Option<u64>, stack: Option<&str>) -> String {
    let numbered = index.map_or_else(|| next.to_owned(), |index| next.replace("#N", &format!("#{index}")));
    stack.map_or_else(|| numbered.clone(), |stack| numbered.replace("STACK", stack))
}

fn advice(next: &str, indexed: &Indexed, voice: &Voice) -> String {
    filled(next, Some(indexed.index), indexed.entry.stack.as_ref().map(|stack| voice.stack(stack)).as_deref())
}

fn with_why(said: String, why: &str) -> String {
    if why.is_empty() { said } else { format!("{said}: {why}") }
}

fn next(said: String, next: &str) -> String {
    if next.is_empty() { said } else { format!("{said}; {next}") }
}
