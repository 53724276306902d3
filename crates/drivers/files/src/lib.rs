//! The driver `files`: keeps a tree of files, links and empty folders below a root as a stack desires it.
//!
//! It looks, stages, puts in place and answers. It decides nothing, starts no program, and never leaves its root.

use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::{Value, json};
use trued_doors::{
    Answer, BoxFuture, Connection, Descriptor, Driver, Found, Link, Parsed, Reading, Reread, Rereading, Sourced, TargetSettings as _,
};
use trued_model::{Finding, Fingerprint};

mod apply;
mod below;
mod caller;
mod carry;
mod doer;
mod escape;
mod fingerprint;
mod folders;
mod keep;
mod link;
mod look;
mod observe;
mod own;
mod parse;
mod place;
mod probe;
mod reread;
mod root;
mod rules;
mod settings;
mod spread;
mod stage;
mod trail;
mod tree;
mod view;
mod watch;
mod witness;

#[cfg(test)]
mod tests;

use settings::Settings;
use tree::Tree;

/// The driver for trees of files.
pub fn driver() -> Arc<dyn Driver> {
    Arc::new(Files)
}

struct Files;

impl Driver for Files {
    fn describe(&self) -> Descriptor {
        Descriptor {
            kind: "files",
            summary: "a tree of files, links and empty folders below a root on this machine",
            schema: Settings::schema(),
            example: json!({ "root": "/srv/www" }),
            paths: &["/root"],
            pulls: &[],
        }
    }

    fn parse(&self, reading: &Reading<'_>) -> Parsed {
        parse::parse(reading.facts, reading.into, reading.documents)
    }

    fn reread(&self, reading: &Rereading<'_>) -> Option<Reread> {
        reread::reread(reading)
    }

    fn differs(&self, before: &Fingerprint, after: &Fingerprint) -> Option<String> {
        fingerprint::differs(before, after)
    }

    fn sourced(&self, found: &Found<'_>) -> Answer<Vec<Sourced>> {
        parse::sourced(found).map(|one| vec![one])
    }

    fn check(&self, settings: &Value) -> Vec<Finding> {
        Settings::check(settings)
    }

    fn connect(&self, at: Connection) -> BoxFuture<'_, Answer<Arc<dyn Link>>> {
        let Connection { target, ledger, blobs, seal, secrets: _, clock, written } = at;
        let link = Settings::read(&target.settings).map(|settings| {
            let tree = Tree::new(settings.root, settings.create, ledger, blobs, seal, clock);
            if written {
                tree.expect_mark();
            }
            Arc::new(link::FilesLink::new(tree, settings.watch, settings.modes)) as Arc<dyn Link>
        });
        std::future::ready(link).boxed()
    }
}
