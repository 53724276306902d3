//! All that a render depends on, gathered: the folder, settings, secrets and programs, the target's facts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use trued_doors::{Answer, Bundle, Driver, Facts, Renderer};
use trued_model::{Code, Digest, Finding, Name, Refusal, Revision, Secret, Stack};

use crate::Counters;
use crate::cell::Cell;
use crate::keys::{Keyed, Keys};
use crate::render::NoWish;
use crate::runtime::{Runtime, blocking};

/// All that a render depends on, at hand.
pub(crate) struct Gathered {
    pub renderer: Arc<dyn Renderer>,
    /// Whether it runs a program of others.
    pub program: bool,
    pub driver: Arc<dyn Driver>,
    pub bundle: Bundle,
    pub secrets: BTreeMap<String, Secret>,
    pub facts: Arc<Facts>,
    pub keys: Keys,
}

impl Runtime {
    /// Gathers all that a render depends on.
    pub(crate) async fn gather(&self, cell: &Cell, stack: &Stack) -> Result<Gathered, NoWish> {
        let (source, revision) = self.followed_to(&stack.source)?;
        let renderer = self
            .doors
            .renderers
            .get(&stack.render.kind)
            .ok_or_else(|| Refusal::new(Code::Unsupported, format!("no renderer {} in this build", stack.render.kind)))?;
        let bundle = self.bundle(cell, stack, source.as_ref(), &revision).await?;
        if !stack.render.secrets.is_empty() || !stack.policy.sensitive.is_empty() {
            self.doors.seal.ready()?;
        }
        let secrets = self.secrets(stack).await?;
        let facts = match self.link(&stack.id.target).await {
            Ok(link) => link.facts().await.unwrap_or_default(),
            Err(_) => Arc::<Facts>::default(),
        };
        let terms = self.digest_of_terms(&stack.id.target, &facts);
        let driver = self.driver(&stack.id.target)?;
        let estate = self.estate();
        let programs = renderer.programs(&stack.render.settings);
        let program = !programs.is_empty();
        let programs = programs.into_iter().map(|program| self.identity_of(program)).collect::<Result<Vec<_>, _>>()?;
        let keyed = Keyed {
            stack,
            bundle: &bundle.digest,
            secrets: secrets.iter().map(|(name, secret)| (name.as_str(), self.secret_identity(secret))).collect(),
            terms,
            version: renderer.version(),
            target: estate.targets.get(&stack.id.target).map(|target| target.kind.as_str()),
            programs,
        };
        Counters::add(&self.counters.render_keys, 1);
        let keys = keyed.keys(self.works_piecewise(stack, renderer.as_ref(), program, &bundle));
        Ok(Gathered { renderer: renderer.clone(), program, driver, bundle, secrets, facts, keys })
    }

    /// The digest of a driver's terms; worked out once for the same facts.
    fn digest_of_terms(&self, target: &Name, facts: &Arc<Facts>) -> Option<Digest> {
        if facts.terms.is_null() {
            return None;
        }
        if let Some((_, digest)) = self.state().terms.get(target).filter(|(of, _)| Arc::ptr_eq(of, facts)) {
            return Some(*digest);
        }
        let digest = Digest::of_canonical(&facts.terms);
        self.state().terms.insert(target.clone(), (facts.clone(), digest));
        Some(digest)
    }

    /// The folder a stack renders from. A folder that is gone is an empty render if the stack ever rendered, and a
    /// finding if it never did.
    async fn bundle(&self, cell: &Cell, stack: &Stack, source: &dyn trued_doors::Source, revision: &Revision) -> Result<Bundle, NoWish> {
        let path = stack.render.settings.get("path").and_then(Value::as_str).unwrap_or_default();
        match source.bundle(revision, path).await {
            Ok(bundle) => Ok(bundle),
            Err(refusal) if refusal.code == Code::Absent => {
                // The folder is absent only if the rest of the revision can be read: a source that is gone says nothing.
                if let Err(gone) = source.list(revision).await {
                    return Err(Refusal { code: Code::Unreachable, ..gone }.into());
                }
                let memory = cell.memory(self).await?;
                if memory.landed.is_none() && memory.inventory.is_none() {
                    let message = format!("path {path} does not exist at revision {}", revision.short());
                    let place = stack.origin.line.map(|line| (stack.origin.file.clone(), line));
                    let finding = Finding::new(message, "correct the path, or commit the folder");
                    return Err(NoWish::Findings(vec![match place {
                        Some((file, line)) => finding.at(file, line, 1),
                        None => finding,
                    }]));
                }
                Ok(Bundle {
                    revision: revision.clone(),
                    folder: path.to_owned(),
                    digest: "absent".to_owned(),
                    entries: Arc::default(),
                    reader: Arc::new(NothingToRead),
                })
            }
            Err(refusal) if refusal.passing() || refusal.code == Code::Denied || refusal.code == Code::Changed => Err(refusal.into()),
            Err(refusal) => {
                let finding = Finding::new(refusal.message, refusal.help);
                Err(NoWish::Findings(vec![Finding { place: refusal.place, ..finding }]))
            }
        }
    }

    /// What a program is, by its bytes; one of the source's own folder is known by the source.
    fn identity_of(&self, program: &str) -> Result<Option<Digest>, NoWish> {
        if program.starts_with("./") {
            return Ok(None);
        }
        let tools: Vec<_> = self.estate().sandbox.tools.iter().map(Into::into).collect();
        let identity = blocking(|| self.doors.runner.identify(program, &tools));
        identity
            .map(Some)
            .map_err(|refusal| NoWish::Findings(vec![Finding::new(format!("nothing was rendered: {}", refusal.message), refusal.help)]))
    }

    fn secret_identity(&self, secret: &Secret) -> Digest {
        self.doors.seal.identity(&Digest::of(secret.reveal()))
    }
}

struct NothingToRead;

impl trued_doors::BundleReader for NothingToRead {
    fn read(&self, path: &str) -> Answer<Vec<u8>> {
        Err(Refusal::new(Code::Absent, format!("{path} is not there")))
    }
}
