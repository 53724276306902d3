//! Signatures from outside: two owners, a repository with signed and unsigned commits, and what the record says of them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const TRUED: &str = env!("CARGO_BIN_EXE_trued");

/// A repository, people with keys, an operator's file that says what must be signed.
struct Shop {
    folder: tempfile::TempDir,
}

impl Shop {
    /// `policy` stands in the settings of the source, each line of it.
    fn new(policy: &[&str]) -> Shop {
        let shop = Shop { folder: tempfile::tempdir().expect("a folder") };
        for folder in ["repo", "www", "gpg"] {
            fs::create_dir_all(shop.path(folder)).expect("made");
        }
        fs::set_permissions(shop.path("gpg"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("ours");
        let mut signers = "# the team\n".to_owned();
        for person in ["alice", "bob", "eve"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(shop.path(person)).status();
            assert!(made.expect("this test needs ssh-keygen (Debian: openssh-client)").success());
            let public = fs::read_to_string(shop.path(&format!("{person}.pub"))).expect("made");
            signers.push_str(&if person == "eve" { String::new() } else { format!("{person}@x {public}") });
        }
        fs::write(shop.path("signers"), signers).expect("written");
        shop.operator(policy);
        shop.git(None, &["init", "-q", "-b", "main"]);
        shop.write("apps/site/app.yaml", "app: site\nrender: { plain: { path: site } }\nstacks:\n  prod: { target: web }\n");
        shop
    }

    fn operator(&self, policy: &[&str]) {
        let policy: String = policy.iter().map(|line| format!("      {line}\n")).collect();
        let text = format!(
            "sources:\n  shop:\n    git:\n      path: repo\n      branch: main\n{policy}environments:\n  prod: {{}}\ntargets:\n  web: {{ files: {{ root: {} }}, allow: [\"shop//apps/*\"] }}\napps: [\"shop//apps/*/app.yaml\"]\n",
            self.path("www").display()
        );
        fs::write(self.path("operator.yaml"), text).expect("written");
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn write(&self, below: &str, text: &str) {
        let path = self.path("repo").join(below);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn program(&self, name: &str) -> Command {
        let mut program = Command::new(name);
        program.current_dir(self.path("repo")).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.folder.path());
        program.env("GNUPGHOME", self.path("gpg")).env("GIT_CONFIG_NOSYSTEM", "1").stdin(Stdio::null());
        program
    }

    fn git(&self, signed_by: Option<&str>, words: &[&str]) -> String {
        let mut git = self.program("git");
        git.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]);
        if let Some(person) = signed_by {
            git.args(["-c", "gpg.format=ssh", "-c", &format!("user.signingkey={}", self.path(person).display())]);
        }
        let output = git.args(words).output().expect("git runs");
        assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Commits a text of the site; nobody signs where nobody is named.
    fn commit(&self, person: Option<&str>, text: &str) -> String {
        self.write("apps/site/site/index.html", text);
        self.git(None, &["add", "-A"]);
        let sign = if person.is_some() { "-S" } else { "--no-gpg-sign" };
        self.git(person, &["commit", "-q", sign, "-m", text]);
        self.git(None, &["rev-parse", "HEAD"])
    }

    fn command(&self) -> Command {
        let mut command = Command::new(TRUED);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("TRUED_CONFIG", self.path("operator.yaml")).env("TRUED_STATE", self.path("state"));
        command
    }

    /// Runs a verb and asserts its exit status.
    #[track_caller]
    fn run(&self, words: &[&str], status: i32) -> String {
        let output = self.command().args(words).output().expect("trued runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "trued {words:?}: {said}");
        said
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let output = self.command().args(["log", "--output", "json", "--kind", kind]).output().expect("trued runs");
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("an entry")).collect()
    }

    fn live(&self) -> Option<String> {
        fs::read_to_string(self.path("www/index.html")).ok()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.path("gpg")).args(["--kill", "all"]).output();
    }
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(text.contains(word), "{text}\ndoes not say {word:?}"));
}

#[test]
fn only_signed_commits_are_applied_and_the_last_good_one_stays() {
    let shop = Shop::new(&["verify: all", "signers: { ssh: signers }"]);
    let plain = shop.commit(None, "nobody");
    says(&shop.run(&["plan"], 1), &["source shop: ", &plain[..12], "is not accepted", "not signed", "there is no earlier revision"]);
    shop.run(&["apply"], 1);
    assert_eq!(shop.live(), None);

    let first = shop.commit(Some("alice"), "one");
    shop.run(&["apply"], 0);
    assert_eq!(shop.live().as_deref(), Some("one"));
    assert_eq!(shop.log("incident.closed").len(), 1);

    // An unsigned commit, then a stranger's; both leave what is there, and the incident follows.
    let hidden = shop.commit(None, "two");
    says(&shop.run(&["apply"], 2), &[&hidden[..12], "not signed", &format!("revision {} stays, stale since", &first[..12])]);
    says(&shop.run(&["incidents"], 3), &["source shop: unverified since", "let a listed signer sign it"]);
    let strange = shop.commit(Some("eve"), "three");
    says(&shop.run(&["apply"], 2), &[&strange[..12], "not listed", &hidden[..12]]);
    // A good signature on top does not cover what lies below it.
    shop.commit(Some("bob"), "four");
    says(&shop.run(&["apply"], 2), &[&hidden[..12], &strange[..12]]);
    assert_eq!(shop.live().as_deref(), Some("one"));
    let rows = shop.log("incident.opened").len();
    shop.run(&["apply"], 2);
    assert_eq!(shop.log("incident.opened").len(), rows, "one incident as long as nothing is new");

    // History without them follows what was verified.
    shop.git(None, &["reset", "-q", "--hard", &first]);
    let last = shop.commit(Some("bob"), "five");
    shop.run(&["apply"], 0);
    assert_eq!(shop.live().as_deref(), Some("five"));
    says(&shop.run(&["incidents"], 0), &[]);

    // Who signed is on record, and bound to the commit.
    let verdicts = shop.log("verified");
    assert_eq!(verdicts.len(), 2);
    let body = &verdicts[1]["body"];
    assert_eq!((&verdicts[1]["revision"], &body["since"], &body["commits"]), (&last.into(), &first.into(), &1.into()));
    assert!(
        body["signatures"][0]["name"] == "bob@x"
            && body["signatures"][0]["key"].as_str().is_some_and(|key| key.starts_with("ED25519 SHA256:"))
    );
    says(&shop.run(&["log"], 0), &["source shop signed by bob@x ED25519 SHA256:"]);
    says(&shop.run(&["why", "prod/site"], 0), &["signed by bob@x"]);
    says(&shop.run(&["who", "prod/site", "index.html"], 0), &["bob@x signed commit", "signature ED25519 SHA256:", "grade A-"]);
    shop.run(&["verify"], 0);
    let rows = shop.log("verified").len();
    shop.run(&["apply"], 0);
    assert_eq!(shop.log("verified").len(), rows, "a verdict is made once");
}

#[test]
fn a_guarded_path_waits_for_its_second_person() {
    let guard = "paths: { \"apps/site/**\": { threshold: 2, keys: [alice@x, bob@x] } }";
    let shop = Shop::new(&["verify: head", "signers: { ssh: signers }", guard]);
    let first = shop.commit(Some("alice"), "one");
    says(&shop.run(&["plan"], 1), &["apps/site/site/index.html", "needs 2 of alice@x, bob@x", "only alice@x vouches", "git tag -s"]);
    shop.git(Some("bob"), &["tag", "-s", "-m", "approved", "approve-1", &first]);
    shop.run(&["apply"], 0);
    assert_eq!(shop.live().as_deref(), Some("one"));
    shop.commit(Some("alice"), "two");
    shop.run(&["apply"], 2);
    // Moving the old approval does not make it one for the new commit.
    let old = shop.git(None, &["rev-parse", "refs/tags/approve-1"]);
    shop.git(None, &["update-ref", "refs/tags/approve-2", &old]);
    shop.run(&["apply"], 2);
    assert_eq!(shop.live().as_deref(), Some("one"));
    shop.git(Some("bob"), &["tag", "-s", "-m", "approved", "approve-3", "HEAD"]);
    shop.run(&["apply"], 0);
    assert_eq!(shop.live().as_deref(), Some("two"));
    says(&shop.run(&["who", "prod/site"], 0), &["alice@x signed commit", "bob@x signed tag approve-3"]);
}

#[test]
fn who_may_sign_is_configuration_and_a_change_is_on_record() {
    let shop = Shop::new(&["verify: head", "signers: { ssh: signers }"]);
    shop.commit(Some("alice"), "one");
    shop.run(&["apply"], 0);
    let signers = fs::read_to_string(shop.path("signers")).expect("written");
    let eve = fs::read_to_string(shop.path("eve.pub")).expect("made");
    fs::write(shop.path("signers"), format!("{}eve@x {eve}", signers.replace("alice@x", "# alice@x"))).expect("written");
    shop.run(&["apply"], 0);
    let changed = shop.log("config.changed").last().expect("an entry")["body"]["lines"].to_string();
    says(&changed, &["source shop: alice@x may not sign any more", "source shop: eve@x may sign with ED25519 SHA256:"]);
    assert_eq!(shop.live().as_deref(), Some("one"), "what was accepted stays");
    shop.commit(Some("alice"), "two");
    says(&shop.run(&["apply"], 2), &["not listed"]);
    shop.commit(Some("eve"), "three");
    shop.run(&["apply"], 0);

    shop.operator(&["verify: none"]);
    shop.commit(None, "four");
    shop.run(&["apply"], 0);
    says(&shop.log("config.changed").last().expect("an entry")["body"]["lines"].to_string(), &["verify"]);
    assert_eq!(shop.live().as_deref(), Some("four"));
}

#[test]
fn what_a_repository_says_of_its_own_signatures_counts_for_nothing() {
    let shop = Shop::new(&["verify: head", "signers: { ssh: signers }"]);
    shop.commit(Some("alice"), "one");
    shop.run(&["apply"], 0);
    // All the places where somebody might look for a policy, in a commit that a stranger signed.
    let eve = fs::read_to_string(shop.path("eve.pub")).expect("made");
    shop.write("signers", &format!("eve@x {eve}"));
    let loose = fs::read_to_string(shop.path("operator.yaml")).expect("written").replace("verify: head", "verify: none");
    ["trued.yaml", "operator.yaml"].iter().for_each(|file| shop.write(file, &loose));
    shop.commit(Some("eve"), "two");
    shop.git(None, &["config", "gpg.ssh.allowedSignersFile", "signers"]);
    shop.git(None, &["config", "gpg.ssh.program", "/bin/true"]);
    says(&shop.run(&["apply"], 2), &["not listed"]);
    assert_eq!(shop.live().as_deref(), Some("one"));
}

#[test]
fn serve_takes_up_a_changed_policy_without_a_restart() {
    let shop = Shop::new(&["verify: none"]);
    shop.commit(None, "one");
    let mut serve = Serve(shop.command().args(["serve", "--poll", "100ms"]).stdout(Stdio::null()).spawn().expect("serve starts"));
    let live = |text: &'static str| until(text, || shop.live().as_deref() == Some(text));
    live("one");
    shop.operator(&["verify: head", "signers: { ssh: signers }"]);
    until("the configuration's change", || shop.log("config.changed").len() >= 2);
    let plain = shop.commit(None, "two");
    until("an incident", || shop.log("incident.opened").iter().any(|entry| entry["revision"] == plain.as_str()));
    assert_eq!(shop.live().as_deref(), Some("one"));
    shop.commit(Some("alice"), "three");
    live("three");
    // So is another address, and another root of a target.
    shop.git(None, &["clone", "-q", "--bare", ".", "../other"]);
    fs::create_dir(shop.path("www/new")).expect("made");
    let operator = fs::read_to_string(shop.path("operator.yaml")).expect("written").replace("path: repo", "path: other");
    fs::write(shop.path("operator.yaml"), operator.replace("root: ", "root: \"").replace("/www }", "/www/new\" }")).expect("written");
    shop.commit(Some("bob"), "four");
    shop.git(None, &["push", "-q", "../other", "main"]);
    until("four", || fs::read_to_string(shop.path("www/new/index.html")).is_ok_and(|text| text == "four"));
    assert!(serve.0.try_wait().expect("asked").is_none(), "serve runs on");
}

/// A `serve` that ends with the test.
struct Serve(std::process::Child);

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn until(what: &str, look: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !look() {
        assert!(Instant::now() < end, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn openpgp_signatures_count_as_well() {
    let shop = Shop::new(&["verify: head", "signers: { pgp: keys.asc }"]);
    let made =
        shop.program("gpg").args(["--batch", "--passphrase", "", "--quick-gen-key", "Ann <ann@example.org>", "ed25519", "sign"]).output();
    assert!(made.expect("this test needs gpg (Debian: gnupg)").status.success());
    let exported = shop.program("gpg").args(["--batch", "--armor", "--export", "ann@example.org"]).output().expect("gpg runs").stdout;
    fs::write(shop.path("keys.asc"), exported).expect("written");
    shop.write("apps/site/site/index.html", "one");
    shop.git(None, &["add", "-A"]);
    shop.git(None, &["-c", "user.signingkey=ann@example.org", "commit", "-q", "-S", "-m", "one"]);
    shop.run(&["apply"], 0);
    says(&shop.run(&["log"], 0), &["signed by ann@example.org EDDSA "]);
}

#[test]
fn what_is_wrong_with_a_policy_is_told_with_its_place() {
    let shop = Shop::new(&["verify: all", "signers: { ssh: none }", "paths: { \"a/**\": { threshold: 3, keys: [alice@x] } }"]);
    shop.commit(Some("alice"), "one");
    says(&shop.run(&["check"], 2), &["operator.yaml:7:", "cannot be read"]);
    says(&shop.run(&["apply"], 2), &["cannot be read"]);
    assert_eq!(shop.live(), None);
    fs::write(shop.path("none"), "alice@x ssh-ed25519 AAAA\n").expect("written");
    says(&shop.run(&["check"], 2), &["none:1:1", "this signer cannot be used", "cut short"]);
    shop.operator(&["verify: all", "signers: { ssh: signers }", "paths: { \"a/**\": { threshold: 3, keys: [alice@x, mallory] } }"]);
    says(&shop.run(&["check"], 2), &["operator.yaml:8:", "no signer is called `mallory`"]);
    shop.operator(&["verify: some"]);
    says(&shop.run(&["check"], 2), &["operator.yaml:6:"]);
}
