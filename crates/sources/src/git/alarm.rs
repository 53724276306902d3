//! How long a repository may say nothing, or nothing new, before people must know, as it is written.

use std::str::FromStr as _;

use serde::Deserialize;
use serde_json::{Value, json};
use trued_model::{Duration, Patience};

/// How long the branch of a remote may stay as it is where nothing is written.
const UNMOVED: Duration = Duration::from_secs(90 * 86_400);
/// What stands for no end.
const NEVER: &str = "never";

/// `alarm`, as it is written.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Alarm {
    unanswered: Option<Duration>,
    unmoved: Option<Unmoved>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
enum Unmoved {
    Never,
    After(Duration),
}

impl TryFrom<String> for Unmoved {
    type Error = String;

    fn try_from(text: String) -> Result<Unmoved, String> {
        match Duration::from_str(&text) {
            Ok(span) => Ok(Unmoved::After(span)),
            Err(_) if text == NEVER => Ok(Unmoved::Never),
            Err(error) => Err(format!("alarm.unmoved is {error}, or `{NEVER}`")),
        }
    }
}

impl Alarm {
    /// `moves` is whether what is followed goes on by itself, elsewhere: a tag or a commit stays, and what lies on this machine
    /// is whatever its owner makes of it. What is written counts for those too.
    pub(super) fn patience(self, moves: bool) -> Patience {
        let unmoved = match self.unmoved {
            Some(Unmoved::After(span)) => Some(span),
            Some(Unmoved::Never) => None,
            None => moves.then_some(UNMOVED),
        };
        Patience { unanswered: self.unanswered, unmoved }
    }
}

/// The schema of `alarm`.
pub(super) fn schema() -> Value {
    let span = |pattern: &str, title: &str, description: &str| json!({ "type": "string", "pattern": pattern, "maxLength": 12, "title": title, "description": description });
    json!({
        "type": "object", "additionalProperties": false,
        "description": "How long it may say nothing, or nothing new, before that is an incident.",
        "properties": {
            "unanswered": span(
                "^[0-9]+(ms|s|m|h|d)$", "a span of time such as 15m, 1h or 1d",
                "How long it may not answer. Default: three asks in a row."
            ),
            "unmoved": span(
                "^([0-9]+(ms|s|m|h|d)|never)$", "a span of time such as 12h or 30d, or never",
                "How long what is followed may stay where it is, since a mirror that stands still looks just like it. Default: 90d for a branch of a remote, otherwise never."
            )
        }
    })
}
