//! Every parser that meets bytes from outside, as a function from bytes to nothing: it panics when a promise is broken.
//!
//! `tests/corpus.rs` hands each what `corpus/` keeps, and variants of it; `cargo xtask fuzz` looks for more by coverage.

mod parsers;

/// One parser: its name is its folder's in `corpus/`.
#[derive(Clone, Copy)]
pub struct Parser {
    pub name: &'static str,
    pub parse: fn(&[u8]),
    /// The most bytes that are tried; what is longer finds little and takes long.
    pub most: usize,
}

const fn parser(name: &'static str, parse: fn(&[u8])) -> Parser {
    Parser { name, parse, most: 4096 }
}

/// All of them.
pub const PARSERS: &[Parser] = &[
    parser("yaml", parsers::yaml::parse),
    parser("operator", parsers::configuration::operator),
    parser("app", parsers::configuration::app),
    parser("template", parsers::template::parse),
    parser("tree", parsers::git::tree),
    parser("commit", parsers::git::commit),
    parser("refs", parsers::git::refs),
    parser("pack", parsers::git::pack),
    parser("url", parsers::addresses::url),
    parser("reach", parsers::addresses::reach),
    parser("requests", parsers::control::requests),
    parser("note", parsers::record::note),
    parser("entry", parsers::record::entry),
    parser("manifest", parsers::record::manifest),
    parser("words", parsers::words::parse),
    parser("signed", parsers::signatures::signed),
    parser("signers", parsers::signatures::signers_list),
    parser("age", parsers::secrets::age),
    parser("sops", parsers::secrets::sops),
    parser("mark", parsers::target::mark),
    parser("index", parsers::charts::index),
    parser("image", parsers::charts::image),
    parser("challenge", parsers::charts::challenge),
    parser("archive", parsers::charts::archive),
    parser("chart", parsers::charts::chart),
    parser("page", parsers::cluster::page),
    parser("discovery", parsers::cluster::discovery),
    parser("schema", parsers::cluster::schema),
    parser("audit", parsers::cluster::audit),
    parser("objects", parsers::cluster::objects),
];

/// Finds a parser by its name.
pub fn named(name: &str) -> Option<Parser> {
    PARSERS.iter().find(|parser| parser.name == name).copied()
}
