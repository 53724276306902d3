//! Does one piece of pure work, for `cargo xtask bench counts` to count its instructions: `count made|plan|digest|append N`.
//! What it is done on is made first, which alone is `made`.

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use serde_json::json;
use trued_doors::{Clock, Store};
use trued_engine::{Claims, PlanInput, Settled, Sides, Wish, plan};
use trued_ledger::MemoryStore;
use trued_model::{
    Actor, Address, BlobRef, Desired, Draft, Extent, Fingerprint, Kind, Observation, Origin, Policy, Resource, Seen, StackId, State,
    Timestamp,
};

const NOW: Timestamp = Timestamp(1_795_000_000_000);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, count] = words.as_slice() else { return Err("count made|plan|digest|append N".into()) };
    let count: usize = count.parse()?;
    match what.as_str() {
        "made" => unchanged(count, |input| _ = black_box(input)),
        "plan" => unchanged(count, |input| assert!(plan(black_box(input)).changes.is_empty(), "nothing is to be done")),
        "digest" => unchanged(count, |input| _ = black_box(input.sides.inventory.digest())),
        "append" => append(count)?,
        _ => return Err("no such work".into()),
    }
    Ok(())
}

fn desired(count: usize) -> Desired {
    let resource = |at: usize| {
        let address = Address::new(format!("site/d{}/f{at}.txt", at % 100));
        let content = BlobRef::of(&at.to_le_bytes());
        let fingerprint = Fingerprint::new(format!("1:file:644:{}", content.digest.hex()));
        (address.clone(), Resource { address, fingerprint, content: Some(content), origin: Origin::default() })
    };
    Desired { resources: (0..count).map(resource).collect(), ..Desired::default() }
}

/// Makes a stack of which everything is as it should be, and does something with it.
fn unchanged(count: usize, work: impl FnOnce(&PlanInput<'_>)) {
    let desired = desired(count);
    let inventory = desired.manifest();
    let state = |fingerprint: &Fingerprint| State { fingerprint: fingerprint.clone(), bytes: 8, uid: None, evidence: Default::default() };
    let seen = desired.resources.values().map(|resource| (resource.address.clone(), Seen::Present(state(&resource.fingerprint)))).collect();
    let observed = Observation { at: NOW, extent: Extent::Complete, seen };
    let stack = StackId::from_key("prod/site@web").expect("a stack");
    work(&PlanInput {
        stack: &stack,
        policy: &Policy::default(),
        wish: Wish::Source,
        sides: &Sides::of(&desired, &inventory, &observed),
        claims: &Claims::default(),
        settled: &Settled::default(),
        previews: &BTreeMap::new(),
        into: "",
        nested: true,
        ranks: &[],
        guarded: &[],
        deferred: &Default::default(),
        errands: &Default::default(),
    });
}

struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        NOW
    }
    fn monotonic(&self) -> u64 {
        0
    }
    fn fresh_id(&self) -> String {
        String::new()
    }
    fn chance(&self, _bound: u64) -> u64 {
        0
    }
}

/// Appends entries to a record in memory: canonical form, leaf, tree.
fn append(count: usize) -> Result<(), Box<dyn Error>> {
    let store = MemoryStore::new(Arc::new(Standing));
    let draft = |at: usize| Draft {
        kind: Kind::Receipt,
        stack: StackId::from_key("prod/site@web"),
        run: None,
        valid_from: NOW,
        actor: Actor::engine(),
        cause: "source".to_owned(),
        revision: None,
        links: Vec::new(),
        body: json!({ "batch": at, "done": 1, "of": 1, "so_far": 1 }),
        blobs: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(store.append((0..count).map(draft).collect(), None)).map_err(|refusal| refusal.to_string())?;
    Ok(())
}
