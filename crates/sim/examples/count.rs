//! Does one piece of pure work, for `cargo xtask bench counts` to count its instructions: `count made|plan|digest|key|append N`.
//! What it is done on is made first, which alone is `made`. `count time N` measures instead: nanoseconds of a plan for each resource.
#![expect(clippy::print_stdout, reason = "what was measured is the answer")]

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use trued_doors::{Clock, Store};
use trued_engine::{Claims, PlanInput, Settled, Sides, StackMemory, Wish, assess, candidates, plan};
use trued_ledger::MemoryStore;
use trued_model::{
    Actor, Address, BlobRef, Desired, Digest, Draft, Duration, Extent, Fingerprint, Kind, Observation, Origin, Policy, RenderStep,
    Resource, Seen, Stack, StackId, State, Timestamp,
};
use trued_runtime::Keyed;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

/// A plan is timed so many times; the least disturbed one counts.
const ROUNDS: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, count] = words.as_slice() else { return Err("count made|plan|digest|key|append|time N".into()) };
    let count: usize = count.parse()?;
    let made = Made::new(count)?;
    match what.as_str() {
        "made" => _ = black_box(&made),
        "plan" => made.plan(),
        "digest" => _ = black_box(made.inventory.digest()),
        "key" => keys(&made.stack, count)?,
        "append" => append(count)?,
        "time" => println!("{:.0}", made.time().as_nanos() as f64 / count as f64),
        _ => return Err("no such work".into()),
    }
    Ok(())
}

/// A stack of which everything is as it should be.
struct Made {
    stack: StackId,
    desired: Desired,
    inventory: trued_model::Manifest,
    observed: Observation,
}

impl Made {
    fn new(count: usize) -> Result<Made, Box<dyn Error>> {
        let desired = desired(count);
        let inventory = desired.manifest();
        let state =
            |fingerprint: &Fingerprint| State { fingerprint: fingerprint.clone(), bytes: 8, uid: None, evidence: Default::default() };
        let seen = |resource: &Resource| (resource.address.clone(), Seen::Present(state(&resource.fingerprint)));
        let seen = desired.resources.values().map(seen).collect();
        let observed = Observation { at: NOW, extent: Extent::Complete, seen };
        let stack = StackId::from_key("prod/site@web").ok_or("no name of a stack")?;
        Ok(Made { stack, desired, inventory, observed })
    }

    /// All that is decided about it: the sides, whose claims matter, what drifted, and what to do, which is nothing.
    fn plan(&self) {
        let sides = Sides::of(black_box(&self.desired), black_box(&self.inventory), black_box(&self.observed));
        let (claims, memory) = (Claims::default(), StackMemory::default());
        assert!(candidates(&sides).is_empty(), "nobody else is asked");
        assert!(assess(&sides, &claims, &memory, true, None).drift.is_empty(), "nothing drifted");
        let plan = plan(&PlanInput {
            stack: &self.stack,
            policy: &Policy::default(),
            wish: Wish::Source,
            sides: &sides,
            claims: &claims,
            settled: &Settled::default(),
            previews: &BTreeMap::new(),
            into: "",
            nested: true,
            ranks: &[],
            guarded: &[],
            deferred: &Default::default(),
            errands: &Default::default(),
        });
        assert!(black_box(plan).changes.is_empty(), "nothing is to be done");
    }

    fn time(&self) -> std::time::Duration {
        let round = || {
            let begun = Instant::now();
            self.plan();
            begun.elapsed()
        };
        (0..ROUNDS).map(|_| round()).min().unwrap_or_default()
    }
}

/// Names renders of one stack, each of another folder.
fn keys(id: &StackId, count: usize) -> Result<(), Box<dyn Error>> {
    let stack = Stack {
        id: id.clone(),
        source: "repo".parse()?,
        render: RenderStep {
            kind: "template".to_owned(),
            settings: json!({ "path": "site", "strict": true }),
            vars: ["colour", "host", "region", "title"].map(|name| (name.to_owned(), json!(format!("the {name}")))).into(),
            secrets: Default::default(),
            pulls: Vec::new(),
            limits: None,
        },
        into: String::new(),
        policy: Policy::default(),
        checks: Vec::new(),
        previously: Vec::new(),
        health: Default::default(),
        after: Default::default(),
        interval: Duration::from_secs(600),
        origin: Origin::default(),
    };
    for at in 0..count {
        let bundle = format!("{at:040x}");
        let keyed = Keyed {
            stack: &stack,
            bundle: &bundle,
            secrets: [("token", Digest([7; 32]))].into(),
            terms: None,
            version: "template-1",
            target: Some("files"),
            programs: Vec::new(),
        };
        black_box(keyed.keys(false));
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
