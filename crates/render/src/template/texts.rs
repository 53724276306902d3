//! The texts that templates are written from: the templates themselves, and what they may include. Which files a template
//! includes is known for certain only when it is written; those whose names it spells are found by looking for them.

use std::collections::BTreeMap;

use trued_doors::Bundle;
use trued_model::{Finding, Shape};
use trued_spread::spread;

use crate::bounds::{MAX_TEMPLATE, MAX_TEXTS};
use crate::copy::threads_for;

/// By path: a text, or why there is none.
pub type Texts = BTreeMap<String, Result<String, String>>;

/// Reads templates, and every file whose path stands between quotes in one that was read.
pub fn gather(bundle: &Bundle, templates: &[&str]) -> Result<Texts, Finding> {
    let mut texts = Texts::new();
    let mut next: Vec<&str> = templates.to_vec();
    while !next.is_empty() {
        let read = spread(&next, 1, threads_for(next.len()), |paths| paths.iter().map(|path| text(bundle, path)).collect());
        let mut named = Vec::new();
        for (path, text) in next.into_iter().zip(read) {
            named.extend(text.iter().flat_map(|text| quoted(text)).filter_map(|name| Some(bundle.entries.get_key_value(name)?.0.as_str())));
            texts.insert(path.to_owned(), text);
        }
        bounded(bundle, &texts)?;
        named.retain(|path| is_file(bundle, path) && !texts.contains_key(*path));
        named.sort_unstable();
        named.dedup();
        next = named;
    }
    Ok(texts)
}

/// Adds files that were asked for by names nobody could see beforehand; and, since there may be more such names, all other
/// small files, as far as there is room.
pub fn add(bundle: &Bundle, texts: &mut Texts, asked: &[&str]) -> Result<(), Finding> {
    texts.extend(asked.iter().map(|path| ((*path).to_owned(), text(bundle, path))));
    bounded(bundle, texts)?;
    let mut left = MAX_TEXTS - bytes(texts);
    for (path, entry) in bundle.entries.iter().filter(|(_, entry)| entry.bytes <= MAX_TEMPLATE) {
        if is_file(bundle, path) && !texts.contains_key(path.as_str()) && entry.bytes <= left {
            left -= entry.bytes;
            texts.insert(path.to_string(), text(bundle, path));
        }
    }
    Ok(())
}

pub fn is_file(bundle: &Bundle, path: &str) -> bool {
    bundle.entries.get(path).is_some_and(|entry| matches!(entry.shape, Shape::File { .. }))
}

fn text(bundle: &Bundle, path: &str) -> Result<String, String> {
    let bytes = bundle.entries.get(path).map_or(0, |entry| entry.bytes);
    if bytes > MAX_TEMPLATE {
        return Err(format!("has {bytes} bytes, more than the {MAX_TEMPLATE} a template may have"));
    }
    let bytes = bundle.reader.read(path).map_err(|refusal| format!("cannot be read: {refusal}"))?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

fn bytes(texts: &Texts) -> u64 {
    texts.values().flatten().map(|text| text.len() as u64).sum()
}

fn bounded(bundle: &Bundle, texts: &Texts) -> Result<(), Finding> {
    if bytes(texts) <= MAX_TEXTS {
        return Ok(());
    }
    let message = format!("the templates of `{}` and what they include have more than {MAX_TEXTS} bytes together", bundle.folder);
    Err(Finding::new(message, "split it into several stacks"))
}

/// What stands between two quotes of a kind, at every place where that may be a text of the template's language.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    ['\'', '"'].into_iter().flat_map(move |quote| text.split(quote).skip(1))
}
