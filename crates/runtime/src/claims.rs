//! Who else wants and owns what on a target. Asked only for addresses whose plan depends on it.

use trued_doors::Answer;
use trued_engine::Claims;
use trued_model::{Address, StackId};

use crate::neighbours::Wish;
use crate::runtime::Runtime;

impl Runtime {
    /// Gathers claims of all other stacks on the same target, at the revisions that are accepted now. A rollback goes
    /// to an older revision than any of them: where a source cannot be read, what landed last of it is new enough.
    pub(crate) async fn claims(&self, id: &StackId, inherits: &[StackId], addresses: &[Address], rollback: bool) -> Answer<Claims> {
        let mut claims = Claims::default();
        if addresses.is_empty() {
            return Ok(claims);
        }
        let (alone, neighbours) = {
            let mut state = self.state();
            // What an app that cannot be read now desires is not known, wherever it lands.
            if let Some(app) = state.estate.unreadable.first() {
                claims.incomplete.insert(id.clone(), format!("the app file of {app} cannot be read"));
            } else if state.estate.incomplete {
                claims.incomplete.insert(id.clone(), "the configuration is not whole (trued check)".to_owned());
            }
            let alone = !state.estate.stacks.keys().chain(&state.orphans).any(|other| other.target == id.target && other != id);
            (alone, state.neighbours.entry(id.target.clone()).or_default().clone())
        };
        if alone {
            return Ok(claims);
        }
        let mut neighbours = neighbours.lock().await;
        neighbours.catch_up(self, id).await?;
        for (other, neighbour) in neighbours.near(id, addresses) {
            if !(matches!(neighbour.wish, Wish::Gone) && inherits.contains(other)) {
                let owned = addresses.iter().filter_map(|address| Some((address, neighbour.inventory.items.get(address)?)));
                claims.owners.extend(owned.map(|(address, item)| (address.clone(), (other.clone(), item.fingerprint.clone()))));
            }
            let mut wants = |wanted: &dyn Fn(&Address) -> bool| {
                for address in addresses.iter().filter(|address| wanted(address)) {
                    claims.wanted.entry(address.clone()).or_default().insert(other.clone());
                }
            };
            match &neighbour.wish {
                Wish::Gone => {}
                Wish::Known => {
                    let wanted = neighbour.cell.kept().wanted.clone();
                    wants(&|address| wanted.as_ref().is_some_and(|wanted| wanted.desired.wants(address)));
                }
                Wish::Unknown { away: true, .. } if rollback && neighbour.cell.memory(self).await?.landed.is_some() => {
                    let landed = neighbour.cell.memory(self).await?.landed.clone();
                    let manifest = landed.map(|landed| self.manifest(&landed.manifest)).transpose()?.unwrap_or_default();
                    wants(&|address| manifest.items.contains_key(address));
                }
                Wish::Unknown { why, .. } => {
                    claims.incomplete.insert(other.clone(), why.clone());
                }
            }
        }
        Ok(claims)
    }
}
