//! A stack as files call it: `homepage`, `prod/site`, `prod/site@web-1`.

use trued_model::Name;

/// What was written; what was left out means what its place says.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    pub environment: Option<Name>,
    pub app: Name,
    pub target: Option<Name>,
}

impl Called {
    pub fn parse(text: &str) -> Option<Called> {
        let (environment, rest) = match text.split_once('/') {
            Some((environment, rest)) => (Some(environment.parse().ok()?), rest),
            None => (None, text),
        };
        let (app, target) = match rest.split_once('@') {
            Some((app, target)) => (app, Some(target.parse().ok()?)),
            None => (rest, None),
        };
        Some(Called { environment, app: app.parse().ok()?, target })
    }
}

/// What to write instead of something that is not the name of a stack.
pub(crate) const HELP: &str = "write `homepage`, `prod/site` or `prod/site@web-1`";
