//! The configuration as the runtime asks for it: which bytes count.

mod kit;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use kit::new_kinds;
use trued_config::{OperatorConfiguration, Own, Remembered};
use trued_doors::{Answer, BoxFuture, Bundle, Configuration, Source};
use trued_model::{Code, Commit, Name, Refusal, Relation, Revision, Want};

/// What a file says that no source can read.
const UNREADABLE: &str = "unreadable";

/// A source with one revision.
struct Fixed(BTreeMap<&'static str, &'static str>);

impl Source for Fixed {
    fn resolve(&self, _: Want) -> BoxFuture<'_, Answer<Revision>> {
        unreachable!("the runtime resolves")
    }

    fn bundle<'a>(&'a self, _: &'a Revision, _: &'a str) -> BoxFuture<'a, Answer<Bundle>> {
        unreachable!("the runtime renders")
    }

    fn read<'a>(&'a self, _: &'a Revision, path: &'a str) -> BoxFuture<'a, Answer<Vec<u8>>> {
        let found = self.0.get(path).filter(|text| **text != UNREADABLE).map(|text| text.as_bytes().to_vec());
        Box::pin(std::future::ready(found.ok_or_else(|| Refusal::new(Code::Absent, format!("read {path}: there is no such file")))))
    }

    fn list<'a>(&'a self, _: &'a Revision) -> BoxFuture<'a, Answer<Vec<String>>> {
        Box::pin(std::future::ready(Ok(self.0.keys().map(|path| (*path).to_owned()).collect())))
    }

    fn relation<'a>(&'a self, _: &'a Revision, _: &'a Revision) -> BoxFuture<'a, Answer<Relation>> {
        Box::pin(std::future::ready(Ok(Relation::Follows)))
    }

    fn commit<'a>(&'a self, _: &'a Revision) -> BoxFuture<'a, Answer<Commit>> {
        unreachable!("nobody asks who")
    }

    fn fetches(&self) -> u64 {
        0
    }
}

fn at(source: &str, files: &[(&'static str, &'static str)]) -> BTreeMap<Name, (Arc<dyn Source>, Revision)> {
    let name: Name = source.parse().expect("a name");
    let revision = Revision { source: name.clone(), id: "0123456789abcdef".to_owned() };
    let fixed: Arc<dyn Source> = Arc::new(Fixed(files.iter().copied().collect()));
    BTreeMap::from([(name, (fixed, revision))])
}

fn configuration(folder: &Path, own: Own, text: &str) -> OperatorConfiguration {
    fs::write(folder.join("trued.yaml"), text).expect("writes");
    OperatorConfiguration {
        path: folder.join("trued.yaml"),
        shown: "trued.yaml".to_owned(),
        own,
        state: folder.join(".trued"),
        kinds: Arc::new(new_kinds()),
        remembered: Remembered::default(),
    }
}

const SMALL: &str = "stacks: { a: { path: x, target: { files: { root: /a } } } }\n";
const ONE_OWNER: &str = "environments: { dev: {} }\ntargets: { web: { files: { root: /a } } }\napps: [\"apps/*.yaml\"]\n";
const APP: &str = "app: site\nrender: { plain: { path: ../x } }\nstacks: { dev: { target: web } }\n";

fn git(folder: &Path) -> Own {
    Own::Git { root: folder.to_owned(), folder: String::new() }
}

#[tokio::test]
async fn an_own_git_source_counts_with_its_revision_not_with_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = configuration(folder.path(), git(folder.path()), SMALL);
    let committed = at("own", &[("trued.yaml", ONE_OWNER), ("apps/site.yaml", APP), ("apps/deep/no.yaml", "[")]);
    let configured = configuration.load(&committed).await;
    assert!(configured.findings.is_empty(), "{:?}", configured.findings);
    let keys: Vec<String> = configured.estate.expect("is usable").stacks.keys().map(trued_model::StackId::key).collect();
    assert_eq!(keys, ["dev/site@web"]);
}

#[tokio::test]
async fn a_file_that_was_never_committed_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let configured = configuration(folder.path(), git(folder.path()), SMALL).load(&at("own", &[])).await;
    assert!(configured.estate.is_none());
    let said = configured.findings[0].to_string();
    assert_eq!(said, "trued.yaml:1:1: this file is not part of revision 0123456789ab; commit it");
}

#[tokio::test]
async fn of_a_folder_and_of_two_owners_the_file_on_disk_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let in_folder = configuration(folder.path(), Own::Folder, SMALL);
    let estate = in_folder.load(&at("own", &[("trued.yaml", "[")])).await.estate.expect("is usable");
    assert_eq!(estate.stacks.len(), 1);
    let text = "sources: { shop: { git: { url: x } } }\nenvironments: { dev: {} }\ntargets: { web: { files: { root: /a }, allow: [\"shop//apps\"] } }\napps: [\"shop//apps/*.yaml\"]\n";
    let two = configuration(folder.path(), git(folder.path()), text);
    assert_eq!(two.sources().expect("reads").keys().map(Name::as_str).collect::<Vec<_>>(), ["shop"]);
    let estate = two.load(&at("shop", &[("apps/site.yaml", APP)])).await.estate.expect("is usable");
    assert_eq!(estate.stacks.values().map(|stack| stack.render.settings["path"].as_str()).collect::<Vec<_>>(), [Some("x")]);
}

#[tokio::test]
async fn an_operators_file_with_a_finding_is_not_taken_and_apps_without_their_source_are_unknown() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = configuration(folder.path(), Own::Folder, &format!("{ONE_OWNER}colour: red\n"));
    // Its sources are known all the same, so that what is committed next is seen.
    assert!(broken.sources().is_ok());
    let configured = broken.load(&at("own", &[("apps/site.yaml", APP)])).await;
    assert!(configured.estate.is_none() && configured.findings.len() == 1);
    let whole = configuration(folder.path(), Own::Folder, ONE_OWNER);
    let estate = whole.load(&BTreeMap::new()).await.estate.expect("is usable");
    assert!(estate.incomplete && estate.stacks.is_empty());
}

#[test]
fn a_file_that_is_gone_or_no_yaml_is_a_finding() {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = configuration(folder.path(), Own::Folder, "stacks: [");
    assert!(configuration.sources().expect_err("no YAML")[0].message.contains("not YAML"));
    fs::remove_file(folder.path().join("trued.yaml")).expect("is there");
    assert!(configuration.sources().expect_err("gone")[0].message.contains("cannot be read"));
}

#[tokio::test]
async fn what_did_not_change_is_not_read_again_and_what_could_not_be_read_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "sources: { shop: { git: { url: x } } }\nenvironments: { dev: {} }\ntargets: { web: { files: { root: /a }, allow: [\"shop//apps\"] } }\napps: [\"shop//apps/*.yaml\"]\n";
    let two = configuration(folder.path(), git(folder.path()), text);
    let name: Name = "shop".parse().expect("a name");
    let at = |id: &str, files: &[(&'static str, &'static str)]| {
        let mut at = at("shop", files);
        at.get_mut(&name).expect("is there").1.id = id.to_owned();
        at
    };
    let app: &[(&str, &str)] = &[("apps/site.yaml", APP)];
    let first = two.load(&at("1", app)).await.estate.expect("is usable");
    assert!(Arc::ptr_eq(&first, &two.load(&at("1", &[])).await.estate.expect("is usable")), "the same revision is not listed again");
    assert!(!Arc::ptr_eq(&first, &two.load(&at("2", app)).await.estate.expect("is usable")), "another one is");
    fs::write(&two.path, format!("{text}colour: red\n")).expect("writes");
    let changed = two.load(&at("2", app)).await;
    assert!(changed.estate.is_none(), "the operator's file is read as it is now");
    fs::write(&two.path, text).expect("writes");
    let unknown = two.load(&at("3", &[("apps/gone.yaml", UNREADABLE)])).await;
    assert!(!unknown.findings.is_empty());
    assert_eq!(two.load(&at("3", app)).await.findings, [], "what could not be read is read again");
}
