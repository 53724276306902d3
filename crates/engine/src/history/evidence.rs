//! How good a name is as evidence (grades A to C), and how an actor is spelled for people. Never more than is known.

use trued_model::{Actor, Evidence};

/// How well it is known who did something. Names below `AMinus` are never told as fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// An authority that saw the act itself names the actor: the kernel, an audit log.
    A,
    /// A claim checked on its way.
    AMinus,
    /// The tool is named, not the person.
    B,
    /// Circumstance: an owner, a time.
    C,
}

impl Grade {
    pub fn word(self) -> &'static str {
        match self {
            Grade::A => "A",
            Grade::AMinus => "A-",
            Grade::B => "B",
            Grade::C => "C",
        }
    }

    pub fn from_word(word: &str) -> Option<Grade> {
        [Grade::A, Grade::AMinus, Grade::B, Grade::C].into_iter().find(|grade| grade.word() == word)
    }

    /// Whether a name with this grade may be told as fact.
    pub fn is_fact(self) -> bool {
        self <= Grade::AMinus
    }
}

/// Grades what an actor's id rests on: a grade itself, or a word for it. One that is not known counts as circumstance.
pub fn grade_of(evidence: &str) -> Grade {
    if let Some(grade) = Grade::from_word(evidence) {
        return grade;
    }
    match evidence {
        "self" | "peer-credentials" | "audit-log" => Grade::A,
        "process" | "webhook" | "signature" => Grade::AMinus,
        "commit" | "managed-fields" => Grade::B,
        _ => Grade::C,
    }
}

/// Spells an actor: a name only where it is a fact.
pub fn actor_words(actor: &Actor) -> String {
    match (actor.kind.as_str(), grade_of(&actor.evidence)) {
        ("engine", _) => "trued".to_owned(),
        (_, grade) if grade.is_fact() && !actor.id.is_empty() => actor.id.clone(),
        ("person", _) if !actor.id.is_empty() => format!("somebody, perhaps {} ({})", actor.id, actor.evidence),
        _ => "somebody outside".to_owned(),
    }
}

/// Says who an outsider was, and what that rests on; `None` where nothing tells. Below grade A- it is never told as fact.
pub fn witness_words(evidence: &Evidence) -> Option<String> {
    let seen_by = evidence.seen_by.as_deref()?;
    let by = evidence.by.as_deref()?;
    let grade = evidence.grade.as_deref().and_then(Grade::from_word).unwrap_or(Grade::C);
    if !grade.is_fact() {
        let there = match evidence.logged_in.as_slice() {
            [] => String::new(),
            some => format!("; logged in: {}", some.join(", ")),
        };
        return Some(format!("probably {by} ({seen_by}; weak{there})"));
    }
    let uid = evidence.uid.map(|uid| format!(" (uid {uid})")).unwrap_or_default();
    let login = evidence.login.as_ref().map(|login| format!(", logged in as {login}")).unwrap_or_default();
    let process = evidence.process.as_ref().map(|process| format!(", process {process}")).unwrap_or_default();
    Some(format!("user {by}{uid}{login}{process}, seen by {seen_by}"))
}
