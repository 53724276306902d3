//! Words in values: `${env}`, `${app}`, `${target}`; `$${` stands for `${`. Strict, and text only.

use serde_json::Value;
use trued_yaml::step;

/// The words a stack's values may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    pub env: &'a str,
    pub app: &'a str,
    pub target: &'a str,
}

const KNOWN: [&str; 3] = ["env", "app", "target"];

/// A word that has no value, or no end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadWord {
    Unknown(String),
    /// `${infra.address}`: what another stack gives.
    NotYet(String),
    Open,
}

impl BadWord {
    /// What to say of it, and what to do.
    pub fn explain(&self, here: bool) -> (String, String) {
        let known = "`${env}`, `${app}` and `${target}`";
        match self {
            BadWord::Unknown(word) if !here && KNOWN.contains(&word.as_str()) => (
                format!("`${{{word}}}` has no value here"),
                "words stand for a stack's names; use them in what belongs to a stack".to_owned(),
            ),
            BadWord::Unknown(word) => {
                let help = match crate::suggest::nearest(word, KNOWN) {
                    Some(meant) => format!("did you mean `${{{meant}}}`?"),
                    None => format!("the words are {known}; write `$${{` for a plain `${{`"),
                };
                (format!("`${{{}}}` is no word that is known", crate::text::shown(word)), help)
            }
            BadWord::NotYet(word) => {
                let message = format!("`${{{}}}` is not available yet: values of other stacks", crate::text::shown(word));
                (message, "write the value itself".to_owned())
            }
            BadWord::Open => ("`${` is never closed".to_owned(), "close it with `}`, or write `$${` for a plain `${`".to_owned()),
        }
    }
}

/// Puts values for the words of a text; without `words`, every word is a fault.
pub(crate) fn fill(text: &str, words: Option<&Words<'_>>) -> Result<String, BadWord> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            filled.push_str(&rest[..at - 1]);
            filled.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        let after = &rest[at + 2..];
        let end = after.find('}').ok_or(BadWord::Open)?;
        let word = &after[..end];
        let value = match (word, words) {
            ("env", Some(words)) => words.env,
            ("app", Some(words)) => words.app,
            ("target", Some(words)) => words.target,
            _ if word.contains('.') => return Err(BadWord::NotYet(word.to_owned())),
            _ => return Err(BadWord::Unknown(word.to_owned())),
        };
        filled.push_str(&rest[..at]);
        filled.push_str(value);
        rest = &after[end + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Puts values for the words in all texts of a value; gives the faults with their pointers, starting at `pointer`.
pub(crate) fn fill_all(value: &mut Value, pointer: &str, words: Option<&Words<'_>>, faults: &mut Vec<(String, BadWord)>) {
    match value {
        Value::String(text) => match fill(text, words) {
            Ok(filled) => *text = filled,
            Err(fault) => faults.push((pointer.to_owned(), fault)),
        },
        Value::Array(items) => {
            for (place, item) in items.iter_mut().enumerate() {
                fill_all(item, &format!("{pointer}/{place}"), words, faults);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                fill_all(item, &format!("{pointer}{}", step(key)), words, faults);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, BadWord>) {
        let words = Words { env: "prod", app: "site", target: "web-1" };
        assert_eq!(fill(text, Some(&words)), expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn words_are_strict() {
        check("", Ok(""));
        check("no words $ { } $x", Ok("no words $ { } $x"));
        check("${env}/${app}@${target}", Ok("prod/site@web-1"));
        check("$${env} $$${env}", Ok("${env} $${env}"));
        check("ü${env}ü", Ok("üprodü"));
        check("${ env }", Err(BadWord::Unknown(" env ".into())));
        check("${envv}", Err(BadWord::Unknown("envv".into())));
        check("${}", Err(BadWord::Unknown(String::new())));
        check("${infra.address}", Err(BadWord::NotYet("infra.address".into())));
        check("${env", Err(BadWord::Open));
        assert_eq!(fill("${env}", None), Err(BadWord::Unknown("env".into())));
    }
}
