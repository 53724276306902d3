//! A revision that differs a little from the one rendered before it: only what is otherwise is rendered and read. Whatever is out
//! of the ordinary is left to a whole render, which finds and says what there is to say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use trued_doors::{Answer, Bundle, BundleEntry, Contents, RenderInput, Renderer, Rereading};
use trued_engine::Bounds;
use trued_model::{BlobRef, Code, Desired, Digest, Packing, Refusal, SharedText, Stack, beside};

use crate::Counters;
use crate::cell::{Cell, Wanted};
use crate::inputs::Gathered;
use crate::remembered::{Since, from_bundle};
use crate::runtime::{Runtime, blocking};

/// Up to so many entries, and this part of all, may be otherwise than in the last whole render.
const FEW: usize = 64;
const PART: usize = 16;

/// What was rendered last, to go on from.
pub(crate) struct Pieces {
    /// Of all inputs but the bundle's content, and of the renderer's version.
    rest: Digest,
    entries: Arc<BTreeMap<SharedText, BundleEntry>>,
    wanted: Arc<Wanted>,
    named: Packing,
    /// The last whole render, and what is otherwise now.
    since: Since,
}

/// Which entries of a bundle are otherwise.
struct Otherwise {
    changed: BTreeSet<String>,
    gone: Vec<String>,
}

impl Runtime {
    /// Whether what a stack renders can be gone on from. What is small is rendered whole as fast, and a thousand stacks need
    /// not each remember theirs.
    pub(crate) fn works_piecewise(&self, stack: &Stack, renderer: &dyn Renderer, program: bool, bundle: &Bundle) -> bool {
        let public = stack.render.secrets.is_empty() && stack.policy.sensitive.is_empty();
        let plain = stack.policy.ignore.is_empty() && stack.render.pulls.is_empty();
        renderer.piecewise() && !program && public && plain && !self.repeats && bundle.entries.len() > FEW
    }

    /// Keeps a whole render to go on from.
    pub(crate) fn keep_pieces(&self, cell: &Cell, gathered: &Gathered, wanted: &Arc<Wanted>, named: Packing) {
        let lasting = wanted.desired.errands.is_empty() && wanted.deferred.is_empty() && wanted.not_run.is_empty();
        let pieces = gathered.keys.rest.filter(|_| lasting).map(|rest| Pieces {
            rest,
            entries: gathered.bundle.entries.clone(),
            wanted: wanted.clone(),
            named,
            since: Since::new(gathered.keys.rendering),
        });
        cell.kept().pieces = pieces.map(Arc::new);
    }

    /// Renders what is otherwise than in the render before; `None` where that does not do.
    pub(crate) async fn rendered_on(&self, cell: &Cell, stack: &Stack, gathered: &mut Gathered) -> Option<Arc<Wanted>> {
        let rest = gathered.keys.rest?;
        let before = cell.kept().pieces.clone().filter(|before| before.rest == rest)?;
        let otherwise = blocking(|| before.otherwise(&gathered.bundle))?;
        let busy = self.busy.acquire().await;
        let known = cell.kept().copied.clone();
        let input = RenderInput { only: Some(otherwise.changed.clone()), ..self.input(stack, gathered, known, false) };
        let rendered = gathered.renderer.render(input).await.ok()?;
        drop(busy);
        let asked_for = rendered.documents.iter().map(|document| &document.path).eq(&otherwise.changed);
        if !asked_for || rendered.documents.iter().any(|document| document.content.sealed) {
            return None;
        }
        let reading = Rereading {
            facts: &gathered.facts,
            into: &stack.into,
            before: &before.wanted.desired.resources,
            changed: &rendered.documents,
            gone: &otherwise.gone,
        };
        let again = blocking(|| gathered.driver.reread(&reading))?;
        let bounds = Bounds::of(&stack.policy);
        if again.resources.iter().any(|resource| bounds.refuse(&resource.address).is_some()) {
            return None;
        }
        if !self.misfits(stack, &again.resources, rendered.contents).await.is_empty() {
            return None;
        }
        Counters::add(&self.counters.renders, 1);
        Counters::add(&self.counters.rendered, otherwise.changed.len() as u64);
        let (desired, named) = blocking(|| {
            let mut resources = before.wanted.desired.resources.clone();
            let mut changes = Vec::new();
            for gone in again.gone {
                resources.remove(&gone);
                changes.push((gone, None));
            }
            for resource in again.resources {
                changes.push((resource.address.clone(), Some(resource.item().named())));
                resources.insert(resource.address.clone(), resource);
            }
            (Arc::new(Desired { resources, errands: BTreeMap::new() }), before.named.with(changes))
        });
        let wanted = Arc::new(Wanted {
            key: gathered.keys.key,
            inputs: gathered.keys.inputs,
            desired: desired.clone(),
            digest: named.root().digest,
            contents: Arc::new(Taken { bundle: gathered.bundle.clone(), desired }),
            revision: Some(gathered.bundle.revision.id.clone()),
            sandbox: before.wanted.sandbox,
            tools: before.wanted.tools.clone(),
            deferred: BTreeMap::new(),
            not_run: BTreeMap::new(),
        });
        let since = before.since.and(otherwise.gone, &rendered.documents, &gathered.bundle, &rendered.copied);
        self.remember_since(&gathered.keys.rendering, &since);
        let mut kept = cell.kept();
        Arc::make_mut(&mut kept.copied).extend(rendered.copied.iter().map(|(id, blob)| (id.clone(), *blob)));
        let entries = gathered.bundle.entries.clone();
        kept.pieces = Some(Arc::new(Pieces { rest, entries, wanted: wanted.clone(), named, since }));
        Some(wanted)
    }
}

impl Pieces {
    /// What of a bundle is otherwise; `None` when that is much.
    fn otherwise(&self, bundle: &Bundle) -> Option<Otherwise> {
        let mut otherwise = Otherwise { changed: BTreeSet::new(), gone: Vec::new() };
        let most = FEW.max(bundle.entries.len() / PART).saturating_sub(self.since.len());
        for (path, before, now) in beside(&*self.entries, &*bundle.entries) {
            match (before, now) {
                (before, now) if before == now => continue,
                (_, Some(_)) => drop(otherwise.changed.insert(path.to_string())),
                (_, None) => otherwise.gone.push(path.to_string()),
            }
            if otherwise.changed.len() + otherwise.gone.len() > most {
                return None;
            }
        }
        Some(otherwise)
    }
}

/// Contents that stand in a bundle as they are, found by the resources that were read from them: only those of a change are
/// ever opened.
struct Taken {
    bundle: Bundle,
    desired: Arc<Desired>,
}

impl Contents for Taken {
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
        let of = self.desired.resources.values().find(|resource| resource.content.is_some_and(|content| content.digest == blob.digest));
        let of = of.ok_or_else(|| Refusal::new(Code::Absent, format!("this render has no bytes {}", blob.digest)))?;
        from_bundle(&self.bundle, &of.origin.file, blob)
    }
}
