//! Rust source as text with parts blanked, so that bans look at code and not at words about code. Not a parser.

/// What stays besides code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Strings,
    Nothing,
}

/// Blanks comments and, unless kept, what stands inside string and character literals. Lines keep their places.
pub fn code_of(text: &str, keep: Keep) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let (end, comment) = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => (line_end(&chars, at), true),
            '/' if chars.get(at + 1) == Some(&'*') => (block_comment_end(&chars, at), true),
            '"' => (string_end(&chars, at), false),
            'r' if !follows_word(&chars, at) || chars[at - 1] == 'b' => (raw_string_end(&chars, at).unwrap_or(at), false),
            '\'' => (char_literal_end(&chars, at).unwrap_or(at), false),
            _ => (at, false),
        };
        if end == at {
            code.push(chars[at]);
            at += 1;
            continue;
        }
        let blank = comment || keep == Keep::Nothing;
        code.extend(chars[at..end].iter().map(|c| if blank && *c != '\n' { ' ' } else { *c }));
        at = end;
    }
    code
}

/// Blanks what follows `#[cfg(test)]`: the item, or the module with all its braces. Takes text from [`code_of`].
pub fn without_tests(code: &str) -> String {
    let mut rest = code;
    let mut kept = String::with_capacity(code.len());
    while let Some(start) = rest.find("#[cfg(test)]") {
        let item = &rest[start..];
        let end = item_end(item);
        kept.push_str(&rest[..start]);
        kept.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}

/// Where an item ends: its closing brace, or the first semicolon before any brace.
fn item_end(item: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in item.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    item.len()
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length)
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut at) = (0usize, at);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"…"`, `r#"…"#`; `None` when the `r` begins a name.
fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |end: usize| chars[end] == '"' && chars[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    let end = (open + 1..chars.len()).find(|end| closes(*end))?;
    Some(end + 1 + hashes)
}

/// `'x'`, `'\n'`, `'\u{1F}'`; `None` for a lifetime.
fn char_literal_end(chars: &[char], at: usize) -> Option<usize> {
    match (chars.get(at + 1)?, chars.get(at + 2)?) {
        ('\\', _) => (at + 3..chars.len()).find(|end| chars[*end] == '\'').map(|end| end + 1),
        (_, '\'') => Some(at + 3),
        _ => None,
    }
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(without_tests(&code_of(text, Keep::Nothing)), expect);
    }

    #[test]
    fn comments_and_strings_are_blanked() {
        check("a // HashMap\nb", "a           \nb");
        check("a/*x/*y*/*/b", "a          b");
        check(r#"f("a \" b", 'x', '"', c)"#, "f(        ,    ,    , c)");
        check(r##"f(r#"a " b"#, br"c")"##, "f(          , b    )");
        check("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
    }

    #[test]
    fn strings_can_stay() {
        assert_eq!(code_of("a(\"b\") // c", Keep::Strings), "a(\"b\")     ");
    }

    #[test]
    fn test_modules_are_dropped() {
        check("a();\n#[cfg(test)]\nmod tests {\n fn f() { x() }\n}\nb();", "a();\n\n\n\n\nb();");
        check("#[cfg(test)]\nmod fixtures;\nb();", "\n\nb();");
    }
}
