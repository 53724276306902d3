//! What renderers promise, seen from outside: trees in, documents or findings out.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use trued_doors::{
    Answer, BoxFuture, Bundle, BundleEntry, BundleReader, Confined, Confines, Exit, Known, RenderInput, Rendered, Renderer, Runner, Seal,
};
use trued_model::{BlobRef, Code, Digest, Finding, Level, Refusal, Revision, Secret, Shape};

mod build;
mod plain;
mod secrets;
mod template;

/// A tree in memory that counts its reads.
#[derive(Default)]
struct Tree {
    files: BTreeMap<String, (Shape, Vec<u8>)>,
    reads: AtomicUsize,
    /// Paths in the order they were read.
    order: Mutex<Vec<String>>,
}

impl Tree {
    fn of(files: &[(&str, &str)]) -> Tree {
        files.iter().fold(Tree::default(), |tree, (path, text)| tree.with(path, Shape::File { executable: false }, text.as_bytes()))
    }

    fn with(mut self, path: &str, shape: Shape, bytes: &[u8]) -> Tree {
        self.files.insert(path.to_owned(), (shape, bytes.to_vec()));
        self
    }
}

impl BundleReader for Tree {
    fn read(&self, path: &str) -> Answer<Vec<u8>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.order.lock().unwrap().push(path.to_owned());
        let file = self.files.get(path).ok_or_else(|| Refusal::new(Code::Absent, "no such file"))?;
        if file.1 == b"unreadable" {
            return Err(Refusal::new(Code::Invalid, "the bytes are not those of its id"));
        }
        Ok(file.1.clone())
    }
}

/// Seals by turning each byte around: equal plain bytes give equal sealed bytes, and no plain byte stays.
struct Turned;

impl Seal for Turned {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        plain.iter().map(|byte| !byte).collect()
    }

    fn open(&self, sealed: &[u8]) -> Answer<Vec<u8>> {
        Ok(self.seal(sealed))
    }

    fn identity(&self, plain: &Digest) -> Digest {
        Digest::of(&[b"key".as_slice(), &plain.0].concat())
    }
}

/// Starts nothing: who asks it fails the test. Tasks of our own it does in this process.
struct NoPrograms;

impl Runner for NoPrograms {
    fn run(&self, _: trued_doors::Program) -> BoxFuture<'_, Answer<Exit>> {
        panic!("a renderer starts a program of the operator's")
    }

    fn task(&self, name: &'static str, input: Vec<u8>, _: Confines) -> BoxFuture<'_, Answer<Confined>> {
        let mut output = Vec::new();
        trued_render::TASKS.iter().find(|(known, _)| *known == name).unwrap().1(input, &mut output).unwrap();
        let exit = Exit { status: Some(0), output, error: Vec::new() };
        Box::pin(async { Ok(Confined { level: Level::Base, passed: None, exit }) })
    }
}

/// A render being set up.
struct Case {
    kind: &'static str,
    tree: Arc<Tree>,
    vars: Value,
    secrets: &'static [(&'static str, &'static str)],
    sensitive: &'static [&'static str],
    known: Arc<Known>,
    settings: Value,
    into: &'static str,
    runner: Arc<dyn Runner>,
    sandbox: trued_model::SandboxRules,
    repeat: bool,
    elsewhere: bool,
}

impl Case {
    fn new(kind: &'static str, tree: Tree) -> Case {
        Case {
            kind,
            tree: Arc::new(tree),
            vars: Value::Null,
            secrets: &[],
            sensitive: &[],
            known: Arc::default(),
            settings: Value::Null,
            into: "",
            runner: Arc::new(NoPrograms),
            sandbox: Default::default(),
            repeat: false,
            elsewhere: false,
        }
    }

    fn input(&self) -> RenderInput {
        let entry = |(path, (shape, bytes)): (&String, &(Shape, Vec<u8>))| {
            let id = format!("id-{}", Digest::of(bytes).short());
            (path.as_str().into(), BundleEntry { shape: *shape, bytes: bytes.len() as u64, id: id.into(), content: None })
        };
        let revision = Revision { source: "shop".parse().unwrap(), id: "0123456789ab".into() };
        RenderInput {
            bundle: Bundle {
                revision,
                folder: "site".into(),
                digest: String::new(),
                entries: Arc::new(self.tree.files.iter().map(entry).collect()),
                reader: self.tree.clone(),
            },
            settings: self.settings.clone(),
            into: self.into.to_owned(),
            vars: self.vars.as_object().map(|vars| vars.clone().into_iter().collect()).unwrap_or_default(),
            secrets: self.secrets.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(value.as_bytes().to_vec()))).collect(),
            pulled: BTreeMap::new(),
            sensitive: self.sensitive.iter().map(|glob| (*glob).to_owned()).collect(),
            seal: Arc::new(Turned),
            known: self.known.clone(),
            only: None,
            runner: self.runner.clone(),
            sandbox: self.sandbox.clone(),
            repeat: self.repeat,
            elsewhere: self.elsewhere,
        }
    }

    fn run(&self) -> Result<Rendered, Vec<Finding>> {
        let renderer: Arc<dyn Renderer> = trued_render::kinds().into_iter().find(|kind| kind.describe().kind == self.kind).unwrap();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(renderer.render(self.input()))
    }

    fn rendered(&self) -> Rendered {
        self.run().unwrap_or_else(|findings| panic!("{}", lines(&findings)))
    }

    /// The findings of a render that must fail, one per line.
    fn findings(&self) -> String {
        match self.run() {
            Ok(rendered) => panic!("rendered {:?}", rendered.documents),
            Err(findings) => lines(&findings),
        }
    }
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

/// The stored bytes of a document, by its path.
fn stored(rendered: &Rendered, path: &str) -> Vec<u8> {
    let document = rendered.documents.iter().find(|document| document.path == path).unwrap_or_else(|| panic!("no document {path}"));
    let mut bytes = Vec::new();
    rendered.contents.open(&document.content).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(Digest::of(&bytes), document.content.digest);
    assert_eq!(bytes.len() as u64, document.content.bytes);
    bytes
}

fn text(rendered: &Rendered, path: &str) -> String {
    String::from_utf8(stored(rendered, path)).unwrap()
}

fn paths(rendered: &Rendered) -> Vec<&str> {
    rendered.documents.iter().map(|document| document.path.as_str()).collect()
}

#[test]
fn every_kind_describes_itself_and_its_example_fits_its_schema() {
    for kind in trued_render::kinds() {
        let descriptor = kind.describe();
        assert!(!descriptor.summary.is_empty() && !kind.version().is_empty());
        let properties = descriptor.schema["properties"].as_object().unwrap();
        assert!(descriptor.example.as_object().unwrap().keys().all(|key| properties.contains_key(key)));
        assert!(properties.values().all(|property| property["description"].is_string()));
    }
}

/// A new MiniJinja may render differently, so its version is part of the renderer's.
#[test]
fn the_template_renderers_version_names_the_minijinja_that_is_built() {
    let lock = include_str!("../../../../Cargo.lock");
    let version = lock.split_once("name = \"minijinja\"\nversion = \"").unwrap().1.split('"').next().unwrap();
    let kind = trued_render::kinds().into_iter().find(|kind| kind.describe().kind == "template").unwrap();
    assert!(kind.version().ends_with(&format!("minijinja-{version}")), "{} is built with {version}", kind.version());
}
