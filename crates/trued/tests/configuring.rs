//! The verbs around the configuration: init, check, schema, config show, doctor, completions.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Said, Story};
use serde_json::{Value, json};

const OPERATOR: &str = "\
environments:
  dev: {}
  prod: {}
targets:
  web: { files: { root: www } }
apps: [\"apps/*/app.yaml\"]
";

/// Everything below a folder, with what it holds: to tell whether a verb touched anything.
fn everything(folder: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("read").map(|entry| entry.expect("an entry").path()) {
        match entry.is_dir() {
            true => all.extend(everything(&entry)),
            false => all.push((entry.clone(), fs::read(&entry).expect("read"))),
        }
    }
    all.sort();
    all
}

#[test]
fn init_writes_what_check_and_plan_take() {
    let story = Story::empty();
    let run = |arguments: &[&str]| Said::of(story.command(arguments).env_remove("TRUED_STATE").output().expect("started"));
    let made = run(&["init", "shop"]);
    assert_eq!(made.status, 0, "{made:?}");
    let inside = |arguments: &[&str]| {
        let mut command = story.command(arguments);
        Said::of(command.env_remove("TRUED_STATE").current_dir(story.folder.path().join("shop")).output().expect("started"))
    };
    assert_eq!(inside(&["check"]).status, 0);
    assert_eq!(inside(&["plan"]).status, 3);
    let again = inside(&["init"]);
    assert_eq!((again.status, again.error.contains("is there already")), (2, true), "{again:?}");
    let state = story.folder.path().join("shop/.trued");
    assert_eq!(fs::metadata(&state).expect("made").permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_to_string(state.join(".gitignore")).expect("made"), "*\n");
}

#[test]
fn check_names_the_place_of_every_error_at_once_and_touches_nothing() {
    let story = Story::empty();
    story.write("trued.yaml", &OPERATOR.replace("www }", "www, wwww: 1 }"));
    story.write(
        "apps/site/app.yaml",
        "app: site\nrender: { plain: { path: site } }\nstackz: 1\nstacks:\n  dev:  { target: nowhere, into: dev }\n  prod: { target: web, into: [1] }\n",
    );
    story.write("apps/site/site/index.html", "one\n");
    let before = everything(story.folder.path());
    let said = story.ask(&["check", "--output", "json"]);
    let findings: Value = serde_json::from_str(&said.out).expect("JSON");
    let place =
        |finding: &Value| (finding["file"].as_str().expect("a file").to_owned(), finding["line"].as_u64(), finding["column"].is_u64());
    let places: Vec<_> = findings["findings"].as_array().expect("a list").iter().map(place).collect();
    let app = |line| ("apps/site/app.yaml".to_owned(), Some(line), true);
    assert_eq!(said.status, 2);
    for expected in [app(3), app(5), app(6), ("trued.yaml".to_owned(), Some(5), true)] {
        assert!(places.contains(&expected), "{expected:?} is not in {places:?}");
    }
    let text = story.ask(&["check"]);
    assert!(text.out.contains("stackz: 1") && text.out.contains("help:"), "the line and what to do: {text:?}");
    assert_eq!(everything(story.folder.path()), before);
}

#[test]
fn a_configuration_elsewhere_works_from_anywhere() {
    let story = Story::empty();
    story.write("repo/trued.yaml", OPERATOR);
    story.write("repo/apps/site/app.yaml", "app: site\nrender: { plain: { path: site } }\nstacks: { dev: { target: web, into: dev } }\n");
    story.write("repo/apps/site/site/index.html", "one\n");
    story.write("elsewhere/x", "");
    let file = story.folder.path().join("repo/trued.yaml");
    let mut command = story.command(&["config", "show", "--output", "json"]);
    command.env("TRUED_CONFIG", &file).current_dir(story.folder.path().join("elsewhere"));
    let said = Said::of(command.output().expect("started"));
    let shown: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let root = story.folder.path().canonicalize().expect("there").join("repo/www");
    assert_eq!(shown["targets"]["web"]["settings"]["root"], json!(root));
    assert!(shown["origins"]["/targets/web/settings/root"].as_str().is_some_and(|origin| origin.ends_with("trued.yaml:5")), "{shown}");
    let missing = story.command(&["check", "--config", "nowhere.yaml"]).output().expect("started");
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn two_contexts_of_one_kubeconfig_are_two_clusters_and_two_accounts_are_two_targets() {
    let story = Story::empty();
    let targets = |third: &str| {
        format!(
            "targets:
  one: {{ kubernetes: {{ kubeconfig: kube, context: a }} }}
  two: {{ kubernetes: {{ kubeconfig: kube, context: b }} }}
  three: {{ kubernetes: {{ kubeconfig: kube, context: b{third} }} }}
stacks: {{ web: {{ path: web, target: one }} }}
"
        )
    };
    story.write("web/.keep", "");
    story.write("trued.yaml", &targets(", impersonate: shop/deployer"));
    let said = Said::of(story.command(&["config", "show"]).output().expect("started"));
    assert_eq!(said.status, 0, "{said:?}");
    story.write("trued.yaml", &targets(", events: false"));
    let said = Said::of(story.command(&["check"]).output().expect("started"));
    assert!(said.status == 2 && said.out.contains("target `two` is the same place as target `three`"), "{said:?}");
}

#[test]
fn the_schema_is_printed_for_both_files() {
    let story = Story::empty();
    for (file, property) in [("operator", "targets"), ("app", "app")] {
        let schema = story.json(&["schema", file]);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(schema["properties"][property].is_object(), "{file} lacks {property}");
    }
}

#[test]
fn doctor_says_what_is_ill_and_what_to_do() {
    let story = Story::empty();
    story.write("trued.yaml", "stacks: { homepage: { path: site, target: { files: { root: www } } } }\n");
    story.write("site/index.html", "one\n");
    let ill = |story: &Story| -> Vec<String> {
        let found = story.json(&["doctor"]);
        let ill = found["checks"].as_array().expect("a list").iter().filter(|one| one["ok"] == false);
        ill.map(|one| one["what"].as_str().expect("a word").to_owned()).collect()
    };
    assert_eq!(ill(&story), ["target"], "the root is missing");
    assert_eq!(story.ask(&["doctor"]).status, 1);
    fs::create_dir(story.folder.path().join("www")).expect("made");
    assert_eq!((ill(&story), story.ask(&["doctor"]).status), (vec![], 0));
    assert!(story.ask(&["doctor"]).out.contains("its content digest is the revision"));
    story.write("other.yaml", "sources: { site: { folder: { path: site } } }\n");
    let said = story.ask(&["--config", "other.yaml", "doctor"]).out;
    assert!(!said.contains("its content digest is the revision"), "of another's sources that says nothing: {said}");
    fs::create_dir_all(story.state().join("keys")).expect("made");
    fs::write(story.state().join("keys/data.key"), "").expect("written");
    fs::set_permissions(story.state(), fs::Permissions::from_mode(0o755)).expect("set");
    fs::set_permissions(story.state().join("keys/data.key"), fs::Permissions::from_mode(0o644)).expect("set");
    let found = ill(&story);
    assert!(found.contains(&"state folder".to_owned()) && found.contains(&"keys".to_owned()), "{found:?}");
    let secret = story.folder.path().join("token");
    fs::write(&secret, "canary").expect("written");
    let one = "stacks: { homepage: { path: site, target: { files: { root: www } } } }\nsecrets: { token: { file: token } }\n";
    story.write("trued.yaml", one);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("set");
    assert!(ill(&story).contains(&"secrets".to_owned()));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).expect("set");
    assert!(!ill(&story).contains(&"secrets".to_owned()));
}

#[test]
fn completions_and_help_are_results() {
    let story = Story::empty();
    for shell in ["bash", "zsh", "fish"] {
        let said = story.ask(&["completions", shell]);
        assert!(said.status == 0 && said.out.contains("incidents"), "{shell}");
    }
    let help = story.ask(&["--help"]);
    assert!(help.status == 0 && help.out.contains("Exit status:") && help.error.is_empty());
    let version = story.ask(&["--version"]);
    assert!(version.out.starts_with("trued "));
}
