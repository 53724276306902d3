//! Configuration in, findings out: all at once, each at its place.

mod kit;

use expect_test::{Expect, expect};
use kit::{loaded, said};

fn check(operator: &str, apps: &[(&str, &str)], expect: Expect) {
    expect.assert_eq(&said(&loaded(operator, apps)));
}

const ONE_OWNER: &str = "environments:
  dev: {}
  prod: {}
targets:
  web: { files: { root: /srv/www } }
apps: [\"apps/*/app.yaml\"]
";

const TWO_OWNERS: &str = "sources:
  shop: { git: { url: \"https://git.example/shop\", branch: main } }
environments: { dev: {}, prod: { gates: { deletes: { at_most: \"10%\" } } } }
targets:
  web: { files: { root: /srv/www }, allow: [\"shop//apps/*\"], commands: { reload: [systemctl, reload, nginx] }, reach: [\"http://127.0.0.1/*\"] }
  shut: { files: { root: /srv/shut } }
secrets:
  token: { file: /etc/trued/token, allow: [\"shop//apps/site\"] }
  tsig: { file: tsig }
apps: [\"shop//apps/*/app.yaml\"]
";

#[test]
fn the_plans_own_example_says_only_what_is_not_built() {
    let operator = r#"# trued.yaml, the operator's: `trued serve --config trued.yaml`
sources:
  shop: { git: { url: "https://git.example/shop", branch: main } }
environments:
  dev:  {}
  test: { after: dev }
  prod:
    after: test
    gates: { approvals: 1, not_author: true, deletes: { at_most: "20%" } }
    freeze: [{ from: "Fri 16:00", until: "Mon 08:00", zone: Europe/Berlin }]
targets:
  web-1:
    files: { root: /srv/www }
    allow: ["shop//apps/*"]                          # which folders of which source may use it
    commands: { reload: [systemctl, reload, nginx] } # the only programs app files may name
    reach: ["http://127.0.0.1/*"]                    # the only addresses app files may check
  edge: { dns: { server: 192.0.2.53, key: { secret: tsig } }, allow: ["shop//apps/*"] }
secrets:
  tsig:  { file: /etc/trued/tsig }
  token: { file: /etc/trued/token, allow: ["shop//apps/site"] }
apps: ["shop//apps/*/app.yaml"]
"#;
    let app = r#"# apps/site/app.yaml
app: site
owner: team-web
render: { template: { path: site, vars: { title: "Shop (${env})", token: { secret: token } } } }
stacks:
  dev:  { target: web-1, into: dev,  drift: revert }
  prod: { target: web-1, into: prod, drift: hold, vars: { title: Shop } }
on_change: [reload]                                # once per set of changes, with its own intent
verify: [{ http: { url: "http://127.0.0.1/healthz" } }]
on_delete: { "legal/**": retain }                  # delete | retain | report | keep-until
previously: [homepage]                             # an old name; renames are also detected
"#;
    check(
        operator,
        &[("shop//apps/site/app.yaml", app)],
        expect![[r#"
        trued.yaml:6:11: `after` is not available yet; remove it; nothing promotes by itself: give each environment its own source or branch
        trued.yaml:8:5: `after` is not available yet; remove it; nothing promotes by itself: give each environment its own source or branch
        trued.yaml:9:14: `approvals` is not available yet; remove it; deletes are held by `deletes`, and `trued suspend` stops a stack
        trued.yaml:9:28: `not_author` is not available yet; remove it; deletes are held by `deletes`, and `trued suspend` stops a stack
        trued.yaml:10:5: `freeze` is not available yet; remove it; `trued suspend` stops a stack until a person resumes it
        trued.yaml:17:11: `dns` is not available yet; remove it; this build keeps files and Kubernetes objects
        stacks: dev/site prod/site
        not usable
    "#]],
    );
}

#[test]
fn an_unknown_key_a_wrong_type_and_an_unknown_target_are_three_findings() {
    let app = "app: site\nrender: { plain: { path: site } }\nstackz: 1\nstacks:\n  dev:  { target: nowhere, into: dev }\n  prod: { target: web, into: [1] }\n";
    check(
        ONE_OWNER,
        &[("apps/site/app.yaml", app)],
        expect![[r#"
            apps/site/app.yaml:3:1: unknown key `stackz`; did you mean `stacks`?
            apps/site/app.yaml:5:19: no target is named `nowhere`; use `web`
            apps/site/app.yaml:6:30: expected text, found a list; where on the target it lands, in the target's own terms
            stacks: 
            unreadable: [site]
        "#]],
    );
}

#[test]
fn the_small_form() {
    check(
        "stacks:\n  homepage:\n    path: site\n    target: { files: { root: /srv/www } }\n",
        &[],
        expect![[r#"
        stacks: homepage
    "#]],
    );
    check(
        "",
        &[],
        expect![[r#"
        trued.yaml:1:1: this file is empty; `trued init` writes an example
        stacks: 
        not usable
    "#]],
    );
    check(
        "# nothing\n",
        &[],
        expect![[r#"
        trued.yaml:1:1: this file is empty; `trued init` writes an example
        stacks: 
        not usable
    "#]],
    );
    check(
        "- a\n",
        &[],
        expect![[r#"
            trued.yaml:1:1: expected a mapping, found a list; the operator's file: what may happen where; in the small form also what runs
            stacks: 
            not usable
        "#]],
    );
    check(
        "stacks:\n",
        &[],
        expect![[r#"
            trued.yaml:1:1: expected a mapping, found nothing; the small form: one stack each, with its own target. Only without `sources`
            stacks: 
            not usable
        "#]],
    );
    check(
        "stacks:\n  a: { path: site }\n  b: { target: { files: { root: /b } } }\n  c: { path: c, target: { filez: { root: /c } } }\n",
        &[],
        expect![[r#"
            trued.yaml:2:3: the key `target` is missing; a target's kind with its settings, or the name of a target
            trued.yaml:3:3: nothing says what app `b` renders; write `render: { plain: { path: FOLDER } }`
            trued.yaml:4:27: unknown key `filez`; did you mean `files`?
            stacks: 
            unreadable: [a, b, c]
        "#]],
    );
    check(
        "stacks:\n  a: { path: ../x, target: { files: { root: /a } } }\n  b: { path: /etc, target: { files: { root: /proc/1 } } }\n  c: { path: c, target: { files: { root: 1 } } }\n  d: { path: d, target: { files: { root: /d } } }\n",
        &[],
        expect![[r#"
            trued.yaml:2:14: `../x` leads out of the source; name a folder in the source
            trued.yaml:3:14: `/etc` is no path in the source; write it from this file's folder, with `/`
            trued.yaml:3:37: `root` is the kernel's; name a folder on a disk
            trued.yaml:4:42: expected text, found a number; write "1" in quotes to mean the text
            stacks: d
            unreadable: [a, b, c]
        "#]],
    );
    check(
        "stack:\n  a: { path: x, target: { files: { root: /a } } }\n",
        &[],
        expect![[r#"
        trued.yaml:1:1: unknown key `stack`; did you mean `stacks`?
        stacks: 
        not usable
    "#]],
    );
    check(
        "stacks:\n  a: { path: x, target: web }\ntargets: { web: { files: { root: /a } } }\n",
        &[],
        expect![[r#"
        stacks: default/a
    "#]],
    );
}

#[test]
fn texts_that_are_no_yaml_or_no_mapping() {
    check(
        "stacks: [\n",
        &[],
        expect![[r#"
        trued.yaml:1:9: this is not YAML: unclosed bracket '['; correct the spelling here or just above; indent with spaces
        stacks: 
        not usable
    "#]],
    );
    check(
        ONE_OWNER,
        &[
            ("apps/a/app.yaml", "app: a\nstacks: {"),
            ("apps/b/app.yaml", "app: b\nrender: { plain: { path: x } }\nstacks: { dev: { target: web } }\n"),
        ],
        expect![[r#"
            apps/a/app.yaml:2:9: this is not YAML: unclosed bracket '{'; correct the spelling here or just above; indent with spaces
            stacks: dev/b
            incomplete
        "#]],
    );
    check(
        ONE_OWNER,
        &[
            ("apps/a/app.yaml", ""),
            ("apps/b/app.yaml", "- 1\n"),
            ("apps/c/app.yaml", "app: [c]\nstacks: 1\n"),
            ("apps/d/app.yaml", "app: D d\nstacks: {}\n"),
        ],
        expect![[r#"
            apps/a/app.yaml:1:1: this file is empty; `trued init` writes an example
            apps/b/app.yaml:1:1: expected a mapping, found a list; an app file: what runs, and where
            apps/c/app.yaml:1:6: expected a name: a-z, 0-9 and -, at most 63 characters, no - at either end, found a list; the app's name
            apps/c/app.yaml:2:9: expected a mapping, found a number; one stack for each environment it runs in
            apps/d/app.yaml:1:6: expected a name: a-z, 0-9 and -, at most 63 characters, no - at either end, found `D d`; the app's name
            apps/d/app.yaml:2:9: expected one entry here; one stack for each environment it runs in
            stacks: 
            incomplete
        "#]],
    );
    check(
        "stacks:\n  a: { path: x, path: y, target: { files: { root: /a } } }\n  a: {}\n  b: { path: x, target: { files: { root: /b } }, into: no, 3: 4 }\n",
        &[],
        expect![[r#"
            trued.yaml:2:17: the key `path` stands here a second time; the first is on line 2; remove one of them
            trued.yaml:3:3: the key `a` stands here a second time; the first is on line 2; remove one of them
            trued.yaml:4:56: expected text, found false; write "no" in quotes to mean the text
            trued.yaml:4:60: unknown key `3`; use `after`, `deletes`, `drift`, `health`, `ignore`, `interval`, `into`, `limits`, `on_change`, `on_delete`, `on_existing`, `on_immutable`, `owner`, `path`, `previously`, `render`, `rollback`, `sensitive`, `target`, `vars` or `verify`
            stacks: a
            unreadable: [b]
            not usable
        "#]],
    );
}

#[test]
fn names_are_names() {
    check(
        "environments: { no: {}, Prod: {}, -x: {} }\ntargets: { \"a b\": { files: { root: /a } } }\nsecrets: { ünï: { env: A } }\n",
        &[],
        expect![[r#"
            trued.yaml:1:17: the key `no` is read as `false`; write "no" in quotes to mean the text
            trued.yaml:1:25: `Prod` is not a name: a-z, 0-9 and -, at most 63 characters, no - at either end
            trued.yaml:1:35: `-x` is not a name: a-z, 0-9 and -, at most 63 characters, no - at either end
            trued.yaml:2:12: `a b` is not a name: a-z, 0-9 and -, at most 63 characters, no - at either end
            trued.yaml:3:12: `ünï` is not a name: a-z, 0-9 and -, at most 63 characters, no - at either end
            stacks: 
            not usable
        "#]],
    );
}

#[test]
fn values_out_of_their_range() {
    let app = "app: site
render: { plain: { path: site } }
stacks:
  dev: { target: web, drift: hodl, on_existing: true, interval: 5, rollback: yep }
  prod: { target: web, interval: 10ms, deletes: { at_most: 101% }, on_delete: { \"x/**\": keep, \"[\": retain } }
  test: { target: [web, web], previously: [A, a/b/c], sensitive: [\"{\"], verify: [{ http: { url: 1, status: 2 } }, {}] }
on_change: [[], 3, [\"\"]]
";
    check(
        ONE_OWNER,
        &[("apps/site/app.yaml", app)],
        expect![[r#"
            apps/site/app.yaml:4:30: expected `revert`, `alert` or `hold`, found `hodl`; what happens when the target differs from what was made: put it back, report it, or wait for a person
            apps/site/app.yaml:4:49: expected `hold` or `take-over`, found true; what happens to something that exists, differs and was never ours: wait for a person, or keep its bytes and replace it
            apps/site/app.yaml:4:65: expected a span of time such as 15s, 5m or 1h, found a number; write "5" in quotes to mean the text
            apps/site/app.yaml:4:78: expected true or false, found text; whether a failed check goes back to the last verified release by itself
            apps/site/app.yaml:5:34: an interval of 10ms is too short; write 1s or more; changes are seen at once anyway
            apps/site/app.yaml:5:60: expected a number, or a share such as "20%", found `101%`; more than this many, or more than this share of a stack's resources, is held: `5` or `"20%"`
            apps/site/app.yaml:5:89: expected `delete`, `retain` or `report`, found `keep`
            apps/site/app.yaml:5:100: `[` is not a glob: unclosed character class; missing ']'; `*` stands for one name, `**` for any folders
            apps/site/app.yaml:6:3: no environment is named `test`; use `dev` or `prod`
            apps/site/app.yaml:6:25: target `web` stands here twice; remove one of them
            apps/site/app.yaml:6:44: `A` is not the name of a stack; write `homepage`, `prod/site` or `prod/site@web-1`
            apps/site/app.yaml:6:47: `a/b/c` is not the name of a stack; write `homepage`, `prod/site` or `prod/site@web-1`
            apps/site/app.yaml:6:67: `{` is not a glob: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?); `*` stands for one name, `**` for any folders
            apps/site/app.yaml:6:97: expected text, found a number; write "1" in quotes to mean the text
            apps/site/app.yaml:6:108: expected at least 100, found `2`
            apps/site/app.yaml:6:115: expected one of `command` or `http` here
            apps/site/app.yaml:7:13: expected a command's name, or a program and its arguments as a list, found a list
            apps/site/app.yaml:7:17: expected a command's name, or a program and its arguments as a list, found a number; write "3" in quotes to mean the text
            stacks: 
            unreadable: [site]
        "#]],
    );
}

#[test]
fn operators_own_mistakes() {
    check(
        "targets:
  a: {}
  b: { files: { root: /b }, reach: [nowhere], allow: [\"x//y\"] }
  c: { allow: [] }
  d: { files: { root: \"${target}\" } }
  e: { files: { root: /e }, ignore: [\"cache/**\", \"[\"] }
secrets:
  one: {}
  two: { file: a, env: B }
  three: { file: [] }
environments:
  dev:
  prod: { explain: maybe, gates: { deletes: { at_most: lots } } }
apps: [\"../*/app.yaml\", \"[\", \"none/*.yaml\"]
colour: red
",
        &[],
        expect![[r#"
            trued.yaml:2:3: target `a` says no kind of target; write one of `files`
            trued.yaml:3:37: `nowhere` is no pattern of addresses: not an address such as http://127.0.0.1/*; write one such as `http://127.0.0.1/*`
            trued.yaml:3:55: `x//y` names a source, and there are no `sources`; write it from this file's folder
            trued.yaml:4:3: target `c` says no kind of target; write one of `files`
            trued.yaml:5:23: `${target}` has no value here; words stand for a stack's names; use them in what belongs to a stack
            trued.yaml:6:50: `[` is not a glob: unclosed character class; missing ']'; `*` stands for one name, `**` for any folders
            trued.yaml:8:3: secret `one` does not say where it is; write `file: /etc/trued/NAME` or `env: NAME`, or `age: PATH` or `sops: PATH` with its `identity`
            trued.yaml:9:3: secret `two` has 2 places; keep one of `file`, `env`
            trued.yaml:10:18: expected text, found a list; a file whose content is the secret
            trued.yaml:13:20: expected true or false, found text; whether a change from outside must be explained by a person
            trued.yaml:13:56: expected a number, or a share such as "20%", found `lots`; more than this many, or more than this share of a stack's resources, is held: `5` or `"20%"`
            trued.yaml:14:8: `../*/app.yaml` leads out of this folder; write it from this file's folder
            trued.yaml:14:25: `[` is not a glob: unclosed character class; missing ']'; `*` stands for one name, `**` for any folders
            trued.yaml:14:30: no file of source `own` matches `none/*.yaml`; write an app file there, or correct the glob; nothing is deleted meanwhile, and once the glob is gone you are asked
            trued.yaml:15:1: unknown key `colour`; use `apps`, `environments`, `registries`, `sandbox`, `secrets`, `sources`, `stacks` or `targets`
            stacks: 
            incomplete
            not usable
        "#]],
    );
    check(
        "sources:
  shop: { git: { url: https://git.example/shop, token: { secret: tokn } } }
  both: { git: { url: a, path: b } }
  none: { git: { branch: main } }
  kind: { svn: {} }
  later: { oci: {} }
  more: { git: { url: x }, folder: { path: y } }
secrets: { token: { env: TOKEN } }
apps: [\"apps/*.yaml\", \"shopp//apps/*.yaml\", \"shop//../x\"]
stacks: { a: { path: x, target: { files: { root: /a } } } }
",
        &[],
        expect![[r#"
            trued.yaml:2:66: no secret is named `tokn`; did you mean `token`?
            trued.yaml:3:11: only one of `url` or `path` may stand here
            trued.yaml:4:11: one of `url` or `path` is missing
            trued.yaml:5:11: unknown key `svn`; use `folder` or `git`
            trued.yaml:6:12: `oci` is not available yet; use `git` or `folder`
            trued.yaml:7:9: expected only one of `folder` or `git` here
            trued.yaml:7:44: expected text, found true; write "y" in quotes to mean the text
            trued.yaml:9:8: `apps/*.yaml` names no source; write it as `SOURCE//apps/*`
            trued.yaml:9:23: no source is named `shopp`; did you mean `shop`?
            trued.yaml:9:45: `shop//../x` leads out of the source; write it from the source's root
            trued.yaml:10:1: `stacks` cannot stand beside `sources`; write an app file in a source: its owner and the operator are not the same
            stacks: 
            not usable
        "#]],
    );
}

#[test]
fn two_owners_nothing_is_taken_that_was_not_granted() {
    let site = "app: site
render: { template: { path: site, vars: { ok: { secret: token }, no: { secret: tsig }, gone: { secret: nothing }, deep: [{ secret: token }] } } }
stacks: { dev: { target: web }, prod: { target: shut } }
on_change: [reload, restart, [rm, -rf, /]]
verify: [{ http: { url: \"http://127.0.0.1/x\" } }, { http: { url: \"http://169.254.169.254/\" } }, { command: reload }, { command: [sh, -c, x] }]
";
    let other = "app: other
render: { template: { path: ., vars: { token: { secret: token } } } }
stacks: { dev: { target: web, deletes: { at_most: 5 } }, prod: { target: web, deletes: { at_most: \"11%\" } } }
";
    check(
        TWO_OWNERS,
        &[("shop//apps/site/app.yaml", site), ("shop//apps/other/app.yaml", other)],
        expect![[r#"
            shop//apps/other/app.yaml:2:29: `.` holds the configuration file apps/other/app.yaml, which is never rendered; move what is rendered into a folder of its own
            shop//apps/other/app.yaml:3:99: `at_most: 11%` lets more deletes run than the operator allows here: 10%; an app file may only tighten; the operator loosens, in the environment's `gates`
            shop//apps/site/app.yaml:2:66: the key `no` is read as `false`; write "no" in quotes to mean the text
            shop//apps/site/app.yaml:2:80: secret `tsig` is not granted to `shop//apps/site`; the operator adds `allow: ["shop//apps/site"]` to it
            shop//apps/site/app.yaml:2:104: no secret is named `nothing`; use `token` or `tsig`
            shop//apps/site/app.yaml:2:121: a secret stands inside another value; give it a name of its own: `vars: { NAME: { secret: NAME } }`
            shop//apps/site/app.yaml:3:49: target `shut` takes no apps: it has no `allow`; the operator adds `allow: ["shop//apps/site"]` to it
            shop//apps/site/app.yaml:4:21: no command is named `restart` on target `web`; the operator grants it: `commands: { restart: [PROGRAM, ARGUMENT] }`
            shop//apps/site/app.yaml:4:30: an app file may not bring a program of its own; name a command that the operator granted on this target
            shop//apps/site/app.yaml:5:66: `http://169.254.169.254/` is not an address that target `web` grants; the operator grants it: `reach: ["http://127.0.0.1/*"]`
            shop//apps/site/app.yaml:5:129: an app file may not bring a program of its own; name a command that the operator granted on this target
            stacks: 
            unreadable: [other, site]
        "#]],
    );
    // What the operator wrote wrong is nobody else's fault.
    let app = "app: site\nrender: { plain: { path: x } }\nstacks: { dev: { target: web } }\n";
    check(
        &TWO_OWNERS.replace("allow: [\"shop//apps/*\"", "allow: [\"shopp//apps/*\""),
        &[("shop//apps/site/app.yaml", app)],
        expect![[r#"
            trued.yaml:5:45: no source is named `shopp`; did you mean `shop`?
            stacks: 
            unreadable: [site]
            not usable
        "#]],
    );
    // Who may what: each slip at its place, and nobody gets more for it.
    let slips = [
        "3",
        "{ apps: [\"shop//apps/*\"] }, { apps: [\"x//y\"], manage: [\"a[\"], more: 1 }, { apps: [\"shop//apps/*\"], manage: [\"b[\"] }",
    ];
    let said = slips.map(|slip| {
        said(&loaded(&TWO_OWNERS.replace("allow: [\"shop//apps/*\"],", &format!("allow: [{slip}],")), &[("shop//apps/site/app.yaml", app)]))
    });
    expect![[r#"
        trued.yaml:5:45: expected a folder such as `SOURCE//apps/*`, or `{ apps: […], manage: […] }`, found a number; write "3" in quotes to mean the text
        stacks: 
        unreadable: [site]
        not usable
        trued.yaml:5:37: the key `manage` is missing; the only addresses they may manage, as globs: `*/*/pay/*`, `core/Namespace/-/pay`, `www/pay/**`
        trued.yaml:5:82: no source is named `x`; use `shop`
        trued.yaml:5:100: `a[` is not a glob: unclosed character class; missing ']'; `*` stands for one name, `**` for any folders
        trued.yaml:5:107: unknown key `more`; use `apps` or `manage`
        trued.yaml:5:153: `b[` is not a glob: unclosed character class; missing ']'; `*` stands for one name, `**` for any folders
        stacks: dev/site
        not usable
    "#]].assert_eq(&said.concat());
    let deep = "app: deep\nrender: { plain: { path: x } }\nstacks: { dev: { target: web } }\n";
    check(
        &TWO_OWNERS.replace("shop//apps/*/app.yaml", "shop//apps/**/app.yaml"),
        &[("shop//apps/a/deep/app.yaml", deep)],
        expect![[r#"
        shop//apps/a/deep/app.yaml:3:26: target `web` does not take apps from `shop//apps/a/deep`; the operator adds `allow: ["shop//apps/a/deep"]` to it
        stacks: 
        unreadable: [deep]
    "#]],
    );
}

#[test]
fn words_in_values() {
    let app = "app: site
render: { template: { path: \"${envv}\", vars: { a: \"${infra.address}\", b: \"${env\", c: \"$${env}\", d: [{ e: \"${region}\" }] } } }
stacks: { dev: { target: web, into: \"${env}/${app}/${target}\" } }
";
    check(
        ONE_OWNER,
        &[("apps/site/app.yaml", app)],
        expect![[r#"
        apps/site/app.yaml:2:29: `${envv}` is no word that is known; did you mean `${env}`?
        apps/site/app.yaml:2:51: `${infra.address}` is not available yet: values of other stacks; write the value itself
        apps/site/app.yaml:2:74: `${` is never closed; close it with `}`, or write `$${` for a plain `${`
        apps/site/app.yaml:2:106: `${region}` is no word that is known; the words are `${env}`, `${app}` and `${target}`; write `$${` for a plain `${`
        stacks: 
        unreadable: [site]
    "#]],
    );
}

#[test]
fn one_broken_app_does_not_touch_another() {
    let good = "app: good\nrender: { plain: { path: x } }\nstacks: { dev: { target: web } }\n";
    let bad = "app: bad\nrender: { plain: { path: x } }\nstacks: { dev: { target: web, colour: red }, prod: { target: web } }\n";
    check(
        ONE_OWNER,
        &[("apps/good/app.yaml", good), ("apps/bad/app.yaml", bad)],
        expect![[r#"
            apps/bad/app.yaml:3:31: unknown key `colour`; use `after`, `deletes`, `drift`, `health`, `ignore`, `interval`, `into`, `limits`, `on_change`, `on_delete`, `on_existing`, `on_immutable`, `previously`, `render`, `rollback`, `sensitive`, `target`, `vars` or `verify`
            stacks: dev/good
            unreadable: [bad]
        "#]],
    );
}

#[test]
fn an_app_is_defined_once() {
    let a = "app: site\nrender: { plain: { path: x } }\nstacks: { dev: { target: web } }\n";
    check(
        ONE_OWNER,
        &[("apps/a/app.yaml", a), ("apps/b/app.yaml", a)],
        expect![[r#"
        apps/b/app.yaml:1:6: app `site` is also defined in apps/a/app.yaml; give one of them another name
        stacks: 
        unreadable: [site]
    "#]],
    );
}

#[test]
fn roots_do_not_lie_in_each_other() {
    check(
        "targets:
  a: { files: { root: /srv/www } }
  b: { files: { root: /srv/www/sub/.. } }
  c: { files: { root: /srv/www/c } }
  d: { files: { root: /srv/www-2 } }
  e: { files: { root: . } }
  f: { files: { root: .trued } }
  g: { files: { root: .trued/x } }
stacks:
  h: { path: x, target: { files: { root: /srv/www/c/d } } }
",
        &[],
        expect![[r#"
            trued.yaml:3:23: target `b` is the same place as target `a`; give both stacks one target, each with its own `into`; keep `a`
            trued.yaml:4:23: target `c` lies in target `a`; use target `a` with `into`, or a place beside it
            trued.yaml:6:23: target `e` contains the state folder; keep the state folder elsewhere: `--state DIR`
            trued.yaml:7:23: target `f` is the state folder; keep the state folder elsewhere: `--state DIR`
            trued.yaml:7:23: target `f` lies in target `e`; use target `e` with `into`, or a place beside it
            trued.yaml:8:23: target `g` lies in target `e`; use target `e` with `into`, or a place beside it
            trued.yaml:8:23: target `g` lies in the state folder; keep the state folder elsewhere: `--state DIR`
            trued.yaml:10:42: target `h` lies in target `a`; use target `a` with `into`, or a place beside it
            stacks: 
            unreadable: [h]
            not usable
        "#]],
    );
}

#[test]
fn no_stack_renders_what_it_writes() {
    let app = "app: site\nrender: { plain: { path: content } }\nstacks: { dev: { target: web, into: dev } }\n";
    let operator = "environments: { dev: {} }\napps: [\"apps/*/app.yaml\"]\ntargets: { web: { files: { root: apps/site/content/out } } }\n";
    check(
        operator,
        &[("apps/site/app.yaml", app)],
        expect![[r#"
            apps/site/app.yaml:2:1: what is rendered, `apps/site/content`, holds the place that is written to: each run would render what the last one wrote; render a folder of its own, or let the target lie elsewhere
            stacks: 
            unreadable: [site]
        "#]],
    );
    // Beside it, and in the small form, where the place is left out of the source, nothing goes round.
    check(
        &operator.replace("content/out", "out"),
        &[("apps/site/app.yaml", app)],
        expect![[r#"
            stacks: dev/site
        "#]],
    );
    check(
        "stacks: { site: { path: ./, target: { files: { root: www } } } }\n",
        &[],
        expect![[r#"
        stacks: site
    "#]],
    );
}

#[test]
fn what_is_rendered_holds_no_configuration() {
    let app = |path: &str| format!("app: site\nrender: {{ plain: {{ path: {path} }} }}\nstacks: {{ dev: {{ target: web }} }}\n");
    check(
        ONE_OWNER,
        &[("apps/site/app.yaml", &app("."))],
        expect![[r#"
        apps/site/app.yaml:2:26: `.` holds the configuration file apps/site/app.yaml, which is never rendered; move what is rendered into a folder of its own
        stacks: 
        unreadable: [site]
    "#]],
    );
    check(
        ONE_OWNER,
        &[("apps/site/app.yaml", &app("../.."))],
        expect![[r#"
        apps/site/app.yaml:2:26: `../..` holds the configuration file apps/site/app.yaml, which is never rendered; move what is rendered into a folder of its own
        stacks: 
        unreadable: [site]
    "#]],
    );
    check(
        ONE_OWNER,
        &[("apps/site/app.yaml", &app("../../.."))],
        expect![[r#"
        apps/site/app.yaml:2:26: `../../..` leads out of the source; name a folder in the source
        stacks: 
        unreadable: [site]
    "#]],
    );
    check(
        ONE_OWNER,
        &[("apps/site/app.yaml", &app("../sites"))],
        expect![[r#"
        stacks: dev/site
    "#]],
    );
}

#[test]
fn old_names() {
    let app = |name: &str, rest: &str| {
        format!(
            "app: {name}\nrender: {{ plain: {{ path: x }} }}\nstacks: {{ dev: {{ target: web, into: a }}, prod: {{ target: web, into: b }} }}\n{rest}"
        )
    };
    let (a, b) = (app("a", "previously: [b, dev/c, test/d]\n"), app("b", "previously: [dev/c]\n"));
    check(
        ONE_OWNER,
        &[("apps/a/app.yaml", &a), ("apps/b/app.yaml", &b)],
        expect![[r#"
        apps/a/app.yaml:4:14: `b` is still the name of a stack; remove it here, or remove the stack that has the name
        apps/a/app.yaml:4:24: `test/d` may be the old name of several stacks; write `previously` at the stack that is meant
        apps/b/app.yaml:4:14: app `a` takes over the same old name; keep it at the app that takes the files over
        stacks: 
        unreadable: [a, b]
    "#]],
    );
}

#[test]
fn app_files_that_are_not_there() {
    check(
        ONE_OWNER,
        &[],
        expect![[r#"
            trued.yaml:6:8: no file of source `own` matches `apps/*/app.yaml`; write an app file there, or correct the glob; nothing is deleted meanwhile, and once the glob is gone you are asked
            stacks: 
            incomplete
        "#]],
    );
    expect![[r#"
        stacks: 
        incomplete
    "#]]
    .assert_eq(&said(&kit::alone(ONE_OWNER)));
}

#[test]
fn what_is_planned_is_named() {
    check(
        "targets: { k: { kubernetes: {} } }
stacks:
  a: { path: x, target: { terraform: {} } }
  b: { render: { command: {} }, target: { files: { root: /b } }, on_delete: { \"x\": keep-until } }
  c: { path: x, target: k }
",
        &[],
        expect![[r#"
            trued.yaml:1:17: `kubernetes` is not available yet; remove it; this build keeps files and Kubernetes objects
            trued.yaml:3:27: `terraform` is not available yet; remove it; this build keeps files and Kubernetes objects
            trued.yaml:4:18: `command` is not available yet; use `build` to run a program, or `plain` or `template`
            trued.yaml:4:84: `keep-until` is not available yet; use `retain`, and delete it by hand when its time has come
            stacks: 
            unreadable: [a, b, c]
            not usable
        "#]],
    );
    let app = "app: site
render: { command: {} }
gates: { approvals: 1 }
stacks: { dev: { target: web, on_delete: { \"a/**\": { keep-until: 2027-01-01 } } } }
";
    check(
        ONE_OWNER,
        &[("apps/site/app.yaml", app)],
        expect![[r#"
            apps/site/app.yaml:2:11: `command` is not available yet; use `build` to run a program, or `plain` or `template`
            apps/site/app.yaml:3:1: `gates` is not available yet; remove it; to hold deletes earlier write `deletes: { at_most: 5 }`
            apps/site/app.yaml:4:52: `keep-until` is not available yet; use `retain`, and delete it by hand when its time has come
            stacks: 
            unreadable: [site]
        "#]],
    );
}

#[test]
fn secrets_that_lie_in_a_source() {
    check(
        "sources:
  shop: { git: { url: https://git.example/shop, token: { secret: deep } } }
secrets:
  deep: { sops: shop//secrets/prod.yaml, key: db.password, identity: { file: /k } }
  shut: { age: shop//token.age }
  lost: { age: token.age, identity: { env: KEY } }
  none: { age: nowhere//token.age, identity: { env: KEY } }
  away: { sops: shop//../x.yaml, identity: { env: KEY } }
  both: { age: shop//a.age, identity: { env: KEY, file: k } }
  more: { file: /etc/token, key: a, identity: { env: KEY } }
  keys: { age: shop//a.age, key: a, identity: { env: KEY } }
  text: { age: shop//a.age, identity: /etc/key }
",
        &[],
        expect![[r#"
            trued.yaml:2:66: secret `deep` lies in a source, and this is needed before sources are read; give it from a `file` or from `env`
            trued.yaml:5:11: nothing says what opens `shop//token.age`; write `identity: { file: /etc/trued/age.key }`, a file that age-keygen made and that lies in no source
            trued.yaml:6:16: `token.age` names no source; write it as `SOURCE//apps/*`
            trued.yaml:7:16: no source is named `nowhere`; use `shop`
            trued.yaml:8:17: `shop//../x.yaml` leads out of the source; write it from the source's root
            trued.yaml:9:39: an identity lies in one place; write `file: PATH` or `env: NAME`
            trued.yaml:10:29: `key` says nothing beside `file`; leave out `key`
            trued.yaml:10:37: `identity` says nothing beside `file`; leave out `identity`
            trued.yaml:11:29: `key` says nothing beside `age`; leave out `key`
            trued.yaml:12:39: expected a mapping, found text; the age identities that open the encrypted file; they lie on this machine
            stacks: 
            not usable
        "#]],
    );
}

#[test]
fn spans_of_time_in_a_kinds_settings() {
    check(
        "stacks: { a: { path: x, target: { files: { root: /a } }, verify: [{ http: { url: \"http://a/\", within: 1.5m } }] } }\n",
        &[],
        expect![[r#"
            trued.yaml:1:103: expected a span of time such as 15s, 5m or 1h, found `1.5m`
            stacks: 
            unreadable: [a]
        "#]],
    );
}

#[test]
fn fault_104_credentials_in_an_address_are_refused_and_not_shown() {
    let loaded = loaded("sources: { shop: { git: { url: \"https://me:Hunter2@git.example/shop\" } } }\n", &[]);
    expect![[r#"
        trued.yaml:1:32: this address has a user or a password in it; write `username`, and `password: { secret: NAME }` or `token: { secret: NAME }`
        stacks: 
        not usable
    "#]].assert_eq(&said(&loaded));
    let shown = trued_config::show(&loaded).to_string();
    assert!(shown.contains("https://git.example/shop") && !shown.contains("Hunter2"), "{shown}");
}

#[test]
fn fault_39_stacks_that_wait_for_each_other_are_named_and_the_others_stay() {
    check(
        "stacks:
  a: { path: a, target: { files: { root: /a } }, after: [b] }
  b: { path: b, target: { files: { root: /b } }, after: [c] }
  c: { path: c, target: { files: { root: /c } }, after: [a, d] }
  d: { path: d, target: { files: { root: /d } } }
  e: { path: e, target: { files: { root: /e } }, after: [e, dd, \"A\"] }
  f: { path: f, target: { files: { root: /f } }, after: [d] }
",
        &[],
        expect![[r#"
            trued.yaml:2:58: stacks wait for each other: a → b → c → a; take one `after` out of the circle
            trued.yaml:3:58: stacks wait for each other: a → b → c → a; take one `after` out of the circle
            trued.yaml:4:58: stacks wait for each other: a → b → c → a; take one `after` out of the circle
            trued.yaml:6:58: stacks wait for each other: e → e; take one `after` out of the circle
            trued.yaml:6:61: no stack is named `dd`; did you mean `d`?
            trued.yaml:6:65: `A` is not the name of a stack; write `homepage`, `prod/site` or `prod/site@web-1`
            stacks: d f
            unreadable: [a, b, c, e]
        "#]],
    );
}

#[test]
fn fields_to_ignore_are_checked_where_they_are_written() {
    check(
        "stacks:\n  web:\n    path: web\n    target: { files: { root: /srv } }\n    ignore:\n    - { kind: \"a/b/c\", fields: [spec, /metadata/name, /metadata, /a~2, /spec/replicas] }\n    - { name: \"[\", fields: [] }\n",
        &[],
        expect![[r#"
            trued.yaml:6:15: `a/b/c` is no kind of object; write `Deployment`, or with its group `apps/Deployment`
            trued.yaml:6:33: `spec` cannot be ignored: it does not start with `/`; write a JSON pointer such as `/spec/replicas`; `/` in a key is `~1`
            trued.yaml:6:39: `/metadata/name` cannot be ignored: it says which object this is; write a JSON pointer such as `/spec/replicas`; `/` in a key is `~1`
            trued.yaml:6:55: `/metadata` cannot be ignored: it says which object this is; write a JSON pointer such as `/spec/replicas`; `/` in a key is `~1`
            trued.yaml:6:66: `/a~2` cannot be ignored: `~` is written `~0`; write a JSON pointer such as `/spec/replicas`; `/` in a key is `~1`
            trued.yaml:7:15: `[` is not a glob: unclosed character class; missing ']'; `*` stands for one name, `**` for any folders
            trued.yaml:7:28: no field is named here; name some as JSON pointers: `[/spec/replicas]`
            stacks: 
            unreadable: [web]
        "#]],
    );
}
