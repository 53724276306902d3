//! Removing one object: the very one that was looked at, at the version it was looked at.

use trued_model::{Code, Reason, Refusal};

use crate::api::{self, Fault};
use crate::apply::{Ended, Step, TRIES};
use crate::compare;
use crate::entry::Entry;
use crate::object::text;

impl Step<'_> {
    /// Deletes the object; what is not gone at once is refused as unknown, and stays ours.
    pub async fn remove(&self) -> Ended {
        for _ in 0..TRIES {
            // What is deleted is looked at once more, whatever is known of it.
            let Some(live) = compare::get(self.cluster, &self.spot, &self.place, None).await? else {
                self.place.entry.iter().for_each(|entry| self.place.table.remove(&self.spot, &entry.uid));
                return Ok(None);
            };
            let entry = Entry::read(&live);
            let known = self.place.entry.as_ref();
            let same = known.is_some_and(|known| {
                entry.continues(known)
                    || known.settled.as_ref().and_then(|s| s.identity) == Some(compare::identity(&live)) && known.uid == entry.uid
            });
            if !same {
                return Err(Refusal::new(Code::Changed, format!("{}: it was changed from outside just now", self.doing)));
            }
            self.ours_to_touch(&entry)?;
            let asked = |reason: &Reason| matches!(reason, Reason::Foreign | Reason::Marked);
            if entry.mark.is_none() && !self.change.reasons.iter().any(asked) {
                let message = format!("{}: it carries no mark of ours any more", self.doing);
                return Err(Refusal::new(Code::Denied, message).help("delete it by hand if it is to go, or let the stack desire it again"));
            }
            if let Some(waits) = &entry.leaving {
                return Err(leaving(&self.doing, waits));
            }
            let path = api::path(&self.spot, &self.place.serving, None);
            match self.cluster.api.delete(&path, &entry.uid, &entry.version).await {
                Ok(answer) if text(&answer, &["metadata", "uid"]) == Some(entry.uid.as_str()) => {
                    let left = Entry::read(&answer);
                    let waits = left.leaving.clone().unwrap_or_default();
                    self.place.table.take(&self.spot, left);
                    // Gone at once unless something is waited for; then only looking tells.
                    match compare::get(self.cluster, &self.spot, &self.place, None).await? {
                        Some(live) if text(&live, &["metadata", "uid"]) == Some(entry.uid.as_str()) => {
                            return Err(leaving(&self.doing, &waits));
                        }
                        _ => self.place.table.remove(&self.spot, &entry.uid),
                    }
                    return Ok(None);
                }
                Ok(_) => {
                    self.place.table.remove(&self.spot, &entry.uid);
                    return Ok(None);
                }
                Err(fault) if fault.status() == Some(http::StatusCode::NOT_FOUND) => {
                    self.place.table.remove(&self.spot, &entry.uid);
                    return Ok(None);
                }
                Err(fault) if fault.status() == Some(http::StatusCode::CONFLICT) => {}
                Err(fault) => {
                    if matches!(fault, Fault::Lost(_)) {
                        self.learn().await;
                    }
                    return Err(fault.refusal(&self.doing, self.sealed()));
                }
            }
        }
        Err(Refusal::new(Code::Unreachable, format!("{}: it changes faster than it can be deleted", self.doing)))
    }
}

fn leaving(doing: &str, waits: &[String]) -> Refusal {
    let what = if waits.is_empty() { "it ends by itself".to_owned() } else { format!("it waits for {}", waits.join(", ")) };
    Refusal::new(Code::Unknown, format!("{doing}: it is being deleted; {what}")).help("it stays in the inventory until it is gone")
}
