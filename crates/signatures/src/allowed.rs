//! Files in OpenSSH's allowed-signers format (ssh-keygen(1), ALLOWED SIGNERS): who may sign, with which key, from when
//! until when. What cannot be obeyed exactly is a finding, never passed over.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use trued_model::{Finding, Timestamp};

use crate::signers::{Key, Listed};
use crate::ssh::SshKey;

/// Most lines of a file.
const MOST_LINES: usize = 10_000;
/// What `git` signs under.
const NAMESPACE: &str = "git";
const FORMAT: &str = "write `alice@example.org ssh-ed25519 AAAA…`, one key a line";

/// Reads a file; `shown` is how it is called in findings.
pub fn read_allowed_signers(text: &[u8], shown: &str) -> (Vec<Listed>, Vec<Finding>) {
    let (mut listed, mut findings) = (Vec::new(), Vec::new());
    let text = String::from_utf8_lossy(text);
    for (number, line) in (1_u32..).zip(text.lines().take(MOST_LINES)) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match read_line(line) {
            Ok(found) => listed.extend(found),
            Err((why, help)) => findings.push(Finding::new(format!("this signer cannot be used: {why}"), help).at(shown, number, 1)),
        }
    }
    if text.lines().count() > MOST_LINES {
        findings.push(Finding::new(format!("it has more than {MOST_LINES} lines"), "split it").at(shown, 1, 1));
    }
    if listed.is_empty() && findings.is_empty() {
        findings.push(Finding::new("it lists nobody who may sign", FORMAT).at(shown, 1, 1));
    }
    (listed, findings)
}

type Wrong = (String, &'static str);

/// Reads one line; nothing when its key is not for Git.
fn read_line(line: &str) -> Result<Option<Listed>, Wrong> {
    let mut words = Words(line);
    let principals = words.next()?.ok_or_else(|| ("it is empty".to_owned(), FORMAT))?;
    let names: Vec<String> = principals.trim_matches('"').split(',').map(str::to_owned).collect();
    if names.iter().any(|name| name.is_empty() || name.starts_with('!')) {
        return Err((format!("`{principals}` are no principals"), "write names or addresses, with commas between them"));
    }
    let missing = || ("it has no key".to_owned(), FORMAT);
    let mut kind = words.next()?.ok_or_else(missing)?;
    let mut bounds = Bounds { for_git: true, after: None, before: None };
    if !is_key_kind(kind) {
        bounds = options(kind)?;
        kind = words.next()?.ok_or_else(missing)?;
    }
    let key = words.next()?.ok_or_else(missing)?;
    let key = SshKey::read(kind, key).map_err(|why| (why, FORMAT))?;
    if !bounds.for_git {
        return Ok(None);
    }
    Ok(Some(Listed { names, key: Key::Ssh(key), valid_after: bounds.after, valid_before: bounds.before }))
}

/// Reads a key as it stands in a `.pub` file: its kind, its bytes, perhaps a comment.
pub(crate) fn read_public_key(text: &str) -> Result<SshKey, String> {
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(kind), Some(key)) if is_key_kind(kind) => SshKey::read(kind, key),
        _ => Err("it is neither an SSH public key nor an armoured OpenPGP key".to_owned()),
    }
}

fn is_key_kind(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start))
}

struct Bounds {
    for_git: bool,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
}

fn options(text: &str) -> Result<Bounds, Wrong> {
    let mut bounds = Bounds { for_git: true, after: None, before: None };
    for option in split_unquoted(text) {
        let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        let quoted = value.and_then(|value| value.strip_prefix('"')?.strip_suffix('"'));
        match (name.to_ascii_lowercase().as_str(), quoted) {
            ("namespaces", Some(patterns)) => bounds.for_git = matches_list(patterns, NAMESPACE),
            ("valid-after", Some(time)) if bounds.after.is_none() => bounds.after = Some(instant(time)?),
            ("valid-before", Some(time)) if bounds.before.is_none() => bounds.before = Some(instant(time)?),
            ("cert-authority", _) => return Err(("certificates are not supported".to_owned(), "list the keys themselves")),
            _ => return Err((format!("`{option}` is no option that is known here"), "known are namespaces, valid-after, valid-before")),
        }
    }
    Ok(bounds)
}

/// Reads `YYYYMMDD[HHMM[SS]]Z`.
fn instant(text: &str) -> Result<Timestamp, Wrong> {
    let Some(digits) = text.strip_suffix('Z') else {
        let why = format!("`{text}` does not say its time zone, and what it means would depend on the machine");
        return Err((why, "write it in UTC, with a Z at its end: 20260131Z or 202601311200Z"));
    };
    let wrong = || (format!("`{text}` is no time"), "write 20260131Z, 202601311200Z or 20260131120000Z");
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let part = |from: usize, to: usize| digits.get(from..to).map_or(Ok(0), str::parse::<i16>).map_err(|_| wrong());
    let small = |from, to| part(from, to).and_then(|number| i8::try_from(number).map_err(|_| wrong()));
    let date = DateTime::new(part(0, 4)?, small(4, 6)?, small(6, 8)?, small(8, 10)?, small(10, 12)?, small(12, 14)?, 0);
    let zoned = date.and_then(|date| date.to_zoned(TimeZone::UTC)).map_err(|_| wrong())?;
    Ok(Timestamp(zoned.timestamp().as_millisecond()))
}

/// Words between blanks; blanks between quotes belong to the word.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<Option<&'a str>, Wrong> {
        let rest = self.0.trim_start();
        if rest.is_empty() {
            return Ok(None);
        }
        let mut quoted = false;
        let end = rest.find(|c: char| {
            quoted ^= c == '"';
            !quoted && c.is_whitespace()
        });
        if quoted && end.is_none() {
            return Err(("a quotation mark is not closed".to_owned(), FORMAT));
        }
        let (word, rest) = rest.split_at(end.unwrap_or(rest.len()));
        self.0 = rest;
        Ok(Some(word))
    }
}

/// Splits at commas that stand outside quotes.
fn split_unquoted(text: &str) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c: char| {
        quoted ^= c == '"';
        !quoted && c == ','
    })
    .collect()
}

/// Whether a list of patterns (`*`, `?`, `!` before one that excludes) has a word in it, as OpenSSH decides it.
fn matches_list(patterns: &str, word: &str) -> bool {
    let mut matched = false;
    for pattern in patterns.split(',').map(str::trim) {
        match pattern.strip_prefix('!') {
            Some(excluded) if matches(excluded.as_bytes(), word.as_bytes()) => return false,
            Some(_) => {}
            None => matched |= matches(pattern.as_bytes(), word.as_bytes()),
        }
    }
    matched
}

fn matches(pattern: &[u8], word: &[u8]) -> bool {
    match (pattern, word) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => matches(rest, word) || word.split_first().is_some_and(|(_, word)| matches(pattern, word)),
        ([b'?', rest @ ..], [_, word @ ..]) => matches(rest, word),
        ([first, rest @ ..], [letter, word @ ..]) => first == letter && matches(rest, word),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHDhSvcU7nqTZvzO8nPYJGzxcqBo8rxqyYIVlXMfBqPc";

    fn read(text: &str) -> (Vec<Listed>, Vec<String>) {
        let (listed, findings) = read_allowed_signers(text.as_bytes(), "signers");
        (listed, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_line_says_who_with_which_key_and_when() {
        let options = "namespaces=\"file,g*\",valid-after=\"20260131Z\",valid-before=\"202602011230Z\"";
        let (listed, findings) = read(&format!("# team\n\nalice@x,al@y {options} {KEY} her laptop\nbob@x {KEY}\n"));
        assert_eq!(findings, Vec::<String>::new());
        assert_eq!(listed[0].names, ["alice@x", "al@y"]);
        assert_eq!(listed[0].valid_after.map(|at| at.to_string()), Some("2026-01-31T00:00:00.000Z".to_owned()));
        assert_eq!(listed[0].valid_before.map(|at| at.to_string()), Some("2026-02-01T12:30:00.000Z".to_owned()));
        assert_eq!((listed.len(), listed[1].valid_after), (2, None));
    }

    #[test]
    fn a_key_for_other_namespaces_does_not_count() {
        for (patterns, counts) in [("git", 1), ("*", 1), ("file", 0), ("*,!git", 0), ("!file,g?t", 1), ("gi", 0)] {
            let (listed, findings) = read(&format!("a namespaces=\"{patterns}\" {KEY}\nb {KEY}"));
            assert_eq!((listed.len(), findings.len()), (1 + counts, 0), "{patterns}");
        }
    }

    #[test]
    fn what_cannot_be_obeyed_is_a_finding_with_its_line() {
        for (line, words) in [
            (format!("a cert-authority {KEY}"), "certificates are not supported"),
            (format!("a valid-before=\"20260131\" {KEY}"), "time zone"),
            (format!("a valid-before=\"20261331Z\" {KEY}"), "no time"),
            (format!("a valid-before=\"2026013Z\" {KEY}"), "no time"),
            (format!("a no-such {KEY}"), "no option"),
            (format!("a namespaces=\"git {KEY}"), "quotation mark"),
            (format!("a,!b {KEY}"), "no principals"),
            ("a".to_owned(), "no key"),
            ("a ssh-ed25519".to_owned(), "no key"),
            ("a ssh-ed25519 AAAA".to_owned(), "cut short"),
            ("a ssh-ed25519 ????".to_owned(), "base64"),
            (format!("a {}", KEY.replace("ssh-ed25519", "ssh-rsa")), "another kind"),
        ] {
            let (listed, findings) = read(&format!("b {KEY}\n{line}\n"));
            assert_eq!((listed.len(), findings.len()), (1, 1), "{line}");
            assert!(findings[0].starts_with("signers:2:1: ") && findings[0].contains(words), "{findings:?}");
        }
        assert!(read("# nobody\n").1[0].contains("nobody"));
    }
}
