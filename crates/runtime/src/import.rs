//! Reads what nobody manages as files that a source would hold, each proven to change nothing once it is desired. Writes
//! no target, no entry and no file.

use std::collections::{BTreeMap, BTreeSet};

use trued_doors::{Answer, Ask, Asked, Compared, Driver, Facts, Found, Link, Reading, Sourced};
use trued_model::{Address, Code, Digest, Document, Name, Refusal, Seen, Shape, StackId};

use crate::runtime::{Aim, Runtime, blocking};

/// The largest thing that is read as a whole.
const LARGEST: u64 = 64 << 20;

/// What became of being asked to import.
#[derive(Default)]
pub struct Imported {
    pub files: Vec<(Address, Sourced)>,
    /// What is not written, and why.
    pub refused: Vec<(Address, Refusal)>,
}

/// What to import from where.
pub struct Wanted<'a> {
    pub target: &'a Name,
    /// The place on the target of the stack that will have it.
    pub into: &'a str,
    /// Empty: everything below `into` that nobody manages and no other tool says to manage.
    pub addresses: &'a [Address],
}

impl Runtime {
    /// Reads what nobody manages as files for a source.
    pub async fn import(&self, aim: &Aim, wanted: &Wanted<'_>) -> Answer<Imported> {
        let (reaches, _) = self.reach(aim, Some(wanted.target), if wanted.addresses.is_empty() { wanted.into } else { "" }).await?;
        let Some(reach) = reaches.into_iter().next() else { return Ok(Imported::default()) };
        let mut imported = Imported::default();
        let mut chosen = BTreeSet::new();
        let coverage = &reach.coverage;
        if wanted.addresses.is_empty() {
            if let trued_model::Extent::Unknown(why) = &reach.extent {
                return Err(Refusal::new(Code::Unknown, format!("list what is on {}: {why}", wanted.target)));
            }
            for (address, loose) in &coverage.unmanaged {
                match reach.theirs.get(address) {
                    Some(who) => imported.refused.push((address.clone(), theirs(address, who))),
                    None if !loose.wanted.is_empty() => imported.refused.push((address.clone(), self.desired(address, &loose.wanted))),
                    None => drop(chosen.insert(address.clone())),
                }
            }
        }
        for address in wanted.addresses {
            let wish = coverage.unmanaged.get(address).filter(|loose| !loose.wanted.is_empty());
            let refusal = match (coverage.managed.get(address), coverage.ignored.get(address), wish) {
                (Some(stack), _, _) => {
                    Some(Refusal::new(Code::Invalid, format!("import {address}: stack {} manages it already", self.names().write(stack))))
                }
                (_, Some(why), _) => {
                    let help = "import what makes it, or leave it out";
                    Some(Refusal::new(Code::Invalid, format!("import {address}: it is ignored: {why}")).help(help))
                }
                (_, _, Some(loose)) => Some(self.desired(address, &loose.wanted)),
                _ => None,
            };
            match refusal {
                Some(refusal) => imported.refused.push((address.clone(), refusal)),
                None => drop(chosen.insert(address.clone())),
            }
        }
        let (driver, link) = (self.driver(wanted.target)?, self.link(wanted.target).await?);
        let facts = link.facts().await?;
        for address in chosen {
            match self.import_one(driver.as_ref(), link.as_ref(), &facts, &address, wanted.into).await {
                Ok(sourced) => imported.files.push((address, sourced)),
                Err(refusal) => imported.refused.push((address, refusal)),
            }
        }
        Ok(imported)
    }

    /// The first of the ways to write it down that is read as just this thing and would change nothing.
    async fn import_one(&self, driver: &dyn Driver, link: &dyn Link, facts: &Facts, address: &Address, into: &str) -> Answer<Sourced> {
        let kept = link.keep(&Asked::new(address.clone(), false)).await?;
        let bytes = match kept.content {
            Some(content) if content.sealed => {
                let message = format!("import {address}: it holds secrets, which are not written in plain text");
                let help = "encrypt its values with age or SOPS, name them under `secrets:`, and render it from a template";
                return Err(Refusal::new(Code::Denied, message).help(help));
            }
            Some(content) if content.bytes > LARGEST => {
                return Err(Refusal::new(Code::TooLarge, format!("import {address}: it has {} bytes, more than 64 MiB", content.bytes)));
            }
            Some(content) => blocking(|| self.doors.blobs.get(&content.digest))?,
            None => Vec::new(),
        };
        let found = Found { address, fingerprint: &kept.fingerprint, bytes: &bytes, into };
        let mut why = Refusal::new(Code::Invalid, format!("import {address}: it cannot be written down"));
        for sourced in driver.sourced(&found)? {
            match self.adopts(driver, link, facts, address, into, &sourced).await {
                Ok(()) => return Ok(sourced),
                Err(refusal) => why = refusal,
            }
        }
        Err(why)
    }

    /// Makes sure that desiring this would change nothing.
    async fn adopts(
        &self,
        driver: &dyn Driver,
        link: &dyn Link,
        facts: &Facts,
        address: &Address,
        into: &str,
        sourced: &Sourced,
    ) -> Answer<()> {
        let text = match sourced.shape {
            Shape::File { .. } if driver.reads_text() => String::from_utf8(sourced.bytes.clone()).ok().map(Into::into),
            _ => None,
        };
        let content = blocking(|| self.doors.blobs.put(&sourced.bytes))?;
        let document = Document { path: sourced.path.clone(), shape: sourced.shape, identity: Digest::of(&sourced.bytes), content, text };
        let documents = std::slice::from_ref(&document);
        let reading = Reading { facts, into, documents, ignore: &[], opened: &BTreeMap::new(), seal: self.doors.seal.as_ref() };
        let parsed = driver.parse(&reading);
        if let Some(finding) = parsed.findings.first() {
            return Err(Refusal::new(Code::Invalid, format!("import {address}: {}", finding.message)).help(finding.help.clone()));
        }
        let resource = parsed.resources.iter().find(|resource| resource.address == *address);
        let resource = resource.ok_or_else(|| Refusal::new(Code::Broken, format!("import {address}: written down it is another thing")))?;
        blocking(|| parsed.made.values().try_for_each(|bytes| self.doors.blobs.put(bytes).map(drop)))?;
        let from: std::sync::Arc<dyn trued_doors::Contents> = self.doors.blobs.clone();
        let compared = resource.content.map(|content| Compared { fingerprint: resource.fingerprint.clone(), content, from });
        let compared = if facts.compares { compared.into_iter().collect() } else { Vec::new() };
        let asked = Asked { compared, ..Asked::new(address.clone(), false).like([&resource.fingerprint]) };
        match link.observe(Ask::These(vec![asked])).await?.get(address) {
            Seen::Present(state) if state.fingerprint == resource.fingerprint => Ok(()),
            Seen::Present(_) => {
                Err(Refusal::new(Code::Changed, format!("import {address}: what would be written differs from what is there")))
            }
            Seen::Absent => Err(Refusal::new(Code::Absent, format!("import {address}: it is gone"))),
            Seen::Unknown(why) => Err(Refusal::new(Code::Unknown, format!("import {address}: {why}"))),
            Seen::Denied(why) => Err(Refusal::new(Code::Denied, format!("import {address}: {why}"))),
        }
    }

    fn desired(&self, address: &Address, by: &BTreeSet<StackId>) -> Refusal {
        let by = by.first().map(|stack| self.names().write(stack)).unwrap_or_default();
        Refusal::new(Code::Invalid, format!("import {address}: stack {by} desires it already")).help("`trued plan` says what it waits for")
    }
}

fn theirs(address: &Address, who: &str) -> Refusal {
    Refusal::new(Code::Changed, format!("import {address}: {who} says to manage it")).help("name its address to take it over all the same")
}
