//! The stacks that share a target, asked once for each state of sources and configuration, and again only about what the record
//! has gained since: so that a walk among a thousand neighbours costs what is new, not a thousand questions.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use trued_doors::{Answer, Query};
use trued_model::{Address, Estate, Manifest, Name, Revision, StackId};

use crate::cell::{Cell, Wanted};
use crate::render::NoWish;
use crate::runtime::Runtime;

/// How many are asked at once: what one waits for, another works meanwhile.
const ASKED_AT_ONCE: usize = 8;

/// All stacks and orphans of one target.
#[derive(Default)]
pub(crate) struct Neighbours {
    asked: Option<Asked>,
    all: BTreeMap<StackId, Neighbour>,
    /// How much of the record is known.
    through: u64,
    near: Near,
}

/// Who has to do with which address, by its hash: whoever asks looks closer.
#[derive(Default)]
struct Near {
    hashing: RandomState,
    /// Hash of an address, number of a neighbour.
    places: BTreeSet<(u64, u32)>,
    numbered: u32,
}

/// What wishes were asked for.
struct Asked {
    estate: Arc<Estate>,
    revisions: BTreeMap<Name, Revision>,
    orphans: Vec<StackId>,
}

/// One of them.
pub(crate) struct Neighbour {
    pub cell: Arc<Cell>,
    /// What is its on the target.
    pub inventory: Arc<Manifest>,
    pub wish: Wish,
    number: u32,
    /// What stands of it in [`Near`].
    noted: Noted,
}

#[derive(Default)]
struct Noted {
    inventory: Option<Arc<Manifest>>,
    wanted: Option<Arc<Wanted>>,
}

/// Whether it is known what a neighbour wants.
pub(crate) enum Wish {
    /// What its cell says.
    Known,
    /// Nothing: it is no longer configured.
    Gone,
    /// Not known, and why; `away` where its source could not be read at all.
    Unknown { why: String, away: bool },
}

impl Neighbours {
    /// Asks what is not known yet: everybody when sources or configuration moved, else those whose record grew and those of whom
    /// nothing was known.
    pub async fn catch_up(&mut self, runtime: &Runtime, of: &StackId) -> Answer<()> {
        let now = {
            let state = runtime.state();
            Asked { estate: state.estate.clone(), revisions: state.revisions.clone(), orphans: state.orphans.clone() }
        };
        let size = runtime.doors.store.head().await?.size;
        if self.asked.as_ref().is_none_or(|asked| !asked.same(&now)) {
            self.asked = None;
            self.all.clear();
            self.near = Near::default();
            let shares = |other: &&StackId| other.target == of.target;
            let configured = now.estate.stacks.keys().filter(shares).map(|id| (id.clone(), false));
            let orphans = now.orphans.iter().filter(shares).map(|id| (id.clone(), true));
            self.ask(runtime, configured.chain(orphans).collect()).await?;
            self.asked = Some(now);
        } else {
            let news = match size > self.through {
                true => runtime.doors.store.find(Query { after: self.through.checked_sub(1), ascending: true, ..Query::default() }).await?,
                false => Vec::new(),
            };
            let grown: BTreeSet<StackId> = news.into_iter().filter_map(|indexed| indexed.entry.stack).collect();
            for id in &grown {
                if let Some(neighbour) = self.all.get_mut(id) {
                    neighbour.inventory = neighbour.cell.inventory(runtime).await?;
                }
            }
            let unknown = self.all.iter().filter(|(id, one)| *id != of && matches!(one.wish, Wish::Unknown { .. }));
            let unknown = unknown.map(|(id, _)| (id.clone(), false));
            self.ask(runtime, unknown.collect()).await?;
        }
        self.through = size;
        Ok(())
    }

    /// Asks some, several at once; each with whether it is an orphan.
    async fn ask(&mut self, runtime: &Runtime, some: Vec<(StackId, bool)>) -> Answer<()> {
        let mut asked = stream::iter(some).map(|(id, orphan)| ask(runtime, id, orphan).boxed()).buffered(ASKED_AT_ONCE);
        while let Some((cell, inventory, wish)) = asked.try_next().await? {
            let (number, noted) = match self.all.remove(&cell.id) {
                Some(known) => (known.number, known.noted),
                None => (self.near.next_number(), Noted::default()),
            };
            self.all.insert(cell.id.clone(), Neighbour { cell, inventory, wish, number, noted });
        }
        Ok(())
    }

    /// The others who may own or want one of some addresses: those who do, as far as is known, and those of whom it is not known.
    pub fn near<'a>(&'a mut self, of: &'a StackId, addresses: &[Address]) -> impl Iterator<Item = (&'a StackId, &'a Neighbour)> {
        self.all.values_mut().for_each(|one| self.near.note(one));
        let numbers: BTreeSet<u32> = addresses.iter().flat_map(|address| self.near.of(address)).collect();
        let near = move |one: &Neighbour| matches!(one.wish, Wish::Unknown { .. }) || numbers.contains(&one.number);
        self.all.iter().filter(move |(other, one)| *other != of && near(one))
    }
}

/// What is a stack's, and whether it is known what it wants.
async fn ask(runtime: &Runtime, id: StackId, orphan: bool) -> Answer<(Arc<Cell>, Arc<Manifest>, Wish)> {
    let cell = runtime.cell(&id);
    let inventory = cell.inventory(runtime).await?;
    let estate = runtime.estate();
    let wish = match estate.stacks.get(&id).filter(|_| !orphan) {
        None => Wish::Gone,
        // Boxed: a render of another stack may be asked from within the walk of this one.
        Some(stack) => match Box::pin(runtime.wanted(&cell, stack)).await {
            Ok(_) => Wish::Known,
            Err(NoWish::Panicked) => Wish::Unknown { why: "does not render: it broke off inside trued".to_owned(), away: false },
            Err(NoWish::Refused(refusal)) => Wish::Unknown { why: refusal.to_string(), away: true },
            Err(NoWish::Findings(findings)) => {
                let why = findings.first().map_or_else(|| "does not render".to_owned(), |finding| finding.message.clone());
                Wish::Unknown { why: format!("does not render: {why}"), away: false }
            }
        },
    };
    Ok((cell, inventory, wish))
}

impl Near {
    fn next_number(&mut self) -> u32 {
        self.numbered += 1;
        self.numbered
    }

    /// Notes a neighbour's addresses, if they are not those that stand here.
    fn note(&mut self, one: &mut Neighbour) {
        let wanted = one.cell.kept().wanted.clone();
        let same = one.noted.inventory.as_ref().is_some_and(|noted| Arc::ptr_eq(noted, &one.inventory))
            && one.noted.wanted.as_ref().map(Arc::as_ptr) == wanted.as_ref().map(Arc::as_ptr);
        if same {
            return;
        }
        for address in one.noted.addresses() {
            self.places.remove(&(self.hashing.hash_one(address), one.number));
        }
        one.noted = Noted { inventory: Some(one.inventory.clone()), wanted };
        for address in one.noted.addresses() {
            self.places.insert((self.hashing.hash_one(address), one.number));
        }
    }

    fn of(&self, address: &Address) -> impl Iterator<Item = u32> + '_ {
        let hash = self.hashing.hash_one(address);
        self.places.range((hash, 0)..=(hash, u32::MAX)).map(|(_, number)| *number)
    }
}

impl Noted {
    fn addresses(&self) -> impl Iterator<Item = &Address> {
        let owned = self.inventory.iter().flat_map(|inventory| inventory.items.keys());
        owned.chain(self.wanted.iter().flat_map(|wanted| wanted.desired.all().into_keys()))
    }
}

impl Asked {
    fn same(&self, now: &Asked) -> bool {
        Arc::ptr_eq(&self.estate, &now.estate) && self.revisions == now.revisions && self.orphans == now.orphans
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use trued_doors::Contents;
    use trued_model::{BlobRef, Clears, Desired, Digest, Errand, Fingerprint, Origin, Resource};

    use super::*;

    struct Nothing;

    impl Contents for Nothing {
        fn open(&self, _: &BlobRef) -> Answer<Box<dyn Read + Send>> {
            Ok(Box::new(std::io::empty()))
        }
    }

    #[test]
    fn what_a_neighbour_wants_for_once_is_found_as_what_it_wants_for_good() {
        let resource = |address: &str| Resource {
            address: Address::new(address),
            fingerprint: Fingerprint::new("1:object:1"),
            content: None,
            origin: Origin::default(),
        };
        let errand = Errand { resource: resource("kind/once"), first: None, next: None, clears: Clears::default(), ends: Vec::new() };
        let desired = Desired {
            resources: BTreeMap::from([(Address::new("kind/good"), resource("kind/good"))]),
            errands: BTreeMap::from([(Address::new("kind/once"), errand)]),
        };
        let digest = Digest::of(b"any");
        let wanted = Wanted {
            key: digest,
            inputs: digest,
            desired: Arc::new(desired),
            digest,
            contents: Arc::new(Nothing),
            revision: None,
            sandbox: None,
            tools: Vec::new(),
            deferred: BTreeMap::new(),
            not_run: BTreeMap::new(),
        };
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let id = StackId { environment: name("prod"), app: name("shop"), target: name("cluster") };
        let cell = Arc::new(Cell::new(id));
        cell.kept().wanted = Some(Arc::new(wanted));
        let mut near = Near::default();
        let (inventory, wish, noted) = (Arc::default(), Wish::Known, Noted::default());
        let mut one = Neighbour { cell: cell.clone(), inventory, wish, number: near.next_number(), noted };
        let mut found = |address: &str| {
            near.note(&mut one);
            near.of(&Address::new(address)).count()
        };
        assert_eq!(["kind/good", "kind/once", "kind/other"].map(&mut found), [1, 1, 0]);
        // It wants something else now: what stood of it goes.
        cell.kept().wanted = None;
        assert_eq!(["kind/good", "kind/once"].map(&mut found), [0, 0]);
    }
}
