//! Each parser, on what the corpus keeps and on variants of it: pieces left out, doubled, moved, put in from elsewhere.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test that fails shows the bytes it failed on")]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use trued_fuzz::{PARSERS, Parser};

/// Variants of the corpus that each parser is handed; `TRUED_FUZZ_CASES` asks for more.
const CASES: u32 = 300;

/// What means something to one of the parsers, to be put anywhere.
const TOKENS: &[&str] = &[
    "\0",
    "\n",
    "\n\n",
    "\r\n",
    " ",
    "\t",
    ":",
    ": ",
    "- ",
    "---\n",
    "...\n",
    "&a ",
    "*a ",
    "<<: *a\n",
    "!!",
    "!!binary ",
    "| \n",
    "> \n",
    "#",
    "{",
    "}",
    "[",
    "]",
    "{}",
    "[]",
    "\"",
    "'",
    ",",
    "null",
    "true",
    "~",
    "0x7f",
    "1e999",
    ".inf",
    "-0",
    "18446744073709551616",
    "\u{feff}",
    "\u{2014} ",
    "..",
    "../",
    "/",
    "//",
    ".git",
    ".trued",
    "%2e",
    "%00",
    "%",
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{{ token }}",
    "${env}",
    "${",
    "sha256:",
    "ENC[AES256_GCM,data:",
    ",type:str]",
    "sops:",
    "\u{202e}",
    "\u{1f600}",
    "100644 ",
    "40000 ",
    "120000 ",
    "160000 ",
    "tree ",
    "parent ",
    "gpgsig ",
    "ref: ",
    "+",
    "=",
    "AAAA",
    "9999999999",
    "-1",
    "2026-11-21T00:00:00Z",
    "Bearer realm=\"",
    "https://",
    "file:///",
    "@",
    "?",
    "urls: ",
    "layers",
    "file://../",
    "alias: ",
    "\\u0000",
    "\u{1b}[2J",
    "\u{0}\u{1}\u{7f}",
    "ssh://",
    "ext::",
    "%2e%2e/",
    "[::1]",
    "127.0.0.1",
    "metadata: ",
    "annotations: ",
    "\"metadata\":{\"resourceVersion\":\"7\"},",
    "\"items\":[]",
    "\"$ref\":\"#/components/schemas/Spec\",",
    "null,",
];

/// One change of a text.
#[derive(Clone, Debug)]
enum Edit {
    Cut(Index, u8),
    Double(Index, u8),
    Token(Index, usize),
    Byte(Index, u8),
    Splice(Index, Index, u8),
    End(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, long)| Edit::Cut(at, long)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, long)| Edit::Double(at, long)),
        (any::<Index>(), 0..TOKENS.len()).prop_map(|(at, token)| Edit::Token(at, token)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        (any::<Index>(), any::<Index>(), any::<u8>()).prop_map(|(at, from, long)| Edit::Splice(at, from, long)),
        any::<Index>().prop_map(Edit::End),
    ]
}

/// Makes an edit; `other` is what pieces are taken from.
fn change(bytes: &mut Vec<u8>, edit: &Edit, other: &[u8]) {
    let piece = |of: &[u8], at: &Index, long: u8| -> Vec<u8> {
        let start = at.index(of.len() + 1);
        of[start..of.len().min(start + usize::from(long))].to_vec()
    };
    let put = |bytes: &mut Vec<u8>, at: usize, piece: &[u8]| drop(bytes.splice(at..at, piece.iter().copied()));
    match edit {
        Edit::Cut(at, long) => {
            let start = at.index(bytes.len() + 1);
            let end = bytes.len().min(start + usize::from(*long));
            bytes.drain(start..end);
        }
        Edit::Double(at, long) => {
            let copy = piece(bytes, at, *long);
            let at = at.index(bytes.len() + 1);
            put(bytes, at, &copy);
        }
        Edit::Token(at, token) => {
            let at = at.index(bytes.len() + 1);
            put(bytes, at, TOKENS[*token].as_bytes());
        }
        Edit::Byte(at, byte) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Edit::Byte(..) => {}
        Edit::Splice(at, from, long) => {
            let piece = piece(other, from, *long);
            let at = at.index(bytes.len() + 1);
            put(bytes, at, &piece);
        }
        Edit::End(at) => bytes.truncate(at.index(bytes.len() + 1)),
    }
}

fn corpus(parser: &Parser) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(parser.name);
    let listed = fs::read_dir(&folder).unwrap_or_else(|_| panic!("the parser {} has no corpus", parser.name));
    let mut files: Vec<_> = listed.map(|file| file.expect("listed").path()).collect();
    files.sort();
    assert!(files.len() >= 3, "the corpus of {} is thin", parser.name);
    files.into_iter().map(|path| (path.clone(), fs::read(path).expect("readable"))).collect()
}

fn holds(name: &str) {
    let parser = trued_fuzz::named(name).expect("a parser");
    let corpus = corpus(&parser);
    for (path, bytes) in &corpus {
        eprintln!("{}", path.display());
        (parser.parse)(bytes);
    }
    let cases = std::env::var("TRUED_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() });
    let variants = (any::<Index>(), any::<Index>(), proptest::collection::vec(edit(), 1..8));
    let outcome = runner.run(&variants, |(one, other, edits)| {
        let mut bytes = one.get(&corpus).1.clone();
        edits.iter().for_each(|edit| change(&mut bytes, edit, &other.get(&corpus).1));
        bytes.truncate(parser.most);
        println!("{name}: {:?}", String::from_utf8_lossy(&bytes));
        (parser.parse)(&bytes);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{name}: {failure}");
    }
}

#[test]
fn every_parser_has_a_test_and_every_corpus_a_parser() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut kept: Vec<String> =
        fs::read_dir(folder).expect("a corpus").map(|entry| entry.expect("listed").file_name().into_string().expect("text")).collect();
    kept.sort();
    let mut known: Vec<&str> = PARSERS.iter().map(|parser| parser.name).collect();
    known.sort_unstable();
    assert_eq!(kept, known);
    let mut tested = TESTED.to_vec();
    tested.sort_unstable();
    assert_eq!(tested, known);
}

macro_rules! tests {
    ($($name:ident)+) => {
        const TESTED: &[&str] = &[$(stringify!($name)),+];
        $(#[test] fn $name() { holds(stringify!($name)); })+
    };
}

tests! { yaml operator app template tree commit refs note entry manifest words signed signers age sops mark index image challenge archive chart pack url reach requests page discovery
schema audit objects }
