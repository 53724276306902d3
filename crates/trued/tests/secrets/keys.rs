//! The data key: born in a plan, rotated, interrupted, lost.

use std::fs;
use std::process::Command;

use crate::kit::{TRUED, in_a_file, names};

#[test]
fn a_plan_before_the_first_apply_gives_the_digest_that_approve_takes() {
    let project = in_a_file();
    project.write("www/token.conf", "somebody else's\n", 0o600);
    let plan = project.json(&["plan"]);
    let digest = plan["plans"][0]["digest"].as_str().expect("a digest").to_owned();
    assert_eq!(project.json(&["plan"])["plans"][0]["digest"], digest.as_str(), "planning again gives the same digest");
    assert_eq!(names(&project.path("state")), ["cache"], "a plan writes nothing but cache/");
    project.run(&["approve", &digest, "--reason", "seen"], 0);
    project.run(&["apply"], 0);
    assert_eq!(project.live("token.conf").as_deref(), Some("token = hunter2\n"), "what was approved is what ran");
    assert_eq!(project.json(&["plan"])["plans"][0]["changes"], serde_json::json!([]));
}

#[test]
fn a_rotation_changes_nothing_on_the_target_and_keeps_old_releases() {
    let project = in_a_file();
    project.run(&["apply"], 0);
    project.write("token", "hunter3\n", 0o600);
    project.run(&["apply"], 0);
    let before = project.json(&["keys"])["keys"].as_array().expect("keys").clone();
    let said = project.run(&["keys", "rotate", "--reason", "a new disk"], 0);
    assert!(said.contains("seals from now on"), "{said}");
    let after = project.json(&["keys"])["keys"].as_array().expect("keys").clone();
    assert_eq!((before.len(), after.len(), &after[0]["key"]), (1, 2, &before[0]["key"]));
    assert_eq!((&after[0]["seals"], &after[1]["seals"]), (&false.into(), &true.into()));

    // With a render that is remembered and with one that is made again.
    for forget in [false, true] {
        if forget {
            fs::remove_dir_all(project.path("state/cache")).expect("a cache");
        }
        project.run(&["plan"], 0);
        let counted = project.counted(&["apply"]);
        assert_eq!((&counted["target_writes"], &counted["ledger_rows"]), (&0.into(), &0.into()), "{counted}");
    }

    // What is sealed under the new key stands beside what the old one sealed; both open with the source of the secret gone.
    project.write("token", "hunter4\n", 0o600);
    project.run(&["apply"], 0);
    fs::remove_file(project.path("token")).expect("removed");
    for (release, expected) in project.log("verdict").iter().zip(["hunter2", "hunter3"]) {
        project.run(&["rollback", "site", &format!("#{}", release["index"])], 3);
        assert_eq!(project.live("token.conf"), Some(format!("token = {expected}\n")));
    }
    let entry = &project.log("key.rotated")[0];
    assert_eq!(entry["body"]["key"], after[1]["key"]);
    assert_eq!(entry["body"]["kept"][0], before[0]["key"]);
    let sentence = project.run(&["log", "--kind", "key.rotated"], 0);
    assert!(sentence.contains("rotated the data key") && sentence.contains("a new disk"), "{sentence}");
    project.run(&["verify", "--deep"], 0);
}

#[test]
fn a_rollback_stays_through_a_rotation() {
    let project = in_a_file();
    project.run(&["apply"], 0);
    project.write("token", "hunter3\n", 0o600);
    project.run(&["apply"], 0);
    project.run(&["rollback", "site"], 3);
    project.run(&["keys", "rotate"], 0);
    fs::remove_dir_all(project.path("state/cache")).expect("a cache");
    project.run(&["apply"], 3);
    assert_eq!(project.live("token.conf").as_deref(), Some("token = hunter2\n"), "what was left is not taken again");
}

/// Killed at its every write, sync, rename and unlink: the record opens, its sealed bytes open, and the next call ends what
/// was begun.
#[test]
fn a_rotation_that_is_killed_anywhere_leaves_a_record_that_opens() {
    let project = in_a_file();
    project.run(&["apply"], 0);
    let (mut killed, mut step) = (0, 1);
    loop {
        let mut strace = Command::new("strace");
        let calls = "write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,flock";
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e"]);
        strace.arg(format!("inject={calls}:signal=SIGKILL:when={step}")).arg(TRUED).args(["keys", "rotate"]);
        for (name, value) in project.command().get_envs() {
            value.map(|value| strace.env(name, value));
        }
        let output = strace.current_dir(project.path("")).output().expect("strace is installed (Debian: apt-get install strace)");
        let whole = output.status.success();
        killed += usize::from(!whole);

        project.run(&["verify"], 0);
        project.run(&["plan"], 0);
        let said = project.run(&["keys", "rotate"], 0);
        let keys = project.json(&["keys"])["keys"].as_array().expect("keys").clone();
        let recorded = project.log("key.rotated");
        assert_eq!(recorded.last().expect("an entry")["body"]["key"], keys.last().expect("a key")["key"], "after step {step}: {said}");
        assert_eq!(recorded.len() + 1, keys.len(), "each key but the first is on record once, after step {step}: {said}");
        let hidden: Vec<String> = names(&project.path("state/keys")).into_iter().filter(|name| name.starts_with('.')).collect();
        assert_eq!(hidden, Vec::<String>::new(), "no draft of a key stays");
        if whole {
            break;
        }
        step += 1;
    }
    assert!(killed >= 5, "killed at {killed} steps only");
    let counted = project.counted(&["apply"]);
    assert_eq!((&counted["target_writes"], &counted["ledger_rows"]), (&0.into(), &0.into()));
}

#[test]
fn without_the_data_key_sealed_files_are_unknown_and_others_go_on() {
    let project = in_a_file();
    project.run(&["apply"], 0);
    let key = project.path("state/keys/data.key");
    let saved = fs::read(&key).expect("the key");
    fs::remove_file(&key).expect("removed");
    project.write("www/token.conf", "changed by hand\n", 0o644);
    project.write("www/public.txt", "changed by hand\n", 0o644);
    let said = project.run(&["apply"], 2);
    assert!(said.contains("data.key is missing") && said.contains("backup"), "{said}");
    assert_eq!(project.live("token.conf").as_deref(), Some("changed by hand\n"), "what cannot be told is not overwritten");
    assert_eq!(project.live("public.txt").as_deref(), Some("nothing to hide\n"), "what can be told is put back");
    assert!(!key.exists(), "no key is made in the place of a missing one");
    project.run(&["verify", "--deep"], 0);
    project.run(&["log"], 0);

    project.write("state/keys/data.key", saved, 0o600);
    project.run(&["apply"], 0);
    assert_eq!(project.live("token.conf").as_deref(), Some("token = hunter2\n"));
}

#[test]
fn a_lost_data_key_is_given_up_by_a_persons_word() {
    let project = in_a_file();
    project.run(&["apply"], 0);
    fs::remove_file(project.path("state/keys/data.key")).expect("removed");
    assert!(project.run(&["keys", "rotate"], 1).contains("missing"));
    assert!(project.run(&["keys", "rotate", "--lost"], 0).contains("seals from now on"));
    let counted = project.counted(&["apply"]);
    assert_eq!(counted["target_writes"], 0, "what is there is as desired: it is taken as ours again, and not written");
    project.run(&["plan"], 0);
    project.run(&["verify", "--deep"], 0);
}

#[test]
fn a_data_key_that_others_may_read_is_refused_with_what_to_do() {
    let project = in_a_file();
    project.run(&["apply"], 0);
    let text = fs::read(project.path("state/keys/data.key")).expect("the key");
    project.write("state/keys/data.key", &text, 0o644);
    for verb in [&["plan"][..], &["apply"], &["keys"]] {
        let said = project.run(verb, 1);
        assert!(said.contains("others may read it") && said.contains("chmod 600"), "{verb:?}: {said}");
    }
    project.run(&["log"], 0);
    project.run(&["verify"], 0);
}
