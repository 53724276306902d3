//! Renders every stack twice, each time anew and in a folder of its own, and finds where the two differ.

use std::collections::BTreeSet;
use std::io::Read;

use trued_doors::Contents;
use trued_model::{Address, BlobRef, Finding};
use trued_runtime::Shown;

use crate::acting::Acting;
use crate::commands::Session;
use crate::wire::Hand;

const HELP: &str = "leave out the time, random numbers and the order of listings; builds find a fixed time in SOURCE_DATE_EPOCH";

/// What two renders of the same inputs gave differently, and why a stack does not render at all.
pub async fn findings(session: &Session<'_>) -> anyhow::Result<Vec<Finding>> {
    let acting = Acting::open(session, Hand::None, "check").await?;
    let aim = acting.aim(&[], None, false).await?;
    acting.runtime.look_up(&aim).await?;
    let (names, estate) = (acting.runtime.names(), acting.runtime.estate());
    let mut findings = Vec::new();
    for id in estate.stacks.keys() {
        let name = names.write(id);
        match (acting.forgetful().show(id, &aim).await?, acting.forgetful().show(id, &aim).await?) {
            (Ok(one), Ok(other)) => findings.extend(difference(&one, &other)?.map(|what| Finding::new(what, HELP).of(name))),
            (Err(found), Err(_)) => findings.extend(found.into_iter().map(|finding| finding.of(&name))),
            (Ok(_), Err(found)) | (Err(found), Ok(_)) => {
                findings.push(Finding::new("it renders once, and not the other time", HELP).of(&name));
                findings.extend(found.into_iter().map(|finding| finding.of(&name)));
            }
        }
    }
    Ok(findings)
}

/// The first difference between two renders, in words.
fn difference(one: &Shown, other: &Shown) -> anyhow::Result<Option<String>> {
    let (left, right) = (&one.desired.resources, &other.desired.resources);
    let addresses: BTreeSet<&Address> = left.keys().chain(right.keys()).collect();
    for address in addresses {
        let (Some(left), Some(right)) = (left.get(address), right.get(address)) else {
            return Ok(Some(format!("two renders of the same inputs differ: only one of them has {address}")));
        };
        if left.fingerprint == right.fingerprint {
            continue;
        }
        let place = match (&left.content, &right.content) {
            // Where sealed bytes differ would tell something of them.
            (Some(left), Some(right)) if !left.sealed && !right.sealed => {
                let parts = offset(&read(one.contents.as_ref(), left)?, &read(other.contents.as_ref(), right)?);
                parts.map_or_else(|| " in its mode".to_owned(), |offset| format!(" from byte {offset} on"))
            }
            _ => String::new(),
        };
        return Ok(Some(format!("two renders of the same inputs differ: {address}{place}")));
    }
    Ok(None)
}

fn read(contents: &dyn Contents, blob: &BlobRef) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    contents.open(blob)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The first byte in which two texts differ, from 0; `None` when they do not.
fn offset(one: &[u8], other: &[u8]) -> Option<usize> {
    let differs = one.iter().zip(other).position(|(one, other)| one != other);
    differs.or_else(|| (one.len() != other.len()).then_some(one.len().min(other.len())))
}
