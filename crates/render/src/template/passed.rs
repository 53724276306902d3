//! What a render and the process that writes its templates tell each other: a header as JSON, and behind it bytes that are
//! only copied. Secrets are among the bytes: nothing serializes them.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trued_doors::RenderInput;
use trued_model::Finding;

use super::texts::Texts;

/// What is to be written, and from what.
#[derive(Serialize, Deserialize)]
pub struct Order {
    /// The bundle's folder, for places in findings.
    pub folder: String,
    /// Paths of templates, in the order in which they are written.
    pub templates: Vec<String>,
    pub vars: BTreeMap<String, Value>,
    /// Globs of what is sealed whole.
    pub sensitive: Vec<String>,
    /// Bytes of stack that writing may take.
    pub stack: usize,
    /// Names of secrets, and how many bytes of the body each takes.
    secrets: Vec<(String, usize)>,
    /// Paths of texts, and how many bytes of the body each takes, or why there is none.
    texts: Vec<(String, Result<usize, String>)>,
}

/// What the body of an [`Order`] holds.
#[derive(Default)]
pub struct Held {
    pub secrets: BTreeMap<String, String>,
    /// By path: what a template says, or what it may include, or why that is no text.
    pub texts: Texts,
}

impl Order {
    /// Packs an order to write these templates. Secrets are all text.
    pub fn pack(input: &RenderInput, templates: &[&str], texts: &Texts, stack: usize) -> io::Result<Vec<u8>> {
        let order = Order {
            folder: input.bundle.folder.clone(),
            templates: templates.iter().map(|path| (*path).to_owned()).collect(),
            vars: input.vars.clone(),
            sensitive: input.sensitive.clone(),
            stack,
            secrets: input.secrets.iter().map(|(name, secret)| (name.clone(), secret.reveal().len())).collect(),
            texts: texts.iter().map(|(path, text)| (path.clone(), text.as_ref().map(String::len).map_err(String::clone))).collect(),
        };
        let secrets = input.secrets.values().map(|secret| secret.reveal());
        let body: Vec<&[u8]> = secrets.chain(texts.values().flatten().map(String::as_bytes)).collect();
        let mut packed = Vec::with_capacity(body.iter().map(|piece| piece.len()).sum::<usize>() + (64 << 10));
        put(&mut packed, &order, &body)?;
        Ok(packed)
    }

    /// Takes an order apart.
    pub fn unpack(packed: &[u8]) -> io::Result<(Order, Held)> {
        let broken = || io::Error::from(ErrorKind::InvalidData);
        let (order, mut body): (Order, _) = take(&mut &*packed).ok_or_else(broken)?;
        let mut text = |bytes: usize| {
            let (text, rest) = body.split_at_checked(bytes)?;
            body = rest;
            Some(std::str::from_utf8(text).ok()?.to_owned())
        };
        let mut held = Held::default();
        for (name, bytes) in &order.secrets {
            held.secrets.insert(name.clone(), text(*bytes).ok_or_else(broken)?);
        }
        for (path, bytes) in &order.texts {
            let text = match bytes {
                Ok(bytes) => Ok(text(*bytes).ok_or_else(broken)?),
                Err(why) => Err(why.clone()),
            };
            held.texts.insert(path.clone(), text);
        }
        Ok((order, held))
    }
}

/// What the process says, as it goes: whatever ends it, it is known what it was at.
#[derive(Serialize, Deserialize)]
pub enum Said {
    /// Work on a template begins: its place in the order.
    Begun(usize),
    /// It is written; its bytes follow. `seal`: a secret or a sensitive file may have gone into it.
    Written {
        template: usize,
        seal: bool,
    },
    Failed {
        template: usize,
        findings: Vec<Finding>,
    },
    /// All is done. These files were asked for and are not among the texts.
    Done {
        wants: Vec<String>,
    },
}

impl Said {
    pub fn say(&self, to: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
        put(to, self, &[bytes])
    }

    /// Reads all that was said; what was cut off in the middle was not.
    pub fn all(mut said: &[u8]) -> Vec<(Said, &[u8])> {
        std::iter::from_fn(|| take(&mut said)).collect()
    }
}

/// Writes one message: the lengths of header and body, then both.
fn put(to: &mut dyn Write, header: &impl Serialize, body: &[&[u8]]) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let bytes: usize = body.iter().map(|piece| piece.len()).sum();
    for length in [header.len(), bytes] {
        to.write_all(&(length as u64).to_be_bytes())?;
    }
    to.write_all(&header)?;
    body.iter().try_for_each(|piece| to.write_all(piece))
}

/// Takes one message off the front.
fn take<'a, H: DeserializeOwned>(from: &mut &'a [u8]) -> Option<(H, &'a [u8])> {
    let mut rest = *from;
    let mut piece = |length: usize| {
        let (piece, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(piece)
    };
    let mut length = || usize::try_from(u64::from_be_bytes(piece(8)?.try_into().ok()?)).ok();
    let (header, bytes) = (length()?, length()?);
    let header = serde_json::from_slice(piece(header)?).ok()?;
    let body = piece(bytes)?;
    *from = rest;
    Some((header, body))
}
