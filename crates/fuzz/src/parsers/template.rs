//! Templates, as a renderer gets them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use trued_doors::{Answer, Bundle, BundleEntry, BundleReader, RenderInput, Renderer};
use trued_ledger::NullSeal;
use trued_model::{Digest, Revision, SandboxRules, Secret, Shape};

use super::{Nothing, wait};

const SECRET: &str = "Canary-7Qx9Zk2wVt";

struct One(Vec<u8>);

impl BundleReader for One {
    fn read(&self, _: &str) -> Answer<Vec<u8>> {
        Ok(self.0.clone())
    }
}

pub fn parse(bytes: &[u8]) {
    let shape = Shape::File { executable: false };
    let entry = BundleEntry { shape, bytes: bytes.len() as u64, id: Digest::of(bytes).hex().into(), content: None };
    let input = RenderInput {
        bundle: Bundle {
            revision: Revision { source: "shop".parse().expect("a name"), id: "0123456789ab".to_owned() },
            folder: "site".to_owned(),
            digest: String::new(),
            entries: Arc::new(BTreeMap::from([("a.txt.j2".into(), entry)])),
            reader: Arc::new(One(bytes.to_vec())),
        },
        settings: json!({ "path": "site" }),
        into: String::new(),
        vars: BTreeMap::from([("title".to_owned(), json!("Shop")), ("items".to_owned(), json!([1, { "a": "b" }]))]),
        secrets: BTreeMap::from([("token".to_owned(), Secret::new(SECRET.into()))]),
        pulled: BTreeMap::new(),
        sensitive: Vec::new(),
        seal: Arc::new(NullSeal),
        runner: Arc::new(Nothing),
        sandbox: SandboxRules::default(),
        repeat: false,
        elsewhere: false,
        known: Arc::default(),
        only: None,
    };
    let renderer = trued_render::kinds().into_iter().find(|kind| Renderer::describe(kind.as_ref()).kind == "template");
    match wait(renderer.expect("templates are rendered").render(input)) {
        Ok(rendered) => assert_eq!(rendered.documents.len(), 1),
        Err(findings) => {
            assert!(!findings.is_empty(), "refused without a word");
            let said = format!("{findings:?}");
            assert!(!said.contains(SECRET), "a finding says a secret: {said}");
            assert!(findings.iter().all(|finding| finding.place.is_some()), "{said}");
            assert!(!said.contains("broke the renderer"), "{said}");
        }
    }
}
