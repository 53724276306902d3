//! What a stack desires at a revision: rendered once per content of all inputs, then remembered.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::Semaphore;
use trued_doors::{Answer, Asked, Blobs, Contents, Known, Misfit, Reading, RenderInput, Rendered};
use trued_engine::Bounds;
use trued_model::{
    Address, BlobRef, Code, Desired, Digest, Document, Duration, Finding, Packing, Refusal, Resource, SandboxRules, Secret, Shape, Stack,
    StackId,
};

use crate::Counters;
use crate::cell::{Cell, Failed, Wanted};
use crate::inputs::Gathered;
use crate::runtime::{Aim, Runtime, blocking_on};

/// The most bytes of text that are handed to a driver which reads documents in memory.
const TEXT_CAP: u64 = 16 << 20;

/// When a build that failed is run again on the same inputs without being asked for.
const TRIED_AGAIN: Duration = Duration::from_secs(600);

/// Why there is no desired state.
pub(crate) enum NoWish {
    /// The input is wrong: people must change something.
    Findings(Vec<Finding>),
    /// Something could not be reached or read now.
    Refused(Refusal),
    /// Rendering panicked: a fault of ours, of this stack alone.
    Panicked,
}

/// What is said of a stack whose rendering panicked.
pub(crate) const BROKE_OFF: &str = "rendering broke off inside trued; other stacks go on";

impl From<Refusal> for NoWish {
    fn from(refusal: Refusal) -> NoWish {
        NoWish::Refused(refusal)
    }
}

/// What a stack desires, with the bytes: for people to look at.
pub struct Shown {
    pub desired: Arc<Desired>,
    pub contents: Arc<dyn Contents>,
    pub revision: Option<String>,
}

impl Runtime {
    /// Renders a stack for people; nothing is written but the cache. Findings say what is wrong, all at once.
    pub async fn show(&self, id: &StackId, aim: &Aim) -> Answer<Result<Shown, Vec<Finding>>> {
        let findings = self.refresh(aim).await?;
        let Some(stack) = self.stack(id) else {
            if findings.is_empty() {
                return Err(Refusal::new(Code::Absent, format!("no stack {} is configured", id.key())));
            }
            return Ok(Err(findings));
        };
        match self.wanted(&self.cell(id), &stack).await {
            Ok(wanted) => Ok(Ok(wanted.shown())),
            Err(NoWish::Findings(findings)) => Ok(Err(findings)),
            Err(NoWish::Refused(refusal)) => Err(refusal),
            Err(NoWish::Panicked) => Err(Refusal::new(Code::Broken, BROKE_OFF)),
        }
    }

    /// The bytes at an address now, as far as they are no secret; `None` when nothing is there.
    pub async fn found_at(&self, id: &StackId, address: &Address, sealed: bool) -> Answer<Option<BlobRef>> {
        let link = self.link(&id.target).await?;
        match link.keep(&Asked::new(address.clone(), sealed)).await {
            Ok(kept) => Ok(kept.content),
            Err(refusal) if refusal.code == Code::Absent => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Renders a stack at its source's revision, or finds the render done. A panic in it is this stack's, not that of the
    /// neighbour on whose behalf it may be asked.
    pub(crate) async fn wanted(&self, cell: &Cell, stack: &Stack) -> Result<Arc<Wanted>, NoWish> {
        AssertUnwindSafe(self.render(cell, stack)).catch_unwind().await.unwrap_or(Err(NoWish::Panicked))
    }

    async fn render(&self, cell: &Cell, stack: &Stack) -> Result<Arc<Wanted>, NoWish> {
        let _one_at_a_time = cell.rendering.lock().await;
        let mut gathered = self.gather(cell, stack).await?;
        let key = gathered.keys.key;
        if let Some(known) = cell.kept().wanted.clone()
            && known.key == key
        {
            return Ok(known);
        }
        if let Some(wanted) = self.rendered_on(cell, stack, &mut gathered).await {
            cell.kept().wanted = Some(wanted.clone());
            return Ok(wanted);
        }
        let rendering = gathered.keys.rendering;
        let mut rendered = match self.rendered_before(&rendering, &gathered.bundle) {
            Some(rendered) => rendered,
            None => {
                let sandbox = self.sandbox_of(stack);
                if let Some(failed) = cell.kept().failed.as_ref().filter(|failed| failed.key == key && failed.sandbox == sandbox)
                    && self.doors.clock.monotonic() < failed.at + TRIED_AGAIN.as_millis()
                {
                    return Err(NoWish::Findings(failed.findings.clone()));
                }
                let pulled = self.pulled(stack).await?;
                let _busy = self.places(&gathered).acquire().await;
                Counters::add(&self.counters.renders, 1);
                let input = RenderInput { pulled, ..self.input(stack, &mut gathered, cell.kept().copied.clone(), self.repeats) };
                let rendered = gathered.renderer.render(input).await;
                cell.kept().failed = match &rendered {
                    Err(findings) if gathered.program => {
                        let at = self.doors.clock.monotonic();
                        Some(Failed { key, sandbox, at, findings: findings.clone() })
                    }
                    _ => None,
                };
                let rendered = rendered.map_err(NoWish::Findings)?;
                Counters::add(&self.counters.rendered, rendered.documents.len() as u64);
                self.remember_render(&rendering, &rendered, &gathered.bundle);
                // What a program made is let go of once it is kept.
                let kept = if gathered.program { self.rendered_before(&rendering, &gathered.bundle) } else { None };
                kept.unwrap_or(rendered)
            }
        };
        let copied = std::mem::take(&mut rendered.copied);
        let (wanted, named) = self.parsed(stack, &gathered, rendered, &copied, true).await?;
        let wanted = Arc::new(wanted);
        let made = cell.memory(self).await?.inventory.filter(|made| *made == named.root());
        if made.is_some() {
            // What is desired now is what is ours: it need not be read once more.
            cell.kept().inventory = Some((made, named.manifest().clone()));
        }
        self.keep_pieces(cell, &gathered, &wanted, named);
        let mut kept = cell.kept();
        kept.copied = copied;
        kept.wanted = Some(wanted.clone());
        Ok(wanted)
    }

    /// Renders a stack from inputs that were rendered already, anew and from the source; `None` when they moved, or somebody
    /// else has work for the machine. Nothing is remembered.
    pub(crate) async fn rendered_again(&self, cell: &Cell, stack: &Stack, key: Digest) -> Result<Option<Wanted>, NoWish> {
        let mut gathered = self.gather(cell, stack).await?;
        if gathered.keys.key != key {
            return Ok(None);
        }
        let pulled = self.pulled(stack).await?;
        let Ok(_busy) = self.places(&gathered).try_acquire() else { return Ok(None) };
        Counters::add(&self.counters.repeats, 1);
        let input = RenderInput { pulled, ..self.input(stack, &mut gathered, Arc::default(), true) };
        let mut rendered = gathered.renderer.render(input).await.map_err(NoWish::Findings)?;
        let copied = std::mem::take(&mut rendered.copied);
        self.parsed(stack, &gathered, rendered, &copied, false).await.map(|(wanted, _)| Some(wanted))
    }

    /// Where a render waits for its turn: a build may take minutes, so it has a place of its own.
    fn places<'a>(&'a self, gathered: &Gathered) -> &'a Semaphore {
        if gathered.program { &self.building } else { &self.busy }
    }

    /// What the renderer gets; the secrets go with it.
    pub(crate) fn input(&self, stack: &Stack, gathered: &mut Gathered, known: Arc<Known>, repeat: bool) -> RenderInput {
        RenderInput {
            bundle: gathered.bundle.clone(),
            settings: stack.render.settings.clone(),
            into: stack.into.clone(),
            vars: stack.render.vars.clone(),
            secrets: std::mem::take(&mut gathered.secrets),
            pulled: BTreeMap::new(),
            sensitive: stack.policy.sensitive.clone(),
            seal: self.doors.seal.clone(),
            known,
            only: None,
            runner: self.doors.runner.clone(),
            sandbox: self.sandbox_of(stack),
            repeat,
            elsewhere: self.elsewhere,
        }
    }

    /// Reads what was rendered as resources of the target; where asked so, the target says whether they have the right form.
    /// `copied` are the bundle's entries that were taken over as they are.
    async fn parsed(
        &self,
        stack: &Stack,
        gathered: &Gathered,
        rendered: Rendered,
        copied: &Known,
        validate: bool,
    ) -> Result<(Wanted, Packing), NoWish> {
        let Gathered { driver, facts, .. } = gathered;
        let mut documents = rendered.documents;
        let reads_text = driver.reads_text();
        read_texts(&mut documents, rendered.contents.as_ref(), reads_text)?;
        let opened = if reads_text { self.open_texts(&documents, rendered.contents.as_ref())? } else { BTreeMap::new() };
        let ignore = &stack.policy.ignore;
        if !ignore.is_empty() && !driver.objects() {
            let finding = Finding::new(
                "`ignore` names fields, and what is kept here has none",
                "remove it; to leave files alone use `drift` or `on_delete`",
            );
            let place = stack.origin.line.map(|line| (stack.origin.file.clone(), line));
            return Err(NoWish::Findings(vec![match place {
                Some((file, line)) => finding.at(file, line, 1),
                None => finding,
            }]));
        }
        let reading = Reading { facts, into: &stack.into, documents: &documents, ignore, opened: &opened, seal: self.doors.seal.as_ref() };
        let mut parsed = blocking_on(documents.iter().map(|document| document.content.bytes), || driver.parse(&reading));
        let contents = match parsed.made.is_empty() {
            true => rendered.contents,
            false => Arc::new(Made { made: std::mem::take(&mut parsed.made), rest: rendered.contents }) as Arc<dyn Contents>,
        };
        let bounds = Bounds::of(&stack.policy);
        let made = parsed.resources.iter().chain(parsed.errands.iter().map(|errand| &errand.resource));
        parsed.findings.extend(made.filter_map(|resource| out_of_bounds(&bounds, resource)));
        if validate {
            let resources = match parsed.errands.as_slice() {
                [] => Cow::Borrowed(&parsed.resources),
                once => Cow::Owned(parsed.resources.iter().chain(once.iter().map(|errand| &errand.resource)).cloned().collect()),
            };
            let misfits = self.misfits(stack, &resources, contents.clone()).await;
            parsed.findings.extend(misfits.into_iter().map(|misfit| {
                let place = driver.locate(&reading, &misfit.address, &misfit.pointer);
                Finding { place, ..Finding::new(misfit.message, misfit.help) }
            }));
        }
        drop(opened);
        // A file that was taken over as it is has its place in the source; what a renderer made has none there.
        let in_source = |file: &str| {
            let entry = gathered.bundle.entries.get(file)?;
            let folder = &gathered.bundle.folder;
            let taken_over = !folder.is_empty() && copied.contains_key(&entry.id);
            taken_over.then(|| format!("{folder}/{file}"))
        };
        for place in parsed.findings.iter_mut().filter_map(|finding| finding.place.as_mut()) {
            place.file = in_source(&place.file).unwrap_or(std::mem::take(&mut place.file));
        }
        let errands = parsed.errands.iter_mut().map(|errand| &mut errand.resource);
        for origin in parsed.resources.iter_mut().chain(errands).map(|resource| &mut resource.origin).filter(|origin| origin.line.is_some())
        {
            if let Some(file) = in_source(&origin.file) {
                origin.file = file.into();
            }
        }
        if !parsed.findings.is_empty() {
            // What is said of no document is said of the target's settings.
            let origin = self.estate().targets.get(&stack.id.target).map(|target| target.origin.clone()).unwrap_or_default();
            let placed = |finding: Finding| match (&finding.place, origin.line) {
                (None, Some(line)) => finding.at(origin.file.clone(), line, 1),
                _ => finding,
            };
            return Err(NoWish::Findings(parsed.findings.into_iter().map(placed).collect()));
        }
        let desired = Desired {
            resources: parsed.resources.into_iter().map(|resource| (resource.address.clone(), resource)).collect(),
            errands: parsed.errands.into_iter().map(|errand| (errand.resource.address.clone(), errand)).collect(),
        };
        let named = blocking_on(desired.resources.values().map(|_| 0), || Packing::of(Arc::new(desired.manifest().named())));
        let wanted = Wanted {
            key: gathered.keys.key,
            inputs: gathered.keys.inputs,
            desired: Arc::new(desired),
            digest: named.root().digest,
            contents,
            revision: Some(gathered.bundle.revision.id.clone()),
            sandbox: rendered.sandbox,
            tools: rendered.tools,
            deferred: parsed.deferred,
            not_run: parsed.not_run,
        };
        Ok((wanted, named))
    }

    /// What has not the form that the target asks for. A target that cannot be asked says nothing about it.
    pub(crate) async fn misfits(&self, stack: &Stack, resources: &[Resource], contents: Arc<dyn Contents>) -> Vec<Misfit> {
        let Ok(link) = self.link(&stack.id.target).await else { return Vec::new() };
        link.validate(resources, contents).await.unwrap_or_else(|refusal| {
            tracing::debug!(stack = %stack.id.key(), "{refusal}; the form of what was rendered is not checked beforehand");
            Vec::new()
        })
    }

    /// The plain text of sealed documents, for a driver that reads text.
    fn open_texts(&self, documents: &[Document], contents: &dyn Contents) -> Answer<BTreeMap<String, Secret>> {
        let sealed = documents.iter().filter(|document| document.content.sealed && document.content.bytes <= TEXT_CAP);
        let open = |document: &Document| {
            let mut bytes = Vec::with_capacity(usize::try_from(document.content.bytes).unwrap_or(0));
            let read = contents.open(&document.content)?.read_to_end(&mut bytes);
            read.map_err(|error| unreadable(&document.path, &error))?;
            Ok((document.path.clone(), Secret::new(self.doors.seal.open(&bytes)?)))
        };
        blocking_on(sealed.clone().map(|document| document.content.bytes), || sealed.map(open).collect())
    }

    /// How a program that renders this stack is held.
    pub(crate) fn sandbox_of(&self, stack: &Stack) -> SandboxRules {
        let rules = self.estate().sandbox.clone();
        SandboxRules { limits: stack.render.limits.unwrap_or(rules.limits), ..rules }
    }
}

/// What is said of a resource that the operator does not let its stack manage.
fn out_of_bounds(bounds: &Bounds<'_>, resource: &Resource) -> Option<Finding> {
    let finding = Finding::new(bounds.refuse(&resource.address)?, "leave it to whoever may, or have the operator widen `manage`");
    Some(finding.at(resource.origin.file.to_string(), resource.origin.line.unwrap_or(1), 1))
}

/// Reads the text of links, which says where they lead, and of everything where the driver wants it.
fn read_texts(documents: &mut [Document], contents: &dyn Contents, all: bool) -> Result<(), NoWish> {
    let wanted = |document: &&mut Document| all || document.shape == Shape::Link;
    let readable = |document: &&mut Document| document.content.bytes <= TEXT_CAP && !document.content.sealed;
    for document in documents.iter_mut().filter(wanted).filter(readable) {
        let mut text = String::new();
        let read = blocking_on([document.content.bytes], || {
            contents.open(&document.content)?.read_to_string(&mut text).map_err(|error| unreadable(&document.path, &error))
        });
        read?;
        document.text = Some(text.into());
    }
    Ok(())
}

fn unreadable(path: &str, error: &std::io::Error) -> Refusal {
    Refusal::new(Code::Invalid, format!("{path} cannot be read as text: {error}"))
}

/// The contents of what needs none, and of stored manifests.
pub(crate) struct FromBlobs(pub Arc<dyn Blobs>);

impl Contents for FromBlobs {
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
        self.0.open(blob)
    }
}

/// What a driver made of documents, before what was rendered.
struct Made {
    made: BTreeMap<Digest, Arc<[u8]>>,
    rest: Arc<dyn Contents>,
}

impl Contents for Made {
    fn open(&self, blob: &BlobRef) -> Answer<Box<dyn Read + Send>> {
        match self.made.get(&blob.digest) {
            Some(bytes) => Ok(Box::new(std::io::Cursor::new(bytes.clone()))),
            None => self.rest.open(blob),
        }
    }
}
