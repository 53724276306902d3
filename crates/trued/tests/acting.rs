//! The verbs that act, from outside: the built program on real repositories, roots and state folders.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const TRUED: &str = env!("CARGO_BIN_EXE_trued");
/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A repository with one app in dev (revert) and prod (hold), a root, a state folder.
struct Shop {
    folder: tempfile::TempDir,
    served: Option<Child>,
}

impl Shop {
    fn new() -> Shop {
        let shop = Shop { folder: tempfile::tempdir().expect("a folder"), served: None };
        for folder in ["repo", "www"] {
            fs::create_dir_all(shop.path(folder)).expect("made");
        }
        shop.git(&["init", "-q", "-b", "main"]);
        let operator = format!(
            "environments:\n  dev: {{}}\n  prod: {{}}\ntargets:\n  web: {{ files: {{ root: {} }} }}\napps: [\"apps/*/app.yaml\"]\n",
            shop.path("www").display()
        );
        shop.write("trued.yaml", &operator);
        shop.write(
            "apps/site/app.yaml",
            "app: site\nrender: { plain: { path: site } }\nstacks:\n  dev:  { target: web, into: dev,  drift: revert }\n  prod: { target: web, into: prod, drift: hold }\n",
        );
        for (name, text) in [("index.html", "one\n"), ("about.html", "about\n"), ("css/a.css", "a{}\n")] {
            shop.write(&format!("apps/site/site/{name}"), text);
        }
        shop.commit("first");
        shop
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn write(&self, below: &str, text: &str) {
        let path = self.path("repo").join(below);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn live(&self, below: &str) -> Option<String> {
        fs::read_to_string(self.path("www").join(below)).ok()
    }

    fn git(&self, words: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.path("repo")).args(words);
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.org");
        }
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        let output = git.output().expect("git runs");
        assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn command(&self) -> Command {
        let mut command = Command::new(TRUED);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("TRUED_CONFIG", self.path("repo/trued.yaml")).env("TRUED_STATE", self.path("state"));
        command
    }

    /// Runs a verb and asserts its exit status.
    fn run(&self, words: &[&str], status: i32) -> String {
        let output: Output = self.command().args(words).output().expect("trued runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "trued {words:?}: {said}");
        said
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.command().args(words).args(["--output", "json"]).output().expect("trued runs");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("trued {words:?} gives no JSON: {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn counted(&self, words: &[&str]) -> Value {
        let file = self.path("counters.json");
        self.command().args(words).env("TRUED_COUNTERS", &file).output().expect("trued runs");
        serde_json::from_slice(&fs::read(file).expect("counters")).expect("JSON")
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let output = self.command().args(["log", "--output", "json", "--kind", kind]).output().expect("trued runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect()
    }

    fn newest(&self, kind: &str) -> String {
        self.log(kind).last().and_then(|entry| entry["index"].as_u64()).expect("an entry of that kind").to_string()
    }

    fn serve(&mut self) {
        let errors = fs::File::options().create(true).append(true).open(self.path("serve.log")).expect("a log");
        let mut command = self.command();
        command.args(["serve", "--poll", "200ms"]).stdout(Stdio::null()).stderr(errors).process_group(0);
        self.served = Some(command.spawn().expect("serve starts"));
    }

    fn kill(&mut self) {
        if let Some(mut serve) = self.served.take() {
            let _ = serve.kill();
            let _ = serve.wait();
        }
    }

    fn until(&self, what: &str, look: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !look() {
            let log = || fs::read_to_string(self.path("serve.log")).unwrap_or_default();
            assert!(Instant::now() < end, "waited in vain for: {what}\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.kill();
    }
}

fn files(folder: &Path) -> usize {
    let inside = fs::read_dir(folder).map(|inside| inside.flatten().collect::<Vec<_>>()).unwrap_or_default();
    inside.iter().map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[test]
fn a_plan_proposes_an_apply_makes_and_the_next_costs_nothing() {
    let shop = Shop::new();
    let proposed = shop.json(&["plan"]);
    assert_eq!(proposed["plans"].as_array().map(Vec::len), Some(2));
    assert_eq!(proposed["plans"][0]["changes"].as_array().map(Vec::len), Some(3));
    shop.run(&["plan"], 3);
    assert_eq!(files(&shop.path("www")), 0, "a plan touches nothing");
    shop.run(&["apply"], 0);
    assert_eq!(shop.live("prod/css/a.css").as_deref(), Some("a{}\n"));
    shop.run(&["plan"], 0);
    let cost = shop.counted(&["apply"]);
    assert_eq!((&cost["renders"], &cost["target_writes"], &cost["ledger_rows"]), (&0.into(), &0.into(), &0.into()), "{cost}");
    shop.write("apps/site/site/index.html", "two\n");
    shop.commit("second");
    let cost = shop.counted(&["apply"]);
    assert_eq!((&cost["renders"], &cost["target_writes"]), (&2.into(), &2.into()), "one file in two environments: {cost}");
}

#[test]
fn the_report_of_a_plan_is_written_as_the_golden_file_has_it() {
    let shop = Shop::new();
    shop.run(&["apply"], 0);
    fs::write(shop.path("www/dev/foreign.html"), "theirs\n").expect("written");
    shop.write("apps/site/site/foreign.html", "ours\n");
    shop.write("apps/site/site/index.html", "two\n");
    fs::remove_file(shop.path("repo/apps/site/site/about.html")).expect("removed");
    let revision = shop.commit("all sorts");
    let output = shop.command().args(["plan", "--output", "json"]).output().expect("trued runs");
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stdout).replace(&revision, "COMMIT");
    assert_eq!(said, include_str!("golden/report.json"));
}

#[test]
fn fault_56_going_back_needs_neither_repository_nor_configuration() {
    let shop = Shop::new();
    shop.run(&["apply"], 0);
    shop.write("apps/site/site/index.html", "two\n");
    shop.write("apps/site/site/new.html", "new\n");
    shop.commit("second");
    shop.run(&["apply"], 0);
    fs::rename(shop.path("repo"), shop.path("elsewhere")).expect("moved away");
    shop.run(&["rollback", "prod/site"], 3);
    assert_eq!(shop.live("prod/index.html").as_deref(), Some("one\n"));
    assert_eq!(shop.live("prod/new.html"), None, "what the older release did not have is gone");
    assert_eq!(shop.live("dev/index.html").as_deref(), Some("two\n"), "the other stack notices nothing");
    fs::rename(shop.path("elsewhere"), shop.path("repo")).expect("moved back");
    shop.run(&["apply"], 3);
    assert_eq!(shop.live("prod/index.html").as_deref(), Some("one\n"), "what was left is not taken again");
    shop.write("apps/site/site/index.html", "three\n");
    shop.commit("a fix");
    shop.run(&["apply"], 0);
    assert_eq!(shop.live("prod/index.html").as_deref(), Some("three\n"));
    shop.run(&["verify"], 0);
}

#[test]
fn a_repository_that_is_gone_deletes_nothing() {
    let shop = Shop::new();
    shop.run(&["apply"], 0);
    fs::rename(shop.path("repo"), shop.path("elsewhere")).expect("moved away");
    shop.run(&["apply"], 1);
    assert_eq!(files(&shop.path("www/prod")), 3);
    assert!(shop.log("held").is_empty(), "a source that cannot be read is no empty render");
}

#[test]
fn fault_28_what_an_app_may_not_manage_stays_as_it_is_and_a_part_of_it_waits_for_the_operator() {
    let shop = Shop::new();
    shop.run(&["apply"], 0);
    let allow = |globs: &str| {
        let text = fs::read_to_string(shop.path("repo/trued.yaml")).expect("read");
        let line =
            format!("  web: {{ files: {{ root: {} }}, allow: [{{ apps: [\"apps/*\"], manage: [{globs}] }}] }}", shop.path("www").display());
        let lines: Vec<&str> = text.lines().map(|old| if old.starts_with("  web:") { &line } else { old }).collect();
        shop.write("trued.yaml", &(lines.join("\n") + "\n"));
    };
    allow("\"dev/**\", \"prod/index.html\"");
    shop.write("apps/site/site/index.html", "two\n");
    let said = shop.run(&["apply"], 2);
    let finding = "apps/site/site/about.html:1:1: prod/site: prod/about.html is not this stack's to manage: the operator lets it manage `dev/**`, `prod/index.html`";
    assert!(said.contains(finding) && said.contains("prod/css/a.css is not"), "{said}");
    assert_eq!((shop.live("dev/index.html").as_deref(), shop.live("prod/index.html").as_deref()), (Some("two\n"), Some("one\n")));

    for gone in ["about.html", "css/a.css"] {
        fs::remove_file(shop.path(&format!("repo/apps/site/site/{gone}"))).expect("removed");
    }
    let said = shop.run(&["apply"], 3);
    assert!(said.contains("waits until the operator widens the target's `manage`"), "{said}");
    assert_eq!(shop.live("prod/index.html").as_deref(), Some("two\n"), "what is in bounds goes on");
    assert_eq!(shop.live("prod/about.html").as_deref(), Some("about\n"));
    assert_eq!(shop.live("dev/about.html"), None);
    allow("\"**\"");
    shop.run(&["apply"], 0);
    assert_eq!(shop.live("prod/about.html"), None);
}

#[test]
fn fault_37_a_file_moves_between_stacks_in_one_commit() {
    let shop = Shop::new();
    shop.write("apps/blog/app.yaml", "app: blog\nrender: { plain: { path: blog } }\nstacks:\n  dev: { target: web, into: dev }\n");
    shop.write("apps/blog/blog/post.html", "post\n");
    shop.commit("blog");
    shop.run(&["apply"], 0);
    shop.git(&["mv", "apps/blog/blog/post.html", "apps/site/site/post.html"]);
    shop.write("apps/blog/blog/other.html", "other\n");
    shop.write("apps/site/site/post.html", "post, edited\n");
    shop.commit("move");
    shop.run(&["apply"], 0);
    assert_eq!(shop.live("dev/post.html").as_deref(), Some("post, edited\n"));
    let cost = shop.counted(&["apply"]);
    assert_eq!(cost["ledger_rows"], 0, "settled");
}

#[test]
fn a_renamed_stack_is_past_and_its_files_are_listed_once() {
    let shop = Shop::new();
    shop.run(&["apply"], 0);
    let app = fs::read_to_string(shop.path("repo/apps/site/app.yaml")).expect("a file");
    shop.write("apps/site/app.yaml", &app.replace("app: site", "app: shop\npreviously: [site]"));
    shop.commit("rename");
    shop.run(&["apply"], 0);
    for (verb, rows) in [("status", "stacks"), ("state", "stacks"), ("at", "answers")] {
        let words = if verb == "at" { vec!["at", "now"] } else { vec![verb] };
        let listed = shop.json(&words);
        let names: Vec<&str> = listed[rows].as_array().expect("rows").iter().filter_map(|row| row["stack"].as_str()).collect();
        assert_eq!(names, ["dev/shop", "prod/shop"], "{verb} lists what is wanted");
    }
    let past = shop.json(&["at", "now", "dev/site"]);
    assert_eq!(past["answers"][0]["files"], serde_json::json!([]), "who asks by name learns that it holds nothing: {past}");
    assert!(shop.run(&["status", "dev/site"], 0).contains("nobody wants it any more"));
    assert_eq!(shop.json(&["state", "dev/site"])["stacks"][0]["resources"], serde_json::json!([]));
    // Before, it was what there was.
    let of_dev = |entry: &&Value| entry["stack"]["environment"] == "dev";
    let before = shop.log("verdict").iter().find(of_dev).and_then(|entry| entry["valid_from"].as_str()).expect("a time").to_owned();
    assert_eq!(shop.json(&["at", &before, "dev/site"])["answers"][0]["files"].as_array().map(Vec::len), Some(3));
}

#[test]
fn configuration_that_cannot_be_used_is_an_incident_until_it_is_corrected() {
    let shop = Shop::new();
    shop.run(&["apply"], 0);
    let app = fs::read_to_string(shop.path("repo/apps/site/app.yaml")).expect("a file");
    shop.write("apps/site/app.yaml", &app.replace("drift: hold", "drift: hodl"));
    shop.commit("a slip");
    shop.run(&["apply"], 2);
    shop.run(&["apply"], 2);
    let incidents = shop.json(&["incidents"]);
    let [incident] = incidents["incidents"].as_array().expect("a list").as_slice() else { panic!("one incident, not {incidents}") };
    assert_eq!((&incident["kind"], &incident["stack"]), (&"configuration".into(), &Value::Null));
    let told = shop.run(&["show", &incident["index"].to_string()], 0);
    assert!(told.contains("apps/site/app.yaml:5:") && told.contains("hodl"), "{told}");
    assert!(shop.run(&["status"], 3).contains("configuration since "), "status tells it too");
    // Whoever takes the last app away is told that nothing is deleted for it.
    shop.git(&["rm", "-q", "-r", "apps/site"]);
    shop.commit("no app at all");
    let said = shop.run(&["plan"], 2);
    assert!(said.contains("may still be desired: the configuration is not whole"), "{said}");
    shop.git(&["checkout", "-q", "HEAD~2", "--", "apps"]);
    shop.commit("as before");
    shop.run(&["apply"], 0);
    assert_eq!(shop.json(&["incidents"])["incidents"], serde_json::json!([]));
    assert_eq!(files(&shop.path("www/prod")), 3);
}

#[test]
fn fault_04_a_rewind_waits_for_a_word() {
    let shop = Shop::new();
    let first = shop.git(&["rev-parse", "HEAD"]);
    shop.write("apps/site/site/index.html", "two\n");
    shop.commit("second");
    shop.run(&["apply"], 0);
    shop.git(&["reset", "-q", "--hard", &first]);
    assert!(shop.run(&["apply"], 2).contains("history was rewritten"));
    assert_eq!(shop.live("dev/index.html").as_deref(), Some("two\n"));
    shop.run(&["answer", &shop.newest("incident.opened"), "accept", "--reason", "meant so"], 0);
    shop.run(&["apply"], 0);
    assert_eq!(shop.live("dev/index.html").as_deref(), Some("one\n"));
    shop.run(&["incidents"], 0);
}

#[test]
fn two_owners_keep_two_files() {
    let shop = Shop::new();
    let operator = format!(
        "sources:\n  shop: {{ git: {{ url: {}, branch: main }} }}\nenvironments:\n  prod: {{}}\ntargets:\n  web: {{ files: {{ root: {} }}, allow: [\"shop//apps/*\"] }}\napps: [\"shop//apps/*/app.yaml\"]\n",
        shop.path("repo").display(),
        shop.path("www").display()
    );
    fs::write(shop.path("operator.yaml"), operator).expect("written");
    shop.write("apps/site/app.yaml", "app: site\nrender: { plain: { path: site } }\nstacks:\n  prod: { target: web, into: prod }\n");
    shop.commit("one environment");
    shop.write("apps/site/site/index.html", "not committed\n");
    let config = shop.path("operator.yaml").display().to_string();
    shop.run(&["--config", &config, "plan"], 3);
    shop.run(&["--config", &config, "apply"], 0);
    assert_eq!(shop.live("prod/index.html").as_deref(), Some("one\n"), "only commits of another's repository count");
    assert_eq!(shop.counted(&["--config", &config, "apply"])["ledger_rows"], 0);
}

#[test]
fn a_suspended_stack_stands_still_and_others_go_on() {
    let shop = Shop::new();
    shop.run(&["apply"], 0);
    shop.run(&["suspend", "prod/site", "--reason", "migration"], 0);
    shop.write("apps/site/site/index.html", "two\n");
    shop.commit("second");
    shop.run(&["apply"], 3);
    assert_eq!((shop.live("dev/index.html").as_deref(), shop.live("prod/index.html").as_deref()), (Some("two\n"), Some("one\n")));
    assert!(shop.run(&["status"], 3).contains("trued resume prod/site"), "the next step can be copied as it stands");
    // Said twice is said once, and what is not suspended does not go on.
    assert!(shop.run(&["suspend", "prod/site"], 0).contains("is suspended already, by #"));
    shop.run(&["resume", "prod/site"], 0);
    assert!(shop.run(&["resume", "prod/site"], 1).contains("neither suspended nor rolled back"));
    assert_eq!((shop.log("suspend").len(), shop.log("resume").len()), (1, 1));
    shop.run(&["apply"], 0);
    assert_eq!(shop.live("prod/index.html").as_deref(), Some("two\n"));
}

#[test]
fn what_went_wrong_is_told_once() {
    let shop = Shop::new();
    let operator = fs::read_to_string(shop.path("repo/trued.yaml")).expect("a file");
    let app = fs::read_to_string(shop.path("repo/apps/site/app.yaml")).expect("a file");
    shop.write("trued.yaml", &format!("{operator}secrets: {{ word: {{ env: TRUED_TEST_NOWHERE }} }}\n"));
    shop.write("apps/site/app.yaml", &app.replace("plain: { path: site }", "template: { path: site, vars: { word: { secret: word } } }"));
    shop.commit("a secret that is not here");
    let said = shop.run(&["plan"], 1);
    assert_eq!(said.matches("the environment has no TRUED_TEST_NOWHERE").count(), 2, "once for each stack: {said}");
}

#[test]
fn a_word_counts_as_long_as_its_item_is_open_and_once() {
    let shop = Shop::new();
    shop.run(&["apply"], 0);
    fs::write(shop.path("www/prod/index.html"), "by hand\n").expect("written");
    shop.run(&["apply"], 3);
    let drift = shop.newest("drift.opened");
    shop.run(&["answer", &drift, "revert"], 0);
    assert!(shop.run(&["answer", &drift, "revert"], 0).contains("was answered with revert already, by #"));
    assert_eq!(shop.log("answered").len(), 1);
    // Another word is another word, and the newest counts.
    shop.run(&["answer", &drift, "ignore", "--until", "2999-01-01"], 0);
    shop.run(&["answer", &drift, "revert"], 0);
    shop.run(&["apply"], 0);
    assert_eq!(shop.live("prod/index.html").as_deref(), Some("one\n"));
    let said = shop.run(&["answer", &drift, "revert"], 1);
    assert!(said.contains(&format!("#{drift} is closed")) && said.contains("trued incidents"), "{said}");
    assert_eq!(shop.log("answered").len(), 3);
    // What was found can still be had as a patch.
    assert!(shop.run(&["adopt", &drift], 0).contains("+by hand"));
}

#[test]
fn a_target_that_the_operator_moves_is_looked_at_at_once() {
    let mut shop = Shop::new();
    let app = fs::read_to_string(shop.path("repo/apps/site/app.yaml")).expect("a file");
    // Nobody comes by soon of his own accord.
    shop.write("apps/site/app.yaml", &format!("{app}interval: 1d\n"));
    let operator = fs::read_to_string(shop.path("repo/trued.yaml")).expect("a file");
    shop.commit("rarely");
    shop.run(&["apply"], 0);
    shop.serve();
    shop.until("serve answers", || shop.path("state/control.sock").exists());
    shop.write("trued.yaml", &operator.replace("/www }", "/elsewhere, create: true }"));
    shop.commit("another disk");
    shop.until("it is there", || shop.path("elsewhere/dev/index.html").exists());
}

#[test]
fn status_tells_that_what_is_declared_now_does_not_render() {
    let shop = Shop::new();
    shop.run(&["apply"], 0);
    let app = fs::read_to_string(shop.path("repo/apps/site/app.yaml")).expect("a file");
    shop.write("apps/site/app.yaml", &app.replace("plain:", "template:"));
    shop.write("apps/site/site/new.html.j2", "{{ nobody }}\n");
    shop.commit("a slip");
    shop.run(&["apply"], 2);
    let said = shop.run(&["status"], 3);
    assert!(said.contains("  incident #") && said.contains(" render: ") && said.contains("nobody"), "{said}");
    assert_eq!(shop.json(&["status"])["stacks"][0]["incidents"], serde_json::json!(["render"]));
    let said = shop.run(&["incidents"], 3);
    assert!(said.contains("nobody"), "what is wrong stands there, not only what to do: {said}");
}

#[test]
fn an_apply_that_is_handed_to_serve_tells_as_much_as_its_own_would() {
    let mut shop = Shop::new();
    let app = fs::read_to_string(shop.path("repo/apps/site/app.yaml")).expect("a file");
    shop.write("apps/site/app.yaml", &format!("{app}verify: [{{ command: {{ argv: [sh, -c, \"exit 1\"], within: 1s }} }}]\n"));
    shop.commit("a check");
    assert!(!shop.run(&["apply"], 1).contains("rollback"), "there is nothing to go back to");
    shop.run(&["suspend", "prod/site"], 0);
    shop.write("apps/site/site/index.html", "two\n");
    shop.commit("waits in prod");
    let alone = shop.run(&["apply"], 1);
    shop.serve();
    shop.until("serve answers", || shop.path("state/control.sock").exists());
    let handed = shop.run(&["apply"], 1);
    for told in ["failed command", "commit a fix", "trued resume prod/site", "waits suspended"] {
        assert!(alone.contains(told) && handed.contains(told), "{told}:\n{alone}\n{handed}");
    }
    let (words, keys) = (["apply"], |value: &Value| value.as_object().map(|value| value.keys().cloned().collect::<Vec<_>>()));
    let handed = shop.json(&words);
    shop.kill();
    assert_eq!(keys(&handed), keys(&shop.json(&words)), "one form, whoever does it");
    shop.serve();
    shop.until("serve answers", || shop.command().arg("reconcile").output().is_ok_and(|said| said.status.code() == Some(1)));
}

#[test]
fn adopted_drift_is_a_patch_that_git_takes() {
    let shop = Shop::new();
    shop.run(&["apply"], 0);
    fs::write(shop.path("www/prod/index.html"), "one\nby hand\n").expect("edited");
    shop.run(&["apply"], 3);
    let output = shop.command().args(["adopt", &shop.newest("drift.opened"), "--reason", "good idea"]).output().expect("trued runs");
    assert!(output.status.success());
    fs::write(shop.path("hand.patch"), &output.stdout).expect("written");
    shop.git(&["apply", &shop.path("hand.patch").display().to_string()]);
    shop.commit("adopted");
    shop.run(&["apply"], 0);
    assert_eq!(shop.live("prod/index.html").as_deref(), Some("one\nby hand\n"));
    assert_eq!(shop.live("dev/index.html").as_deref(), Some("one\nby hand\n"));
    shop.run(&["incidents"], 0);
}

#[test]
fn a_stack_that_is_no_longer_configured_asks_what_to_do() {
    let shop = Shop::new();
    shop.run(&["apply"], 0);
    shop.write("apps/site/app.yaml", "app: site\nrender: { plain: { path: site } }\nstacks:\n  dev:  { target: web, into: dev }\n");
    shop.commit("no prod");
    shop.run(&["apply"], 3);
    assert_eq!(files(&shop.path("www/prod")), 3, "nothing goes by itself");
    shop.run(&["answer", &shop.newest("held"), "delete", "--reason", "moved out"], 0);
    shop.run(&["apply"], 0);
    assert_eq!(files(&shop.path("www/prod")), 0);
    assert_eq!(files(&shop.path("www/dev")), 3);
}

#[test]
fn commands_run_once_per_set_of_changes_and_checks_decide() {
    let shop = Shop::new();
    let (ran, works) = (shop.path("ran"), shop.path("works"));
    let app = format!(
        "app: site\nrender: {{ plain: {{ path: site }} }}\nstacks:\n  dev: {{ target: web, into: dev, rollback: true }}\non_change: [[mkdir, {}]]\nverify: [{{ command: [test, -e, {}] }}]\n",
        ran.display(),
        works.display()
    );
    fs::write(&works, "").expect("written");
    shop.write("apps/site/app.yaml", &app);
    shop.commit("with commands");
    shop.run(&["apply"], 0);
    assert!(ran.is_dir());
    shop.run(&["apply"], 0);
    let commands = |shop: &Shop| shop.log("intent").iter().filter(|entry| entry["body"]["command"].is_string()).count();
    assert_eq!(commands(&shop), 1, "nothing changed, nothing ran");
}

#[test]
fn hand_edits_are_seen_while_serving_and_words_are_heard() {
    let mut shop = Shop::new();
    shop.serve();
    shop.until("the first commit to land", || shop.log("verdict").len() >= 2);
    for place in ["dev", "prod"] {
        fs::write(shop.path("www").join(place).join("index.html"), "one\nstray 7731\n").expect("edited");
    }
    shop.until("dev to be put back", || shop.live("dev/index.html").as_deref() == Some("one\n"));
    shop.until("both to be on record", || shop.log("drift.opened").len() == 2);
    assert_eq!(shop.live("prod/index.html").as_deref(), Some("one\nstray 7731\n"), "prod holds");
    let prod = shop.log("drift.opened").into_iter().find(|entry| entry["stack"]["environment"] == "prod").expect("drift in prod");
    let index = prod["index"].to_string();
    assert!(shop.run(&["show", &index], 0).contains("stray 7731"), "their bytes are on record");
    shop.run(&["answer", &index, "revert", "--reason", "no"], 0);
    shop.until("prod to be put back", || shop.live("prod/index.html").as_deref() == Some("one\n"));
    shop.until("both episodes to be closed", || shop.log("drift.closed").len() == 2);
    shop.write("apps/site/site/index.html", "two\n");
    shop.commit("second");
    shop.until("a commit to land", || shop.live("prod/index.html").as_deref() == Some("two\n"));
    let refused = shop.run(&["serve"], 1);
    assert!(refused.contains("serve runs"), "{refused}");
}

#[test]
fn fault_41_a_killed_apply_is_looked_at_closed_and_continued() {
    const MANY: usize = 1500;
    let mut shop = Shop::new();
    shop.serve();
    shop.until("the first commit to land", || shop.log("verdict").len() >= 2);
    for edition in 1..=8 {
        for file in 0..MANY {
            shop.write(&format!("apps/site/site/items/{}/{file}.txt", file % 30), &format!("{file} in edition {edition}\n"));
        }
        let before = shop.log("receipt").len();
        shop.commit("many");
        shop.until("a receipt", || shop.log("receipt").len() > before);
        shop.kill();
        let closed = shop.log("verdict").iter().filter(|entry| entry["body"]["outcome"] == "interrupted").count();
        shop.serve();
        shop.until("everything to be in place", || {
            ["dev", "prod"].iter().all(|place| {
                let last = format!("{place}/items/{}/{}.txt", (MANY - 1) % 30, MANY - 1);
                shop.live(&last) == Some(format!("{} in edition {edition}\n", MANY - 1)) && files(&shop.path("www").join(place)) == MANY + 3
            })
        });
        let now = || shop.log("verdict").iter().filter(|entry| entry["body"]["outcome"] == "interrupted").count();
        shop.until("all runs to have ended", || shop.log("intent").len() == shop.log("verdict").len());
        if now() > closed {
            shop.kill();
            shop.run(&["verify", "--deep"], 0);
            return;
        }
    }
    panic!("no kill fell into an apply");
}

/// Stacks one after the other on one target: `a` after `b` after `c`, and `free` after nobody.
fn chain(shop: &Shop, c: &str) {
    let root = |name: &str| shop.path("www").join(name).display().to_string();
    let stack = |name: &str, more: &str| {
        format!("  {name}: {{ path: {name}, target: {{ files: {{ root: {}, create: true }} }}{more} }}\n", root(name))
    };
    let stacks = [stack("a", ", after: [b]"), stack("b", ", after: [c]"), stack("c", c), stack("free", "")].concat();
    shop.write("trued.yaml", &format!("stacks:\n{stacks}"));
}

#[test]
fn stacks_land_in_turn_and_one_that_fails_blocks_only_those_after_it() {
    let shop = Shop::new();
    for name in ["a", "b", "c", "free"] {
        shop.write(&format!("{name}/file"), "1\n");
    }
    chain(&shop, "");
    shop.run(&["apply"], 0);
    let landed = |shop: &Shop| -> Vec<String> {
        let verdicts = shop.log("verdict");
        verdicts.iter().map(|entry| entry["stack"]["app"].as_str().expect("a name").to_owned()).filter(|app| app != "free").collect()
    };
    assert_eq!(landed(&shop), ["c", "b", "a"]);
    // What comes first does not work: only what is new waits for it.
    for name in ["a", "c", "free"] {
        shop.write(&format!("{name}/file"), "2\n");
    }
    chain(&shop, ", verify: [{ command: [\"false\"] }]");
    let said = shop.run(&["apply"], 1);
    assert_eq!((shop.live("a/file"), shop.live("free/file")), (Some("2\n".into()), Some("2\n".into())), "b has nothing new: {said}");
    shop.write("b/file", "3\n");
    shop.write("a/file", "3\n");
    let said = shop.run(&["apply"], 1);
    assert!(said.contains("blocked by c, which has not landed") && said.contains("blocked by b, which has not landed"), "{said}");
    assert_eq!((shop.live("a/file"), shop.live("b/file")), (Some("2\n".into()), Some("1\n".into())));
    // What landed is kept as it is.
    fs::write(shop.path("www/b/file"), "by hand\n").expect("written");
    shop.run(&["apply"], 1);
    let plan = shop.json(&["plan"]);
    let held: Vec<&Value> = plan["plans"].as_array().expect("plans").iter().filter(|plan| plan["held"] != serde_json::json!([])).collect();
    assert_eq!(held.len(), 2, "{plan:#}");
    chain(&shop, "");
    shop.run(&["apply"], 0);
    assert_eq!((shop.live("a/file"), shop.live("b/file")), (Some("3\n".into()), Some("3\n".into())));
    assert_eq!(landed(&shop).split_off(landed(&shop).len() - 2), ["b", "a"]);
    assert_eq!(shop.counted(&["apply"])["ledger_rows"], 0);
}

#[test]
fn fault_39_while_serving_a_circle_stops_nobody_else_and_what_waits_goes_on_when_it_may() {
    let mut shop = Shop::new();
    for name in ["a", "b", "c", "free"] {
        shop.write(&format!("{name}/file"), "1\n");
    }
    chain(&shop, "");
    shop.commit("a chain");
    shop.serve();
    shop.until("the chain", || shop.live("a/file").is_some());
    chain(&shop, ", after: [a]");
    shop.write("free/file", "2\n");
    shop.commit("a circle");
    shop.until("the one that is free", || shop.live("free/file").as_deref() == Some("2\n"));
    let said = shop.run(&["check"], 2);
    assert!(said.contains("stacks wait for each other: a → b → c → a"), "{said}");
    assert_eq!(shop.live("a/file").as_deref(), Some("1\n"), "nothing of the circle goes");
    // The first of the chain does not pass its check, until the next commit.
    chain(&shop, ", verify: [{ command: [\"false\"] }]");
    for name in ["a", "b", "c"] {
        shop.write(&format!("{name}/file"), "3\n");
    }
    shop.commit("no circle, and one that fails");
    shop.until("the first", || shop.live("c/file").as_deref() == Some("3\n"));
    shop.until("the hold", || shop.run(&["status"], 3).contains("blocked"));
    assert_eq!(shop.live("b/file").as_deref(), Some("1\n"));
    chain(&shop, "");
    shop.commit("mended");
    shop.until("the last", || shop.live("a/file").as_deref() == Some("3\n"));
    // It is there a moment before it is on record.
    shop.until("its verdict", || shop.log("verdict").iter().filter(|entry| entry["stack"]["app"] == "a").count() == 2);
    let verdicts = shop.log("verdict");
    let order: Vec<&str> =
        verdicts.iter().filter_map(|entry| entry["stack"]["app"].as_str()).filter(|app| ["a", "b"].contains(app)).collect();
    assert_eq!(order, ["b", "a", "b", "a"], "once each, in turn");
}

#[test]
fn the_demo_plays_to_its_end_and_leaves_nothing() {
    let output = Command::new(TRUED).args(["demo", "--pace", "0"]).stdin(Stdio::null()).output().expect("the demo runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "0 renders, 0 writes, 0 rows",
        "nothing goes without a yes",
        "looked; closed",
        "the source was not there",
        "broken: entry #",
        "proven:",
    ] {
        assert!(said.contains(part), "{part:?} is missing from\n{said}");
    }
    let folder = said.lines().find_map(|line| line.split(" ran in ").nth(1)).expect("the folder is named");
    assert!(!Path::new(folder.trim()).exists(), "the folder is gone");
}
