//! Secrets that lie encrypted in the repository: opened at the revision that is rendered, with an identity of this machine.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::kit::Project;

/// Files that SOPS wrote, and the identity that opens them.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../secrets/tests/fixtures");

/// A project whose secret is the `age` file `repo/secrets/token.age`; and the public key to encrypt to.
fn with_age(value: &str) -> (Project, String) {
    let project = Project::new("secrets:\n  token: { age: secrets/token.age, identity: { file: ../age.key } }\n");
    let made = Command::new("age-keygen").output().expect("age is installed (Debian: apt-get install age)");
    project.write("age.key", &made.stdout, 0o600);
    let text = String::from_utf8(made.stdout).expect("text");
    let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("a public key").to_owned();
    encrypt(&project, &recipient, value);
    (project, recipient)
}

fn encrypt(project: &Project, recipient: &str, value: &str) {
    let mut age =
        Command::new("age").args(["-a", "-r", recipient]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("age starts");
    age.stdin.take().expect("its input").write_all(value.as_bytes()).expect("written");
    let done = age.wait_with_output().expect("age ends");
    assert!(done.status.success());
    project.write("repo/secrets/token.age", done.stdout, 0o644);
}

fn with_sops(key: &str) -> Project {
    let project = Project::new("");
    configure_sops(&project, key);
    project.write("sops.key", fs::read(Path::new(FIXTURES).join("throwaway.key")).expect("a fixture"), 0o600);
    project.write("repo/secrets/prod.yaml", fs::read(Path::new(FIXTURES).join("prod.yaml")).expect("a fixture"), 0o644);
    project
}

fn configure_sops(project: &Project, key: &str) {
    project.configure(&format!("secrets:\n  token: {{ sops: secrets/prod.yaml, key: {key}, identity: {{ file: ../sops.key }} }}\n"));
}

#[test]
fn an_age_file_is_rendered_and_its_new_value_follows() {
    let (project, recipient) = with_age("hunter2\n");
    let plan = project.run(&["plan"], 3);
    assert!(!plan.contains("hunter2"), "{plan}");
    project.run(&["apply"], 0);
    assert_eq!(project.live("token.conf").as_deref(), Some("token = hunter2\n"));

    // The same value encrypted anew is other bytes in the repository, and nothing to write.
    encrypt(&project, &recipient, "hunter2\n");
    let counted = project.counted(&["apply"]);
    assert_eq!((&counted["target_writes"], &counted["renders"]), (&0.into(), &0.into()), "{counted}");

    encrypt(&project, &recipient, "hunter3\n");
    let counted = project.counted(&["apply"]);
    assert_eq!((&counted["target_writes"], &counted["renders"]), (&1.into(), &1.into()), "{counted}");
    assert_eq!(project.live("token.conf").as_deref(), Some("token = hunter3\n"));
}

#[test]
fn a_value_of_a_sops_file_is_rendered_by_its_key() {
    let project = with_sops("db.password");
    project.run(&["apply"], 0);
    assert_eq!(project.live("token.conf").as_deref(), Some("token = canary-of-the-yaml-file\n"));
    configure_sops(&project, "users.0.token");
    project.run(&["apply"], 0);
    assert_eq!(project.live("token.conf").as_deref(), Some("token = canary-in-a-list\n"));
}

#[test]
fn what_is_wrong_in_the_repository_is_a_finding_with_its_place() {
    let project = with_sops("db.passwort");
    for verb in ["plan", "apply"] {
        let said = project.run(&[verb], 2);
        assert!(said.contains("secrets/prod.yaml:3") && said.contains("has no `db.passwort`"), "{said}");
    }
    configure_sops(&project, "db.password");
    let good = fs::read_to_string(project.path("repo/secrets/prod.yaml")).expect("the file");
    project.write("repo/secrets/prod.yaml", good.replace("level_unencrypted: 3", "level_unencrypted: 4"), 0o644);
    let said = project.run(&["apply"], 2);
    assert!(said.contains("secrets/prod.yaml") && said.contains("MAC"), "{said}");
    fs::remove_file(project.path("repo/secrets/prod.yaml")).expect("removed");
    let said = project.run(&["apply"], 2);
    assert!(said.contains("secret token") && said.contains("secrets/prod.yaml"), "{said}");
    assert_eq!(project.live("token.conf"), None, "nothing is half applied");
    assert_eq!(project.live("public.txt"), None, "nothing is half applied");
}

#[test]
fn a_missing_or_wrong_identity_is_said_and_the_last_good_state_stays() {
    let (project, _) = with_age("hunter2");
    project.run(&["apply"], 0);
    fs::rename(project.path("age.key"), project.path("away.key")).expect("moved");
    let said = project.run(&["apply"], 2);
    assert!(said.contains("secret token") && said.contains("age.key does not exist"), "{said}");
    project.write("age.key", fs::read(Path::new(FIXTURES).join("other.key")).expect("a fixture"), 0o600);
    let said = project.run(&["apply"], 2);
    assert!(said.contains("not encrypted to the identity"), "{said}");
    assert_eq!(project.live("token.conf").as_deref(), Some("token = hunter2\n"));
    project.run(&["verify"], 0);
}
