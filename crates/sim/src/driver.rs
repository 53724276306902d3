//! The driver of simulated targets. It looks and touches; whatever it touches the witness sees first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration as Span;

use futures::StreamExt;
use serde_json::Value;
use trued_doors::{
    Answer, Ask, Asked, Blobs, BoxFuture, BoxStream, Clock, Connection, Descriptor, Done, Driver, Facts, HealthAsk, Hint, Kept, Link,
    Order, Parsed, Reading,
};
use trued_model::{
    Address, BlobRef, Code, Condition, Document, Evidence, Extent, Finding, Fingerprint, Observation, Origin, Refusal, Resource, Seen,
    Shape, StackId, State,
};

use crate::history::{fingerprint, placed};
use crate::process::Process;
use crate::target::Target;
use crate::universe::Universe;
use crate::wellbeing;

/// The kind of every simulated target.
pub const KIND: &str = "fake";

/// The driver, as one process has it.
pub struct FakeDriver {
    pub universe: Arc<Universe>,
    pub process: Arc<Process>,
}

impl Driver for FakeDriver {
    fn describe(&self) -> Descriptor {
        crate::words::descriptor(KIND)
    }

    fn parse(&self, reading: &Reading<'_>) -> Parsed {
        let Reading { into, documents, .. } = *reading;
        let resource = |document: &Document| {
            let folder = document.shape == Shape::Folder;
            let looks = if folder { fingerprint(None) } else { Fingerprint::new(format!("1:file:644:{}", document.identity.hex())) };
            Resource {
                address: placed(into, &document.path),
                fingerprint: looks,
                content: (!folder).then_some(document.content),
                origin: Origin { file: document.path.as_str().into(), line: None },
            }
        };
        let outside = |document: &&Document| document.path.contains("..");
        let findings = documents.iter().filter(outside).map(|document| {
            let message = format!("{} lies outside of where this stack may write", document.path);
            Finding::new(message, "move it below the stack's own folder")
        });
        Parsed { findings: findings.collect(), resources: documents.iter().map(resource).collect(), ..Parsed::default() }
    }

    fn check(&self, _settings: &Value) -> Vec<Finding> {
        Vec::new()
    }

    fn connect(&self, at: Connection) -> BoxFuture<'_, Answer<Arc<dyn Link>>> {
        Box::pin(async move {
            let target = self.universe.target(&at.target.name);
            if target.ground().faults.away {
                return Err(away());
            }
            Ok(Arc::new(FakeLink { universe: self.universe.clone(), process: self.process.clone(), target }) as Arc<dyn Link>)
        })
    }
}

fn away() -> Refusal {
    Refusal::new(Code::Unreachable, "reach the target: no route")
}

struct FakeLink {
    universe: Arc<Universe>,
    process: Arc<Process>,
    target: Arc<Target>,
}

impl FakeLink {
    /// The way there: takes its time, and may end here.
    async fn reach(&self) -> Answer<()> {
        self.process.still().await;
        let (away_now, hangs, millis) = {
            let ground = self.target.ground();
            (ground.faults.away, ground.faults.hangs, ground.faults.millis)
        };
        if millis > 0 {
            tokio::time::sleep(Span::from_millis(millis)).await;
        }
        if hangs {
            futures::future::pending::<()>().await;
        }
        self.process.still().await;
        if away_now { Err(away()) } else { Ok(()) }
    }

    fn look(&self, asked: impl Iterator<Item = Address>) -> Observation {
        let at = self.universe.clock.now();
        let ground = self.target.ground();
        if ground.faults.unseen {
            return Observation { at, extent: Extent::Unknown("there is no root".to_owned()), seen: BTreeMap::new() };
        }
        let mut seen = BTreeMap::new();
        let mut extent = Extent::Complete;
        for address in asked {
            let looked = if ground.faults.hidden.contains(&address) {
                extent = Extent::Partial(format!("{address}: cannot be read now"));
                Seen::Unknown("cannot be read now".to_owned())
            } else {
                match ground.look(&address, self.target.nested) {
                    None => Seen::Absent,
                    Some(node) => Seen::Present(State {
                        bytes: node.content.as_ref().map_or(0, |content| content.len() as u64),
                        uid: (node.uid > 0).then(|| node.uid.to_string()),
                        evidence: Evidence { changed_at: Some(node.changed_at), grade: Some("C".to_owned()), ..Evidence::default() }.into(),
                        fingerprint: node.fingerprint,
                    }),
                }
            };
            seen.insert(address, looked);
        }
        Observation { at, extent, seen }
    }

    /// One change of an order, from its way there to its answer; `None` is an answer that got lost.
    async fn change(&self, order: &Order, index: usize) -> Option<Done> {
        self.process.place().await;
        if let Err(refusal) = self.reach().await {
            return Some(Done { change: index, result: Err(refusal) });
        }
        let result = self.touch(order, index);
        self.process.place().await;
        let lost = {
            let mut ground = self.target.ground();
            let lost = ground.faults.lost_replies > 0;
            ground.faults.lost_replies = ground.faults.lost_replies.saturating_sub(1);
            lost
        };
        if lost {
            self.universe.witness().forgets(&self.process.holder, &self.target.name, &order.changes[index].address);
            return None;
        }
        self.universe.witness().answered(&self.process.holder, &self.target.name, &order.changes[index], &result);
        Some(Done { change: index, result })
    }

    fn touch(&self, order: &Order, index: usize) -> Result<Option<Fingerprint>, Refusal> {
        let change = &order.changes[index];
        let now = self.universe.clock.now();
        let meddling = std::mem::take(&mut self.target.ground().faults.meddling);
        for (address, edit) in meddling {
            self.target.edit(&address, &edit, now);
        }
        let faulty = self.fault(change.address.clone());
        let mut ground = self.target.ground();
        let newest = ground.epochs.get(&order.stack).copied().unwrap_or(0);
        if self.target.checks_epochs && order.epoch < newest {
            return Err(Refusal::new(Code::Fenced, format!("epoch {newest} was here before {}", order.epoch)));
        }
        ground.epochs.insert(order.stack.clone(), newest.max(order.epoch));
        let there = ground.look(&change.address, self.target.nested);
        drop(ground);
        self.universe.ordered(&self.process.holder, &self.target, order, index, there.as_ref());
        if let Some(refusal) = faulty {
            return Err(refusal);
        }
        let mut ground = self.target.ground();
        if ground.admits(change, self.target.nested)? {
            return Ok(change.after.clone());
        }
        let content = match change.content {
            Some(blob) => {
                let bytes = self.universe.blobs.get(&blob.digest)?;
                if change.after != Some(fingerprint(Some(&bytes))) {
                    return Err(Refusal::new(Code::Invalid, format!("make {}: its bytes are others", change.address)));
                }
                Some(bytes.into())
            }
            None => None,
        };
        ground.make(change, content, now, self.target.nested);
        drop(ground);
        self.universe.changed(&self.process.holder, &self.target, order, index);
        Ok(change.after.clone())
    }

    /// Takes one fault, if any is meant for this change.
    fn fault(&self, address: Address) -> Option<Refusal> {
        let mut ground = self.target.ground();
        let faults = &mut ground.faults;
        if let Some(code) = faults.forbidden.get(&address) {
            return Some(Refusal::new(*code, format!("write {address}: not allowed")));
        }
        if let Some((code, left)) = faults.refusals {
            faults.refusals = (left > 1).then_some((code, left - 1));
            return Some(Refusal::new(code, format!("write {address}: not now")));
        }
        match &mut faults.room {
            Some(0) => Some(Refusal::new(Code::Full, format!("write {address}: no space is left"))),
            Some(room) => {
                *room -= 1;
                None
            }
            None => None,
        }
    }
}

impl Link for FakeLink {
    fn facts(&self) -> BoxFuture<'_, Answer<Arc<Facts>>> {
        let reserved = vec![(".trued".to_owned(), "is Trued's own".to_owned())];
        let facts = Facts {
            nested: self.target.nested,
            confirms: self.target.confirms,
            health: self.target.wellbeing.is_some(),
            reserved,
            ..Facts::default()
        };
        Box::pin(std::future::ready(Ok(Arc::new(facts))))
    }

    fn observe(&self, ask: Ask) -> BoxFuture<'_, Answer<Observation>> {
        Box::pin(async move {
            self.reach().await?;
            let observation = match ask {
                Ask::These(asked) => self.look(asked.into_iter().map(|asked| asked.address)),
                Ask::Everything { .. } => {
                    let all: Vec<Address> = self.target.ground().nodes.keys().cloned().collect();
                    self.look(all.into_iter())
                }
            };
            self.universe.looked(&self.process.holder, &self.target, &observation);
            Ok(observation)
        })
    }

    fn keep<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Answer<Kept>> {
        let address = &asked.address;
        Box::pin(async move {
            self.reach().await?;
            let node = self.target.ground().look(address, self.target.nested);
            let node = node.ok_or_else(|| Refusal::new(Code::Absent, format!("keep {address}: it is gone")))?;
            let content: Option<BlobRef> = match &node.content {
                Some(bytes) => Some(self.universe.blobs.put(bytes)?),
                None => None,
            };
            Ok(Kept { fingerprint: node.fingerprint, content })
        })
    }

    fn apply(&self, order: Order) -> BoxStream<'_, Done> {
        let changes = futures::stream::iter(0..order.changes.len());
        let order = Arc::new(order);
        let each = changes.then(move |index| {
            let order = order.clone();
            async move { self.change(&order, index).await }
        });
        each.filter_map(std::future::ready).boxed()
    }

    fn epoch<'a>(&'a self, stack: &'a StackId) -> BoxFuture<'a, Answer<u64>> {
        Box::pin(async move {
            self.reach().await?;
            Ok(self.target.ground().epochs.get(stack).copied().unwrap_or(0))
        })
    }

    fn health(&self, ask: HealthAsk) -> BoxStream<'static, BTreeMap<Address, Condition>> {
        match &self.target.wellbeing {
            Some(wellbeing) => wellbeing::follow(wellbeing, &self.universe.clock, &self.process, &self.target, ask),
            None => futures::stream::empty().boxed(),
        }
    }

    fn watch(&self) -> Option<BoxStream<'static, Hint>> {
        let (hints, hear) = tokio::sync::mpsc::unbounded_channel();
        self.target.ground().watchers.push(hints);
        Some(futures::stream::unfold(hear, |mut hear| async move { hear.recv().await.map(|hint| (hint, hear)) }).boxed())
    }
}
