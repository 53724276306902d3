//! How plans and passes are shown, to people and machines: the same facts twice.

use serde_json::{Value, json};
use trued_engine::history::{self, Voice};
use trued_model::body::RefusedItem;
use trued_model::{Action, Change, Decision, Finding, Level, Plan, StackNames};
use trued_runtime::{Pending, Report, StackReport};

use crate::exit::Exit;
use crate::screen::Screen;
use crate::when;

/// How many changes of a stack people are shown.
const SHOWN: usize = 40;

/// How many refusals of a run people are shown; the record has all.
const TOLD: usize = 3;

/// The exit status of a pass.
pub fn status(report: &Report, proposes: bool) -> Exit {
    match report.status(proposes) {
        0 => Exit::Done,
        1 => Exit::Failed,
        2 => Exit::Input,
        _ => Exit::Remain,
    }
}

/// Says on a terminal what is waited for.
pub fn say_waiting(waiting: &trued_runtime::Waiting<'_>) {
    use std::io::Write;
    let seconds = waiting.since.as_millis() / 1_000;
    // Nobody listening is no failure.
    let _ = writeln!(anstream::stderr().lock(), "{}: waits for {} ({seconds}s of {})", waiting.stack, waiting.why, waiting.within);
}

/// `trued plan --output json`.
pub fn plans(report: &Report) -> Value {
    json!({
        "plans": report.stacks.iter().map(plan).collect::<Vec<_>>(),
        "findings": findings(report),
    })
}

/// `trued apply --output json`.
pub fn applied(report: &Report) -> Value {
    let stack = |stack: &StackReport| {
        let mut shown = plan(stack);
        if let Some(shown) = shown.as_object_mut() {
            shown.remove("changes");
            shown.insert("outcome".to_owned(), json!(stack.outcome.map(|outcome| outcome.word())));
            shown.insert("written".to_owned(), json!(stack.written));
            shown.insert("waiting".to_owned(), json!(stack.waiting));
            shown.insert("refused".to_owned(), json!(stack.refused));
            shown.insert("failed_checks".to_owned(), json!(stack.unpassed));
        }
        shown
    };
    json!({ "stacks": report.stacks.iter().map(stack).collect::<Vec<_>>(), "findings": findings(report) })
}

fn plan(stack: &StackReport) -> Value {
    let (changes, held) = match &stack.plan {
        Some((plan, decision)) => (plan.changes.iter().map(|one| change(one, stack)).collect(), held(plan, decision)),
        None => (Vec::new(), Vec::new()),
    };
    let drift = stack.drift.iter().map(|item| json!({ "address": item.address, "cause": item.cause, "since": item.since }));
    let mut shown = json!({
        "stack": stack.name,
        "digest": stack.plan.as_ref().map(|(_, decision)| decision.plan),
        "revision": stack.revision,
        "desired": stack.desired,
        "changes": changes,
        "held": held,
        "drift": drift.collect::<Vec<_>>(),
        "pending": stack.pending.iter().map(|pending| word(*pending)).collect::<Vec<_>>(),
        "error": stack.refusal.as_ref().map(|refusal| json!({ "code": refusal.code, "message": refusal.message, "help": refusal.help })),
    });
    if !stack.not_run.is_empty() {
        let one = |(address, why): (&trued_model::Address, &String)| json!({ "address": address, "why": why });
        shown["not_run"] = stack.not_run.iter().map(one).collect();
    }
    if let (Some(level), Some(shown)) = (stack.sandbox, shown.as_object_mut()) {
        shown.insert("sandbox".to_owned(), json!(level));
    }
    shown
}

fn change(change: &Change, stack: &StackReport) -> Value {
    let reasons: Vec<String> = change.reasons.iter().map(trued_model::Reason::words).collect();
    let mut shown =
        json!({ "address": change.address, "action": change.action, "before": change.before, "after": change.after, "reasons": reasons });
    if let Some(differs) = stack.differs.get(&change.address) {
        shown["differs"] = differs.as_str().into();
    }
    shown
}

fn held(plan: &Plan, decision: &Decision) -> Vec<Value> {
    let parts = decision.held.iter().flat_map(|part| part.changes.iter().map(move |index| (part, *index)));
    let one = |(part, index): (&trued_model::Part, usize)| json!({ "address": plan.changes[index].address, "kind": part.kind, "why": part.why, "next": part.next, "digest": part.digest });
    parts.map(one).collect()
}

/// All findings, each with its stack where it has one.
fn findings(report: &Report) -> Vec<Value> {
    let own = report.stacks.iter().flat_map(|stack| stack.findings.iter().cloned().map(|finding| named(finding, &stack.name)));
    report.findings.iter().cloned().chain(own).map(|finding| finding_value(&finding)).collect()
}

fn named(finding: Finding, stack: &str) -> Finding {
    Finding { stack: finding.stack.or_else(|| Some(stack.to_owned())), ..finding }
}

fn finding_value(finding: &Finding) -> Value {
    json!({
        "file": finding.place.as_ref().map(|place| &place.file),
        "line": finding.place.as_ref().map(|place| place.line),
        "column": finding.place.as_ref().map(|place| place.column),
        "stack": finding.stack,
        "message": finding.message,
        "help": finding.help,
    })
}

/// Shows a plan to people.
pub fn show_plans(report: &Report, screen: &Screen) -> anyhow::Result<()> {
    for stack in &report.stacks {
        let Some((plan, decision)) = &stack.plan else { continue };
        if plan.changes.is_empty() {
            screen.line(format!("{}: nothing to do{}", stack.name, at(stack)))?;
        } else {
            screen.line(format!("{}: {}{}", stack.name, summary(plan), at(stack)))?;
            screen.line(screen.dim(&format!("  plan {}", decision.plan)))?;
        }
        for change in plan.changes.iter().take(SHOWN) {
            let differs = stack.differs.get(&change.address).map(|differs| format!("  {differs}")).unwrap_or_default();
            screen.line(format!("  {}{differs}", change_line(change, screen)))?;
        }
        if plan.changes.len() > SHOWN {
            screen.line(format!("  … and {} more; --output json lists all", plan.changes.len() - SHOWN))?;
        }
        for (address, why) in stack.not_run.iter().take(SHOWN) {
            screen.line(format!("  {} {address}: {why}", screen.dim("never run")))?;
        }
        rest(stack, screen).iter().try_for_each(|line| screen.line(line))?;
    }
    remarks(report, screen).iter().for_each(|line| screen.say(line));
    Ok(())
}

/// Shows to people what a pass did.
pub fn show_applied(report: &Report, screen: &Screen) -> anyhow::Result<()> {
    let Told { results, remarks } = told(report, screen);
    results.iter().try_for_each(|line| screen.line(line))?;
    remarks.iter().for_each(|line| screen.say(line));
    Ok(())
}

/// What people are told of a pass, in lines, whoever prints them: what became of each stack, and what is wrong.
pub struct Told {
    pub results: Vec<String>,
    pub remarks: Vec<String>,
}

/// Says what a pass did.
pub fn told(report: &Report, screen: &Screen) -> Told {
    let mut results = Vec::new();
    for stack in &report.stacks {
        results.extend(stack.lines.iter().map(|line| format!("{}: {line}", stack.name)));
        results.extend(refusals(&stack.refused).iter().map(|line| format!("{}: {line}", stack.name)));
        results.push(one_line(stack));
        for check in &stack.unpassed {
            results.push(format!("  {} {}: {}", screen.red("failed"), check.check, check.why));
        }
        if !stack.unpassed.is_empty() {
            results.push(format!("         {}", history::filled(stack.mend, None, Some(&stack.name))));
        }
        if let Some(why) = &stack.waiting {
            results.push(format!("  {} not ready yet: {why}", screen.yellow("waits")));
        }
        results.extend(rest(stack, screen));
    }
    Told { results, remarks: remarks(report, screen) }
}

/// What the target would not do, and below each run of equal advice what to do about it.
fn refusals(refused: &[RefusedItem]) -> Vec<String> {
    let mut lines = Vec::new();
    let told = &refused[..refused.len().min(TOLD)];
    for (at, item) in told.iter().enumerate() {
        lines.push(item.message.clone());
        if !item.next.is_empty() && told.get(at + 1).is_none_or(|after| after.next != item.next) {
            lines.push(format!("  {}", item.next));
        }
    }
    if refused.len() > TOLD {
        lines.push(format!("and {} more refused; `trued log` has them", refused.len() - TOLD));
    }
    lines
}

/// What became of a stack, in one line.
fn one_line(stack: &StackReport) -> String {
    let did = match stack.outcome {
        Some(outcome) => format!("{}, {} written", outcome.word(), stack.written),
        None if stack.plan.is_none() && !stack.findings.is_empty() => {
            format!("held by {}", history::things(stack.findings.len() as u64, "finding"))
        }
        None if stack.plan.is_none() => "could not be planned".to_owned(),
        None => "unchanged".to_owned(),
    };
    format!("{}: {did}{}", stack.name, at(stack))
}

/// What is held, what waits, what drifted: the same under a plan and a pass.
fn rest(stack: &StackReport, screen: &Screen) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some((plan, decision)) = &stack.plan {
        for part in &decision.held {
            let first = part.changes.first().map_or("", |index| plan.changes[*index].address.as_str());
            let more = if part.changes.len() > 1 { format!(" and {} more", part.changes.len() - 1) } else { String::new() };
            lines.push(format!("  {} {first}{more}: {}", screen.yellow("held"), part.why));
            let next = history::filled(&part.next, None, Some(&stack.name));
            // It has a number once it is on record.
            let number = if next.contains("#N") { " (trued incidents shows N)" } else { "" };
            lines.push(format!("       {next}{number}"));
        }
    }
    let voice = Voice { names: &StackNames::default(), clock: &when::date_and_clock };
    for item in stack.drift.iter().take(SHOWN) {
        lines.push(format!("  {} {}", screen.yellow("drift"), history::drift_words(item, &voice)));
    }
    for pending in &stack.pending {
        let sentence = match pending {
            Pending::RolledBack => "a rollback stands until the source wants something else, or `trued resume`",
            Pending::Suspended => "suspended; `trued resume` lets it go on",
            Pending::Drift => "drift waits for a word; `trued incidents` shows it",
            Pending::Undecided => "a command may have run; `trued incidents` asks whether it did",
        };
        lines.push(format!("  {} {sentence}", screen.yellow("waits")));
    }
    lines
}

/// What is wrong: findings, and what could not be done at all.
fn remarks(report: &Report, screen: &Screen) -> Vec<String> {
    let mut lines: Vec<String> = report.findings.iter().map(|finding| format!("{}: {finding}", screen.red("finding"))).collect();
    for stack in &report.stacks {
        let own = stack.findings.iter().map(|finding| format!("{}: {}", screen.red("finding"), named(finding.clone(), &stack.name)));
        lines.extend(own);
        if let Some(refusal) = &stack.refusal {
            let help = if refusal.help.is_empty() { String::new() } else { format!("; {}", refusal.help) };
            lines.push(format!("{}: {}: {refusal}{help}", screen.red("error"), stack.name));
        }
    }
    lines
}

fn at(stack: &StackReport) -> String {
    let revision = stack.revision.as_ref().map(|revision| format!(", revision {}", history::short(revision))).unwrap_or_default();
    let unconfined = if stack.sandbox == Some(Level::Unsafe) { ", unsafe: what renders it is not confined" } else { "" };
    format!("{revision}{unconfined}")
}

fn summary(plan: &Plan) -> String {
    let mut words = Vec::new();
    for action in [Action::Create, Action::Update, Action::Replace, Action::Delete, Action::Move, Action::Adopt, Action::Forget] {
        let count = plan.changes.iter().filter(|change| change.action == action).count();
        if count > 0 {
            words.push(format!("{count} to {}", action.word()));
        }
    }
    words.join(", ")
}

fn change_line(change: &Change, screen: &Screen) -> String {
    let sign = match change.action {
        Action::Create => screen.green("+"),
        Action::Update | Action::Replace => screen.yellow("~"),
        Action::Delete => screen.red("-"),
        Action::Move => screen.yellow(">"),
        Action::Adopt | Action::Forget => "=".to_owned(),
    };
    let reasons: Vec<String> = change.reasons.iter().map(trued_model::Reason::words).collect();
    format!("{sign} {:<8} {}  {}", change.action.word(), change.address, screen.dim(&reasons.join(", ")))
}

fn word(pending: Pending) -> &'static str {
    match pending {
        Pending::RolledBack => "rolled-back",
        Pending::Suspended => "suspended",
        Pending::Drift => "drift",
        Pending::Undecided => "undecided",
    }
}
