//! Configuration in, estate out: names looked up, paths resolved, defaults filled, rules merged.

mod kit;

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use kit::{alone, kinds, loaded, said};
use serde_json::{Value, json};
use trued_config::{Which, differences, example, loosened, show};
use trued_model::{Deletes, DriftPolicy, OnDelete, OnExisting, Stack};

fn stack(operator: &str, apps: &[(&str, &str)], key: &str) -> Stack {
    let loaded = loaded(operator, apps);
    assert!(loaded.findings.is_empty() && loaded.usable && !loaded.estate.incomplete, "{}", said(&loaded));
    let stack = loaded.estate.stacks.values().find(|stack| stack.id.key() == key).cloned();
    stack.unwrap_or_else(|| panic!("no {key} in {}", said(&loaded)))
}

const OPERATOR: &str = "environments:
  dev:
  prod: { explain: true, gates: { deletes: { at_most: \"50%\" } } }
targets:
  web: { files: { root: ../www }, commands: { reload: [systemctl, reload, \"nginx@${env}\"] } }
  web-2: { files: { root: /srv/2 } }
secrets: { token: { file: secrets/token } }
apps: [\"apps/*/app.yaml\"]
";

const APP: &str = "app: site
owner: team-web
render: { template: { path: ./site/../pages, vars: { title: \"Shop (${env})\", token: { secret: token }, list: [1, \"${app}\"] } } }
stacks:
  dev: { target: [web, web-2], into: \"${target}\" }
  prod: { target: web, into: prod, drift: hold, interval: 1h, vars: { title: Shop, extra: true }, deletes: { at_most: \"10%\" }, on_existing: take-over }
on_change: [reload, [touch, \"/run/${app}\"]]
verify: [{ http: { url: \"http://127.0.0.1/${env}\" } }, { command: reload }]
on_delete: { \"legal/**\": retain, \"a/**\": report, \"**\": delete }
sensitive: [\"*.key\"]
previously: [homepage, prod/old, prod/older@web-9]
rollback: true
";

/// A stack of `APP`; on one target, so that `web` can be granted its command alone.
fn site(key: &str) -> Stack {
    stack(OPERATOR, &[("apps/site/app.yaml", &APP.replace("[web, web-2]", "[web]"))], key)
}

#[test]
fn a_stack_is_what_its_app_says_where_it_says_nothing_itself() {
    let dev = site("dev/site@web");
    assert_eq!(dev.source.as_str(), "own");
    assert_eq!(dev.into, "web");
    assert_eq!(dev.render.kind, "template");
    assert_eq!(dev.render.settings, json!({ "path": "apps/site/pages" }));
    assert_eq!(json!(dev.render.vars), json!({ "title": "Shop (dev)", "list": [1, "site"] }));
    assert_eq!(json!(dev.render.secrets), json!({ "token": "token" }));
    assert_eq!(dev.policy.drift, DriftPolicy::Revert);
    assert_eq!(dev.policy.on_existing, OnExisting::Hold);
    assert_eq!(dev.policy.deletes, Deletes::default());
    assert!(!dev.policy.explain && dev.policy.rollback);
    assert_eq!(dev.policy.sensitive, ["*.key"]);
    // In the order it is written, not by name.
    let order = [("legal/**", OnDelete::Retain), ("a/**", OnDelete::Report), ("**", OnDelete::Delete)];
    assert_eq!(dev.policy.on_delete, order.map(|(glob, word)| (glob.to_owned(), word)));
    let commands: Vec<_> = dev.policy.on_change.iter().map(|command| (command.name.as_str(), command.argv.join(" "))).collect();
    assert_eq!(commands, [("reload", "systemctl reload nginx@dev".to_owned()), ("touch", "touch /run/site".to_owned())]);
    let checks: Vec<_> = dev.checks.iter().map(|check| (check.kind.as_str(), check.settings.clone())).collect();
    let expected = [("http", json!({ "url": "http://127.0.0.1/dev" })), ("command", json!(["systemctl", "reload", "nginx@dev"]))];
    assert_eq!(checks, expected);
    assert_eq!(dev.interval.to_string(), "5m");
    assert_eq!(json!(dev.origin), json!({ "file": "apps/site/app.yaml", "line": 5 }));
}

#[test]
fn what_a_stack_says_goes_before_its_app() {
    let prod = site("prod/site@web");
    assert_eq!(prod.into, "prod");
    assert_eq!(json!(prod.render.vars), json!({ "title": "Shop", "list": [1, "site"], "extra": true }));
    assert_eq!((prod.policy.drift, prod.policy.on_existing), (DriftPolicy::Hold, OnExisting::TakeOver));
    assert_eq!(prod.policy.deletes, Deletes { count: 0, percent: 10 });
    assert!(prod.policy.explain);
    assert_eq!(prod.interval.to_string(), "1h");
}

#[test]
fn the_operator_may_loosen_and_an_app_file_inside_that_tighten() {
    let app = |bound: &str| {
        format!("app: a\nrender: {{ plain: {{ path: x }} }}\nstacks: {{ prod: {{ target: web, deletes: {{ at_most: {bound} }} }} }}\n")
    };
    let bound = |written: &str| stack(OPERATOR, &[("apps/a/app.yaml", &app(written))], "prod/a@web").policy.deletes;
    assert_eq!(bound("50%"), Deletes { count: 0, percent: 50 });
    assert_eq!(bound("0"), Deletes { count: 0, percent: 0 });
    let refused = loaded(OPERATOR, &[("apps/a/app.yaml", &app("51%"))]);
    assert!(refused.findings[0].message.contains("lets more deletes run") && refused.estate.stacks.is_empty());
    // The small form is the operator's own.
    let small = "stacks: { a: { path: x, target: { files: { root: /a } }, deletes: { at_most: 1000 } } }\n";
    assert_eq!(stack(small, &[], "default/a@a").policy.deletes, Deletes { count: 1000, percent: 0 });
}

#[test]
fn several_targets_in_one_environment_are_several_stacks() {
    let app = "app: site\nrender: { plain: { path: site } }\nstacks: { dev: { target: [web, web-2], into: \"${target}\" }, prod: { target: web } }\n";
    let loaded = loaded(OPERATOR, &[("apps/site/app.yaml", app)]);
    expect![[r#"
        stacks: dev/site@web dev/site@web-2 prod/site
    "#]]
    .assert_eq(&said(&loaded));
    let into: Vec<&str> = loaded.estate.stacks.values().map(|stack| stack.into.as_str()).collect();
    assert_eq!(into, ["web", "web-2", ""]);
}

#[test]
fn old_names_become_identities() {
    let keys = |key: &str| site(key).previously.iter().map(trued_model::StackId::key).collect::<Vec<_>>().join(" ");
    expect!["default/homepage@homepage dev/homepage@web"].assert_eq(&keys("dev/site@web"));
    expect!["default/homepage@homepage prod/homepage@web prod/old@web prod/older@web-9"].assert_eq(&keys("prod/site@web"));
}

#[test]
fn paths_of_the_operators_file_start_at_it() {
    let loaded = loaded(OPERATOR, &[("apps/site/app.yaml", &APP.replace("[web, web-2]", "web"))]);
    let estate = loaded.estate;
    assert_eq!(
        json!(estate.targets.values().map(|target| &target.settings).collect::<Vec<_>>()),
        json!([{ "root": "/www" }, { "root": "/srv/2" }])
    );
    assert_eq!(json!(estate.secrets), json!({ "token": { "file": "/conf/secrets/token" } }));
    assert_eq!(
        json!(estate.sources),
        json!({ "own": { "name": "own", "kind": "folder", "settings": { "path": "/conf", "exclude": ["trued.yaml", ".trued"] } } })
    );
    assert_eq!(json!(estate.environments), json!({ "dev": { "explain": false }, "prod": { "explain": true } }));
}

#[test]
fn what_targets_hold_is_no_part_of_the_own_folder_unless_it_is_rendered() {
    let excluded = |operator: &str| alone(operator).estate.sources.values().next().expect("its own").settings["exclude"].clone();
    let stack = |name: &str, path: &str, root: &str| format!("  {name}: {{ path: {path}, target: {{ files: {{ root: {root} }} }} }}\n");
    let small = format!("stacks:\n{}{}", stack("a", "site", "./out/www"), stack("b", "site", "/srv/www"));
    assert_eq!(excluded(&small), json!(["trued.yaml", ".trued", "out/www"]));
    let around = format!("stacks:\n{}{}", stack("a", "www/src", "www"), stack("b", ".", "out"));
    assert_eq!(excluded(&around), json!(["trued.yaml", ".trued", "out"]), "what holds a rendered folder stays");
    assert_eq!(
        excluded(&format!("{small}apps: [\"*/app.yaml\"]\n")),
        json!(["trued.yaml", ".trued"]),
        "app files say later what they render"
    );
}

#[test]
fn configured_sources_take_the_place_of_the_own_one() {
    let operator = "sources:\n  shop: { git: { url: \"https://git.example/shop\", branch: main, token: { secret: t } } }\n  ops: { git: { path: ../ops } }\n  here: { folder: { path: site } }\nsecrets: { t: { env: T } }\n";
    let loaded = alone(operator);
    expect![[r#"
        stacks: 
    "#]]
    .assert_eq(&said(&loaded));
    let settings: Vec<Value> = loaded.estate.sources.values().map(|source| json!([source.kind, source.settings])).collect();
    let shop = json!({ "url": "https://git.example/shop", "branch": "main", "token": { "secret": "t" } });
    assert_eq!(json!(settings), json!([["folder", { "path": "/conf/site" }], ["git", { "path": "/ops" }], ["git", shop]]));
}

#[test]
fn show_tells_where_values_come_from() {
    let loaded = loaded(OPERATOR, &[("apps/site/app.yaml", &APP.replace("[web, web-2]", "web"))]);
    let shown = show(&loaded);
    assert_eq!(shown["stacks"]["prod/site@web"]["policy"]["drift"], "hold");
    let origins = shown["origins"].as_object().expect("by pointer");
    let told =
        |pointer: &&String| ["/targets/web/", "/sources", "/secrets", "/environments"].iter().any(|start| pointer.starts_with(start));
    let of_prod = |pointer: &&String| {
        ["policy", "render", "into", "interval", "source"].iter().any(|part| pointer.starts_with(&format!("/stacks/prod~1site@web/{part}")))
    };
    let lines: Vec<String> = origins
        .keys()
        .filter(|pointer| told(pointer) || of_prod(pointer))
        .map(|pointer| format!("{pointer} {}\n", origins[pointer]))
        .collect();
    expect![[r#"
        /environments/dev/explain "default"
        /environments/prod/explain "trued.yaml:3"
        /secrets/token/file "trued.yaml:7"
        /sources/own/kind "default"
        /sources/own/name "default"
        /sources/own/settings/exclude/0 "default"
        /sources/own/settings/exclude/1 "default"
        /sources/own/settings/path "default"
        /stacks/prod~1site@web/interval "apps/site/app.yaml:6"
        /stacks/prod~1site@web/into "apps/site/app.yaml:6"
        /stacks/prod~1site@web/policy/deletes/count "apps/site/app.yaml:6"
        /stacks/prod~1site@web/policy/deletes/percent "apps/site/app.yaml:6"
        /stacks/prod~1site@web/policy/drift "apps/site/app.yaml:6"
        /stacks/prod~1site@web/policy/explain "trued.yaml:3"
        /stacks/prod~1site@web/policy/on_change/0/argv/0 "apps/site/app.yaml:7"
        /stacks/prod~1site@web/policy/on_change/0/argv/1 "apps/site/app.yaml:7"
        /stacks/prod~1site@web/policy/on_change/0/argv/2 "apps/site/app.yaml:7"
        /stacks/prod~1site@web/policy/on_change/0/name "apps/site/app.yaml:7"
        /stacks/prod~1site@web/policy/on_change/1/argv/0 "apps/site/app.yaml:7"
        /stacks/prod~1site@web/policy/on_change/1/argv/1 "apps/site/app.yaml:7"
        /stacks/prod~1site@web/policy/on_change/1/name "apps/site/app.yaml:7"
        /stacks/prod~1site@web/policy/on_delete/0/0 "apps/site/app.yaml:9"
        /stacks/prod~1site@web/policy/on_delete/0/1 "apps/site/app.yaml:9"
        /stacks/prod~1site@web/policy/on_delete/1/0 "apps/site/app.yaml:9"
        /stacks/prod~1site@web/policy/on_delete/1/1 "apps/site/app.yaml:9"
        /stacks/prod~1site@web/policy/on_delete/2/0 "apps/site/app.yaml:9"
        /stacks/prod~1site@web/policy/on_delete/2/1 "apps/site/app.yaml:9"
        /stacks/prod~1site@web/policy/on_existing "apps/site/app.yaml:6"
        /stacks/prod~1site@web/policy/rollback "apps/site/app.yaml:12"
        /stacks/prod~1site@web/policy/sensitive/0 "apps/site/app.yaml:10"
        /stacks/prod~1site@web/render/kind "apps/site/app.yaml:3"
        /stacks/prod~1site@web/render/secrets/token "apps/site/app.yaml:3"
        /stacks/prod~1site@web/render/settings/path "apps/site/app.yaml:3"
        /stacks/prod~1site@web/render/vars/extra "apps/site/app.yaml:6"
        /stacks/prod~1site@web/render/vars/list/0 "apps/site/app.yaml:3"
        /stacks/prod~1site@web/render/vars/list/1 "apps/site/app.yaml:3"
        /stacks/prod~1site@web/render/vars/title "apps/site/app.yaml:6"
        /stacks/prod~1site@web/source "apps/site/app.yaml:6"
        /targets/web/kind "trued.yaml:5"
        /targets/web/name "trued.yaml:5"
        /targets/web/settings/root "trued.yaml:5"
    "#]]
    .assert_eq(&lines.concat());
}

#[test]
fn what_changed_is_one_line_each() {
    let before = loaded(OPERATOR, &[("apps/site/app.yaml", &APP.replace("[web, web-2]", "web"))]).estate;
    let after_app = APP
        .replace("[web, web-2]", "web")
        .replace("drift: hold", "drift: revert")
        .replace("10%", "40%")
        .replace("title: Shop,", "title: Market,")
        .replace(", \"a/**\": report", "")
        .replace("sensitive: [\"*.key\"]\n", "")
        .replace(", { command: reload }", "");
    let operator = OPERATOR.replace("explain: true, ", "").replace("/srv/2", "/srv/3");
    let after = loaded(&operator, &[("apps/site/app.yaml", &after_app)]).estate;
    let lines = |lines: Vec<String>| lines.join("\n") + "\n";
    expect![[r#"
        environment prod: explain true → false
        stack dev/site: checks.1 {"kind":"command","settings":["systemctl","reload","nginx@dev"]} → nothing
        stack dev/site: policy.on_delete [["legal/**","retain"],["a/**","report"],["**","delete"]] → [["legal/**","retain"],["**","delete"]]
        stack dev/site: policy.sensitive ["*.key"] → nothing
        stack prod/site: checks.1 {"kind":"command","settings":["systemctl","reload","nginx@prod"]} → nothing
        stack prod/site: policy.deletes.percent 10 → 40
        stack prod/site: policy.drift hold → revert
        stack prod/site: policy.explain true → nothing
        stack prod/site: policy.on_delete [["legal/**","retain"],["a/**","report"],["**","delete"]] → [["legal/**","retain"],["**","delete"]]
        stack prod/site: policy.sensitive ["*.key"] → nothing
        stack prod/site: render.vars.title Shop → Market
        target web-2: settings.root /srv/2 → /srv/3
    "#]].assert_eq(&lines(differences(&before, &after)));
    expect![[r#"
        stack dev/site: *.key is not sensitive any more
        stack dev/site: a/** may be deleted
        stack dev/site: check command ["systemctl","reload","nginx@dev"] is gone
        stack prod/site: *.key is not sensitive any more
        stack prod/site: a/** may be deleted
        stack prod/site: changes from outside need no explanation any more
        stack prod/site: check command ["systemctl","reload","nginx@prod"] is gone
        stack prod/site: deletes at most 10% → 40%
        stack prod/site: drift hold → revert
    "#]]
    .assert_eq(&lines(loosened(&before, &after)));
    assert!(loosened(&after, &before).is_empty() && differences(&before, &before).is_empty());
    let gone = alone("stacks: { b: { path: x, target: { files: { root: /b } } } }").estate;
    expect![[r#"
        app b added
        app site removed
        environment default added
        environment dev removed
        environment prod removed
        secret token removed
        stack b added
        stack dev/site removed
        stack prod/site removed
        target b added
        target web removed
        target web-2 removed
    "#]]
    .assert_eq(&lines(differences(&before, &gone)));
}

#[test]
fn a_source_of_which_less_must_be_signed_is_loosened() {
    let signed = |verify: &str| {
        let operator = format!("sources: {{ shop: {{ git: {{ url: \"https://git.example/shop\"{verify} }} }} }}\n");
        loaded(&operator, &[]).estate
    };
    let (all, none) = (signed(", verify: all"), signed(""));
    assert_eq!(loosened(&all, &none), ["source shop: verify all → none"]);
    assert!(loosened(&none, &all).is_empty());
}

#[test]
fn the_digest_is_of_what_was_read() {
    let digest = |operator: &str, app: &str| loaded(operator, &[("apps/site/app.yaml", app)]).digest;
    let first = digest(OPERATOR, APP);
    assert_eq!(first, digest(OPERATOR, APP));
    assert_ne!(first, digest(OPERATOR, &format!("{APP}# x\n")));
    assert_ne!(first, digest(&format!("{OPERATOR}# x\n"), APP));
}

#[test]
fn the_example_passes() {
    let operator = example();
    // It keeps `www` beside itself, so the state folder is elsewhere than under it.
    assert_eq!(said(&alone(operator)), "stacks: homepage\n");
    // So does every line it comments out.
    let all: String = operator.lines().map(|line| line.replace("# on_", "on_").replace("# verify", "verify") + "\n").collect();
    assert_eq!(said(&alone(&all)), "stacks: homepage\n");
}

#[test]
fn schemas_are_whole_and_closed() {
    for which in [Which::Operator, Which::App] {
        let schema = kinds().schema(which);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(!schema.to_string().contains("$ref"), "stands alone");
        open_objects(schema, "", &mut |pointer| panic!("{which:?}: {pointer} lets unknown keys pass"));
    }
    let app = kinds().schema(Which::App);
    assert_eq!(app["properties"]["render"]["properties"]["plain"]["required"], json!(["path"]));
    assert_eq!(app["required"], json!(["app", "stacks"]));
    let operator = kinds().schema(Which::Operator);
    assert_eq!(operator["properties"]["targets"]["additionalProperties"]["properties"]["files"]["required"], json!(["root"]));
    // What the program says itself is not for people to write.
    assert_eq!(operator["properties"]["sources"]["additionalProperties"]["properties"]["git"]["properties"].get("own"), None);
}

/// Every mapping says what it may have, but for values of templates.
fn open_objects(schema: &Value, pointer: &str, open: &mut impl FnMut(&str)) {
    match schema {
        Value::Object(map) => {
            let is_mapping =
                map.get("type") == Some(&json!("object")) || map.get("type").is_some_and(|types| types.to_string().contains("object"));
            if is_mapping && !pointer.ends_with("/vars") && map.get("additionalProperties").is_none_or(|rest| rest == &json!(true)) {
                open(pointer);
            }
            map.iter().for_each(|(key, value)| open_objects(value, &format!("{pointer}/{key}"), open));
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(place, item)| open_objects(item, &format!("{pointer}/{place}"), open)),
        _ => {}
    }
}

fn descriptions(expect: Expect) {
    let schema = kinds().schema(Which::Operator);
    let lines = schema["properties"].as_object().into_iter().flatten();
    let text: String = lines.map(|(key, value)| format!("{key}: {}\n", value["description"].as_str().unwrap_or("-"))).collect();
    expect.assert_eq(&text);
}

#[test]
fn every_key_is_described() {
    descriptions(expect![[r#"
        apps: Globs of app files: `apps/*/app.yaml`, or `SOURCE//apps/*/app.yaml` where there are `sources`.
        environments: Stages of life, by name.
        registries: How registries and repositories of charts are asked, by host, with its port where that is not 443.
        sandbox: How programs that render (`build`) are held.
        secrets: Where secret values are, by name.
        sources: Where desired state comes from, by name. Without it, the folder or repository that holds this file is the source.
        stacks: The small form: one stack each, with its own target. Only without `sources`.
        targets: Systems that stacks land on, by name.
    "#]]);
}

#[test]
fn a_file_that_was_found_sound_is_not_checked_again_under_the_same_schema() {
    use std::sync::{Arc, Mutex};
    #[derive(Default)]
    struct Noted(Mutex<BTreeMap<String, Vec<u8>>>, Mutex<usize>);
    impl trued_doors::Cache for Noted {
        fn get(&self, key: &str) -> Option<Vec<u8>> {
            let found = self.0.lock().expect("whole").get(key).cloned();
            *self.1.lock().expect("whole") += usize::from(found.is_some());
            found
        }
        fn put(&self, key: &str, bytes: &[u8]) {
            self.0.lock().expect("whole").insert(key.to_owned(), bytes.to_vec());
        }
    }
    let noted = Arc::new(Noted::default());
    let kinds = kit::new_kinds().remembering(noted.clone());
    let load = |operator: &str| kit::loaded_with(&kinds, operator.as_bytes(), &kit::gathered(operator, &[]));
    let counts = || (noted.0.lock().expect("whole").len(), *noted.1.lock().expect("whole"));

    let sound = "stacks: { homepage: { path: site, target: { files: { root: /srv/www } } } }\n";
    assert!(load(sound).findings.is_empty());
    assert_eq!(counts(), (1, 0), "noted");
    assert!(load(sound).findings.is_empty());
    assert_eq!(counts(), (1, 1), "and found again");
    // What is wrong is never noted, and said each time.
    for _ in 0..2 {
        assert_eq!(load("stacks: { homepage: { pth: site } }\n").findings.len(), 2);
        assert_eq!(counts(), (1, 1));
    }
}

/// What each stack comes after, written as keys.
fn after(loaded: &trued_config::Loaded) -> Vec<String> {
    let keys = |stack: &Stack| stack.after.iter().map(trued_model::StackId::key).collect::<Vec<_>>().join(" ");
    loaded.estate.stacks.values().map(|stack| format!("{} after {}", stack.id.key(), keys(stack))).collect()
}

#[test]
fn stacks_that_come_after_others_are_looked_up_in_their_environment() {
    let operator = "environments: { dev: {}, prod: {} }
targets: { web: { files: { root: /srv/1 } }, web-2: { files: { root: /srv/2 } } }
apps: [\"apps/*/app.yaml\"]
";
    let db = "app: db\nrender: { plain: { path: site } }\nstacks: { dev: { target: web, into: db }, prod: { target: [web, web-2], into: db } }\n";
    let shop = "app: shop\nrender: { plain: { path: site } }\nafter: [db]\nstacks: { dev: { target: web, into: shop }, prod: { target: web, into: shop, after: [dev/shop] } }\n";
    let found = loaded(operator, &[("apps/db/app.yaml", db), ("apps/shop/app.yaml", shop)]);
    assert_eq!(found.findings, []);
    let all = [
        "dev/db@web after ",
        "dev/shop@web after dev/db@web",
        "prod/db@web after ",
        "prod/db@web-2 after ",
        "prod/shop@web after dev/shop@web prod/db@web prod/db@web-2",
    ];
    assert_eq!(after(&found), all);
    // An app that cannot be read now is waited for all the same.
    let found = loaded(operator, &[("apps/db/app.yaml", "app: db\nstacks: 1\n"), ("apps/shop/app.yaml", shop)]);
    assert_eq!(found.findings.len(), 1, "{:?}", found.findings);
    assert_eq!(after(&found), ["dev/shop@web after dev/db@db", "prod/shop@web after dev/shop@web prod/db@db"]);
}
