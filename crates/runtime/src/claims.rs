//! Who else wants and owns what on a target. Asked only for addresses whose plan depends on it.

use trued_doors::Answer;
use trued_engine::Claims;
use trued_model::{Address, StackId};

use crate::render::NoWish;
use crate::runtime::Runtime;

impl Runtime {
    /// Gathers claims of all other stacks on the same target, at the revisions that are accepted now. A rollback goes
    /// to an older revision than any of them: where a source cannot be read, what landed last of it is new enough.
    pub(crate) async fn claims(&self, id: &StackId, inherits: &[StackId], addresses: &[Address], rollback: bool) -> Answer<Claims> {
        let mut claims = Claims::default();
        if addresses.is_empty() {
            return Ok(claims);
        }
        let (others, orphans) = {
            let state = self.state();
            let shares = |other: &&StackId| other.target == id.target && *other != id;
            let configured: Vec<StackId> = state.estate.stacks.keys().filter(shares).cloned().collect();
            let orphans: Vec<StackId> = state.orphans.iter().filter(shares).filter(|other| !inherits.contains(other)).cloned().collect();
            // What an app that cannot be read now desires is not known, wherever it lands.
            if let Some(app) = state.estate.unreadable.first() {
                claims.incomplete.insert(id.clone(), format!("the app file of {app} cannot be read"));
            } else if state.estate.incomplete {
                claims.incomplete.insert(id.clone(), "an app file cannot be read".to_owned());
            }
            (configured, orphans)
        };
        for other in others.iter().chain(&orphans) {
            let cell = self.cell(other);
            let inventory = cell.inventory(self).await?;
            let owned = addresses.iter().filter_map(|address| Some((address, inventory.items.get(address)?)));
            claims.owners.extend(owned.map(|(address, item)| (address.clone(), (other.clone(), item.fingerprint.clone()))));
        }
        for other in &others {
            let Some(stack) = self.stack(other) else { continue };
            // Boxed: a render of another stack may be asked from within the walk of this one.
            match Box::pin(self.wanted(&self.cell(other), &stack)).await {
                Ok(wanted) => {
                    let wants = addresses.iter().filter(|address| wanted.desired.resources.contains_key(*address));
                    wants.for_each(|address| {
                        claims.wanted.entry(address.clone()).or_default().insert(other.clone());
                    });
                }
                Err(NoWish::Refused(_)) if rollback && self.cell(other).memory(self).await?.landed.is_some() => {
                    let landed = self.cell(other).memory(self).await?.landed;
                    let manifest = landed.map(|landed| self.manifest(&landed.manifest)).transpose()?.unwrap_or_default();
                    let wants = addresses.iter().filter(|address| manifest.items.contains_key(*address));
                    wants.for_each(|address| {
                        claims.wanted.entry(address.clone()).or_default().insert(other.clone());
                    });
                }
                Err(NoWish::Panicked) => {
                    claims.incomplete.insert(other.clone(), "does not render: it broke off inside trued".to_owned());
                }
                Err(NoWish::Refused(refusal)) => {
                    claims.incomplete.insert(other.clone(), refusal.to_string());
                }
                Err(NoWish::Findings(findings)) => {
                    let why = findings.first().map_or_else(|| "does not render".to_owned(), |finding| finding.message.clone());
                    claims.incomplete.insert(other.clone(), format!("does not render: {why}"));
                }
            }
        }
        Ok(claims)
    }
}
